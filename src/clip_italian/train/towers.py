"""Both towers of a run with their kept trunk outputs: pooled features for any rows, on demand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from clip_italian.config import Augmentation
from clip_italian.images import open_picture
from clip_italian.model.cut import Cut, Inputs, cut
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.train import features
from clip_italian.train.augment import Augment

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Towers:
    """`images(rows, views)` and `texts(rows)` give pooled features (batch, hidden).

    They carry gradients for the parameters above the cuts. View 0 is the plain picture.
    """

    images: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    texts: Callable[[torch.Tensor], torch.Tensor]
    views: int


@dataclass(frozen=True)
class Kept:
    """Trunk outputs of all pictures and texts at the lowest cut that any stage needs."""

    vision: Cut
    text: Cut
    images: list[Inputs] | None
    texts: Inputs | None


def keep(
    encoder: DualEncoder, paths: Sequence[Path], texts: Sequence[str], views: int, distorted: torch.Tensor,
    settings: Augmentation, progress: Progress,
) -> Kept:  # fmt: skip
    """Run the frozen trunks once over everything; cuts follow `requires_grad` as it is now.

    In views other than 0 the rows `distorted` are augmented, and the others are as in view 0.
    """
    vision, text = cut(encoder.model.vision_model), cut(encoder.model.text_model)
    images = None
    if vision.trunk is not None:
        plain = features.keep_images(vision, encoder, paths, 0, settings, progress)
        images = [plain]
        for view in range(1, views + 1):
            some = [paths[row] for row in distorted.tolist()]
            outputs = features.keep_images(vision, encoder, some, view, settings, progress)
            images.append({key: plain[key].index_copy(0, distorted, outputs[key]) for key in plain})
    return Kept(vision, text, images, features.keep_texts(text, encoder, texts) if text.trunk is not None else None)


def open_towers(
    kept: Kept, encoder: DualEncoder, paths: Sequence[Path], texts: Sequence[str], settings: Augmentation, seed: int
) -> Towers:
    """Towers for one stage. A tower that is frozen in it is run to its end once, now.

    A tower without a frozen trunk reads its pictures or texts afresh for each batch, with fresh
    augmentation (any view but 0 is then a new one).
    """
    views = len(kept.images) if kept.images is not None else 2
    if kept.images is not None:
        images = _kept_images(kept, frozen=_is_frozen(encoder.model.vision_model))
    else:
        images = _live_images(kept.vision, encoder, paths, Augment(settings, encoder.image_processor, seed))
    if kept.texts is None:
        return Towers(images, lambda rows: kept.text.tail(encoder.tokenize([texts[row] for row in rows])), views)
    if _is_frozen(encoder.model.text_model):
        pooled = features.apply_tail(kept.text, kept.texts)
        return Towers(images, lambda rows: pooled[rows], views)
    outputs = kept.texts
    return Towers(images, lambda rows: kept.text.tail(features.take(outputs, rows)), views)


@torch.no_grad()
def pooled_images(towers: Towers, rows: torch.Tensor) -> torch.Tensor:
    """Pooled features (n, hidden) of the plain view of some rows, without gradient."""
    return torch.cat([towers.images(part, torch.zeros_like(part)) for part in rows.split(64)])


@torch.no_grad()
def pooled_texts(towers: Towers, rows: torch.Tensor) -> torch.Tensor:
    """Pooled features (n, hidden) of some texts, without gradient."""
    return torch.cat([towers.texts(part) for part in rows.split(256)])


def _kept_images(kept: Kept, frozen: bool) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    assert kept.images is not None
    if frozen:
        pooled = torch.stack([features.apply_tail(kept.vision, outputs) for outputs in kept.images])
        return lambda rows, views: pooled[views, rows]
    stacked = {key: torch.stack([outputs[key] for outputs in kept.images]) for key in kept.images[0]}
    return lambda rows, views: kept.vision.tail({key: value[views, rows] for key, value in stacked.items()})


def _live_images(
    vision: Cut, encoder: DualEncoder, paths: Sequence[Path], distort: Augment
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    def images(rows: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
        pixels = torch.stack([encoder.preprocess(open_picture(paths[row])) for row in rows])
        augmented = views > 0
        if augmented.any():
            pixels[augmented] = distort(pixels[augmented])
        return vision.tail({"pixel_values": pixels})

    return images


def _is_frozen(tower: torch.nn.Module) -> bool:
    return not any(parameter.requires_grad for parameter in tower.parameters())
