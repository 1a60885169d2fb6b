"""What goes into the trainable part of the towers, kept so that frozen layers run once.

The output of the frozen trunk is computed once per picture and view (the plain one and a few
augmented ones) and kept on disk; every epoch then costs only what lies above the cut. bf16
autocast is used where the processor has the instructions; elsewhere float32.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import pad

from clip_italian import assets
from clip_italian.config import Augmentation
from clip_italian.images import decode_batches
from clip_italian.model.cut import Cut, Inputs
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.train.augment import Augment

_IMAGE_BATCH = 4  # the fastest on 2 cores: activations stay in the processor's cache
_TEXT_BATCH = 64
Progress = Callable[[int], None]


def autocast() -> torch.autocast | nullcontext:
    """bf16 where the processor multiplies it natively, else nothing."""
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast("cpu", torch.bfloat16) if native else nullcontext()


def keep_images(
    cut: Cut, encoder: DualEncoder, paths: Sequence[Path], view: int, settings: Augmentation, progress: Progress
) -> Inputs:
    """Trunk outputs (n, …) of one view of the pictures; view 0 is the plain one.

    They stay in the cache under a name made of the tower's weights, the cut, the pictures'
    files and the view. All pictures must be readable.
    """
    described = settings.model_dump(exclude={"share"}) if view else None
    files = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    precision = "bf16" if isinstance(autocast(), torch.autocast) else "float32"
    name = _digest([_weights(encoder.model.vision_model), cut.name, files, view, described, precision])
    kept = assets.cache_dir() / "features" / f"{name}.safetensors"
    if kept.is_file():
        progress(len(paths))
        return load_file(kept)

    distort = Augment(settings, encoder.image_processor, seed=view) if view else None
    parts: list[Inputs] = []
    assert cut.trunk is not None
    with torch.inference_mode(), autocast():
        for _, pixels, errors in decode_batches(paths, _IMAGE_BATCH, encoder.preprocess):
            if errors:
                raise errors[0]
            batch = torch.stack(pixels)
            parts.append(cut.trunk({"pixel_values": distort(batch) if distort else batch}))
            progress(len(batch))
    # Out of inference mode, so that autograd may use them.
    outputs = {key: torch.cat([part[key] for part in parts]).clone() for key in parts[0]}
    with assets.staged(kept) as temporary:
        save_file(outputs, temporary)
    return outputs


def keep_texts(cut: Cut, encoder: DualEncoder, texts: Sequence[str]) -> Inputs:
    """Trunk outputs of texts, padded to the longest: `pooled` (n, hidden), or `states` and `mask`."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    parts: list[Inputs] = []
    assert cut.trunk is not None
    with torch.inference_mode(), autocast():
        for start in range(0, len(order), _TEXT_BATCH):
            tokens = encoder.tokenize([texts[i] for i in order[start : start + _TEXT_BATCH]])
            parts.append(cut.trunk(tokens))
    back = torch.tensor(order).argsort()
    return {key: _pad_and_join([part[key] for part in parts])[back].clone() for key in parts[0]}


def apply_tail(cut: Cut, kept: Inputs) -> torch.Tensor:
    """Pooled features (n, hidden) of kept trunk outputs, without gradient."""
    rows = len(next(iter(kept.values())))
    with torch.no_grad():
        batches = (torch.arange(start, min(start + 64, rows)) for start in range(0, rows, 64))
        return torch.cat([cut.tail(take(kept, batch)).float() for batch in batches])


def take(kept: Inputs, rows: torch.Tensor) -> Inputs:
    """The kept outputs of some rows; token states are cut to the longest text among them."""
    chosen = {key: value[rows] for key, value in kept.items()}
    if "mask" in chosen:
        longest = int(chosen["mask"].sum(dim=1).max())
        chosen = {key: value[:, :longest] for key, value in chosen.items()}
    return chosen


def _pad_and_join(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    if parts[0].ndim == 3 or not parts[0].is_floating_point():
        longest = max(part.shape[1] for part in parts)
        parts = [pad(p, (0, 0, 0, longest - p.shape[1]) if p.ndim == 3 else (0, longest - p.shape[1])) for p in parts]
    return torch.cat(list(parts))


def _weights(tower: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for value in tower.state_dict().values():
        digest.update(value.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _digest(parts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
