"""Training examples: which caption and which view of each picture goes into a batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from clip_italian.pairs import Pair
from clip_italian.split.draw import concept_groups


@dataclass(frozen=True)
class Captions:
    """All captions of a list of pairs as one flat list of texts.

    `own[i]` are the rows of pair i's captions, `original[i]` those from before translation.
    """

    texts: tuple[str, ...]
    own: tuple[tuple[int, ...], ...]
    original: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Batch:
    """Rows into pictures and texts, the view of each picture, and identity numbers; all (batch,)."""

    images: torch.Tensor
    views: torch.Tensor
    texts: torch.Tensor
    groups: torch.Tensor


def flatten_captions(pairs: Sequence[Pair], with_original: bool = True) -> Captions:
    """Number the captions of `pairs`, and those from before translation unless they are not wanted."""
    texts: list[str] = []

    def add(captions: Sequence[str]) -> tuple[int, ...]:
        texts.extend(captions)
        return tuple(range(len(texts) - len(captions), len(texts)))

    own, original = [], []
    for pair in pairs:
        own.append(add(pair.captions))
        original.append(add(pair.captions_original or ()) if with_original else ())
    return Captions(tuple(texts), tuple(own), tuple(original))


def identity_numbers(pairs: Sequence[Pair]) -> torch.Tensor:
    """(n,) identity of each pair: the same where pictures share a caption."""
    return torch.tensor(concept_groups(pairs))


def count(rows: int, size: int) -> int:
    """Number of batches that `draw` makes of `rows` in one epoch."""
    full, rest = divmod(rows, size)
    return full + (rest >= min(size, rows) / 2 and rest > 0)


def draw(
    rows: torch.Tensor, captions: Captions, groups: torch.Tensor, views: int, original_share: float, size: int,
    generator: torch.Generator,
) -> Iterator[Batch]:  # fmt: skip
    """One epoch: every row once, in random order, with one random caption and one random view.

    The remainder that fills less than half a batch is left out of this epoch.
    """
    order = rows[torch.randperm(len(rows), generator=generator)]
    for images in order.split(size):
        if len(images) < min(size, len(rows)) / 2:
            continue
        chance = torch.rand(len(images), 2, generator=generator).tolist()
        texts = []
        for row, (which, language) in zip(images.tolist(), chance, strict=True):
            original = captions.original[row]
            choices = original if original and language < original_share else captions.own[row]
            texts.append(choices[int(which * len(choices))])
        chosen_views = torch.randint(views, (len(images),), generator=generator)
        yield Batch(images, chosen_views, torch.tensor(texts), groups[images])
