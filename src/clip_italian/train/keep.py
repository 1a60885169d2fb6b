"""Running frozen trunks once over everything, into stores that later runs find again.

A store is named by all that decides its content: weights, cut, pictures' files or texts, view, augmentation,
precision. Every later epoch then costs only what lies above the cut.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from clip_italian.config import Augmentation
from clip_italian.files import cache
from clip_italian.models.preprocess import Preprocess
from clip_italian.models_torch.cut import Cut
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.hashes import tokenizer_hash
from clip_italian.models_torch.processors import normalise
from clip_italian.pictures.decoding import PictureError
from clip_italian.train.augment import Augment
from clip_italian.train.draft import Draft
from clip_italian.train.live_pictures import PLAIN_MARGIN, Decode, Job
from clip_italian.train.pictures import Pictures
from clip_italian.train.precision import autocast
from clip_italian.train.store import DESCRIPTION, MASK, FileStore
from clip_italian.train.workers import in_order

# Pictures at a time: on 2 cores 4 are the fastest, their activations stay in the processor's cache.
_CPU_BATCH, _BATCH = 4, 256
_TEXT_BATCH = 64
_CHUNK = 10_000
# Part of a store's name: raise it when the content changes.
_VERSION = 2

Progress = Callable[[int], None]


def keep_images(
    cut: Cut, encoder: DualEncoder, pictures: Pictures, rows: torch.Tensor, view: int, settings: Augmentation,
    dtype: torch.dtype, progress: Progress, workers: int = 0,
) -> FileStore:  # fmt: skip
    """Trunk outputs of one view of the pictures `rows` (n,), in their order; view 0 is the plain one.

    Other views are distorted by the view's number as seed. `progress` gets how many more are done. Raises
    PictureError for a picture that cannot be read, UserError where the disk is too small.
    """
    assert cut.trunk is not None
    size = _CPU_BATCH if encoder.device.type == "cpu" else _BATCH
    described = settings.model_dump(exclude={"share"}) if view else None
    processor = encoder.image_processor
    name = _digest(
        _weights(encoder.parts.vision), cut.name, processor.to_json_string(), view, described, size, str(dtype),
        _hash(json.dumps(pictures.state(row)) for row in rows.tolist()),
    )  # fmt: skip
    folder = _folder(name)
    with cache.lock(name):
        if (folder / DESCRIPTION).is_file():
            progress(len(rows))
            return FileStore.open(folder)
        draft = Draft.open(folder, f"picture features, view {view}" if view else "picture features", len(rows))
        progress(draft.done)
        distort = Augment(settings, processor, seed=view) if view else None
        if distort and draft.generator is not None:
            distort.generator_state = draft.generator
        preprocess = Preprocess.of(processor)
        crop_seed = view if view and settings.random_crop else None
        jobs = (
            [Job(part.numpy(), crop_seed) for part in rows[draft.done :].split(size)] if draft.done < len(rows) else []
        )
        with torch.inference_mode(), autocast(encoder.device, dtype):
            for pixels in in_order(Decode(pictures, preprocess, PLAIN_MARGIN), jobs, workers):
                if isinstance(pixels, PictureError):
                    raise pixels
                ready = normalise(preprocess, pixels.to(encoder.device))
                draft.write(cut.trunk({"pixel_values": distort(ready) if distort else ready}))
                draft.save(distort.generator_state if distort else None)
                progress(len(pixels))
        draft.finish(folder)
    return FileStore.open(folder)


def keep_texts(cut: Cut, encoder: DualEncoder, texts: pa.Array, dtype: torch.dtype, progress: Progress) -> FileStore:
    """Trunk outputs of texts (n,), in their order: `pooled` (b, hidden), or `states` and `mask` when taken."""
    assert cut.trunk is not None
    name = _digest(
        _weights(encoder.parts.text), cut.name, tokenizer_hash(encoder.tokenizer), encoder.max_tokens, str(dtype),
        _hash(json.dumps(texts[i : i + _CHUNK].to_pylist()) for i in range(0, len(texts), _CHUNK)),
    )  # fmt: skip
    folder = _folder(name)
    with cache.lock(name):
        if (folder / DESCRIPTION).is_file():
            progress(len(texts))
            return FileStore.open(folder)
        lengths = _token_counts(encoder, texts)
        order = lengths.argsort(kind="stable")  # neighbours of like length need little padding
        draft: Draft | None = None
        with torch.inference_mode(), autocast(encoder.device, dtype):
            start = 0
            while start < len(order):
                rows = order[start : start + _TEXT_BATCH]
                tokens = encoder.tokenize(texts.take(pa.array(rows)).to_pylist())
                outputs = cut.trunk({key: value.to(encoder.device) for key, value in tokens.items()})
                if draft is None:
                    draft = Draft.open(
                        folder, "caption features", len(order), lengths[order] if MASK in outputs else None
                    )
                    progress(draft.done)
                    if draft.done:
                        start = draft.done
                        continue
                draft.write(outputs)
                draft.save()
                progress(len(rows))
                start += len(rows)
        assert draft is not None
        draft.finish(folder, order.argsort())
    return FileStore.open(folder)


def _token_counts(encoder: DualEncoder, texts: pa.Array) -> np.ndarray:
    """(n,) int64: tokens of each text."""
    counts = [np.zeros(0, np.int64)]
    for start in range(0, len(texts), _CHUNK):
        tokens = encoder.tokenize(texts[start : start + _CHUNK].to_pylist())
        mask = tokens.get("attention_mask", torch.ones_like(tokens["input_ids"]))
        counts.append(mask.sum(dim=1).numpy())
    return np.concatenate(counts)


def _folder(name: str) -> Path:
    return cache.cache_dir() / "features" / name


def _weights(tower: nn.Module) -> str:
    """Digest of what is frozen in a tower; what trains lies above the cut."""
    digest = hashlib.sha256()
    frozen = [(name, value) for name, value in tower.named_parameters() if not value.requires_grad]
    for name, value in [*frozen, *tower.named_buffers()]:
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _hash(parts: Iterator[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps([_VERSION, *parts]).encode()).hexdigest()[:24]
