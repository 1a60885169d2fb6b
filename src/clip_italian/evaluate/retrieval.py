"""Retrieval on a pairs file: captions look for pictures, pictures look for captions.

Each different caption is one query, and every picture that carries the same caption (after
case and punctuation are dropped) answers it: "un fiore" is right with any of the six flowers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clip_italian.evaluate import ranks
from clip_italian.pairs import Pair, concept


@dataclass(frozen=True)
class RetrievalSet:
    """Captions and pictures with who answers whom.

    `images_of[c]` lists the rows of the pictures that caption c describes; `captions_of[i]`
    the captions of picture i.
    """

    captions: tuple[str, ...]
    images_of: tuple[tuple[int, ...], ...]
    captions_of: tuple[tuple[int, ...], ...]


def retrieval_set(pairs: Sequence[Pair]) -> RetrievalSet:
    """Collect the different captions of `pairs`, in order of appearance."""
    numbers: dict[str, int] = {}
    texts: list[str] = []
    images_of: list[list[int]] = []
    captions_of: list[tuple[int, ...]] = []
    for row, pair in enumerate(pairs):
        mine: dict[int, None] = {}  # an ordered set
        for caption in pair.captions:
            key = concept(caption) or caption
            number = numbers.setdefault(key, len(numbers))
            if number == len(texts):
                texts.append(caption)
                images_of.append([])
            mine[number] = None
        for number in mine:
            images_of[number].append(row)
        captions_of.append(tuple(mine))
    return RetrievalSet(tuple(texts), tuple(tuple(rows) for rows in images_of), tuple(captions_of))


def evaluate(images: np.ndarray, captions: np.ndarray, data: RetrievalSet) -> dict[str, Any]:
    """Figures of both directions; `images` (n, d) and `captions` (m, d) have unit length."""
    text_to_image = ranks.ranks(captions, images, data.images_of)
    image_to_text = ranks.ranks(images, captions, data.captions_of)
    return {
        "text_to_image": ranks.summary(text_to_image, len(images)),
        "image_to_text": ranks.summary(image_to_text, len(captions)),
    }


def chance(data: RetrievalSet) -> dict[str, Any]:
    """What a random order would score in both directions."""
    return {
        "text_to_image": ranks.chance(data.images_of, len(data.captions_of)),
        "image_to_text": ranks.chance(data.captions_of, len(data.captions)),
    }
