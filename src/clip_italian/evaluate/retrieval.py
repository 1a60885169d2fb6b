"""Retrieval in both directions: captions search among pictures, pictures among captions.

Each distinct caption is one query, and every picture with the same caption (ignoring case and punctuation) answers it:
any of six flowers is right for "un fiore". As in the paper and in most published tables, every caption can also be a
query of its own that only its own picture answers: `retrieval_set(pairs, merge=False)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clip_italian.evaluate import bootstrap, ranks
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.evaluate.ranks import same_dimension, unit
from clip_italian.models.encoder import Encoder
from clip_italian.pairs import Pair, concept

TEXT_TO_IMAGE, IMAGE_TO_TEXT = "text_to_image", "image_to_text"
DIRECTIONS = (TEXT_TO_IMAGE, IMAGE_TO_TEXT)


@dataclass(frozen=True)
class RetrievalSet:
    """Captions and pictures, and which answers which.

    `images_of[c]` lists the rows of the pictures that caption c describes; `captions_of[i]` the captions of picture i.
    """

    captions: tuple[str, ...]
    images_of: tuple[tuple[int, ...], ...]
    captions_of: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class RetrievalRanks:
    """Rank of the best right answer: of each caption among the pictures, of each picture among the captions."""

    text_to_image: np.ndarray
    image_to_text: np.ndarray


@dataclass(frozen=True)
class Retrieved:
    """Rounded figures of both directions, as result files have them, and what they were computed from."""

    figures: dict[str, Any]
    ranks: RetrievalRanks
    answers: RetrievalSet


def retrieval_set(pairs: Sequence[Pair], merge: bool = True) -> RetrievalSet:
    """Captions of `pairs` in order of appearance; with `merge`, equal captions become one."""
    numbers: dict[str, int] = {}
    texts: list[str] = []
    images_of: list[list[int]] = []
    captions_of: list[tuple[int, ...]] = []
    for row, pair in enumerate(pairs):
        mine: dict[int, None] = {}  # an ordered set
        for place, caption in enumerate(pair.captions):
            key = (concept(caption) or caption) if merge else f"{row} {place}"
            number = numbers.setdefault(key, len(numbers))
            if number == len(texts):
                texts.append(caption)
                images_of.append([])
            mine[number] = None
        for number in mine:
            images_of[number].append(row)
        captions_of.append(tuple(mine))
    return RetrievalSet(tuple(texts), tuple(tuple(rows) for rows in images_of), tuple(captions_of))


def rank(images: np.ndarray, captions: np.ndarray, data: RetrievalSet) -> RetrievalRanks:
    """Ranks in both directions of embeddings `images` (n, d) and `captions` (m, d), which need no unit length.

    Raises UserError for embeddings that cannot be compared: NaN, zero, or of two dimensions.
    """
    images, captions = unit(images, "pictures"), unit(captions, "captions")
    same_dimension(images, captions, "pictures", "captions")
    image_to_text, text_to_image = ranks.ranks_both_ways(images, captions, data.captions_of)
    return RetrievalRanks(text_to_image, image_to_text)


def figures(ranked: RetrievalRanks, data: RetrievalSet, resampling: Resampling | None = None) -> dict[str, Any]:
    """Figures of both directions; with `resampling` each has `intervals`: [low, high] by name of the figure."""
    pictures, captions = len(data.captions_of), len(data.captions)
    result: dict[str, Any] = {
        TEXT_TO_IMAGE: ranks.summary(ranked.text_to_image, pictures),
        IMAGE_TO_TEXT: ranks.summary(ranked.image_to_text, captions),
    }
    if resampling is not None:
        for name, mine, owners in (
            (TEXT_TO_IMAGE, ranked.text_to_image, bootstrap.owners(data.images_of, pictures)),
            (IMAGE_TO_TEXT, ranked.image_to_text, bootstrap.own(pictures)),
        ):
            result[name]["intervals"] = bootstrap.intervals(ranks.by_query(mine), mine, owners, resampling)
    return result


def evaluate(images: np.ndarray, captions: np.ndarray, data: RetrievalSet) -> dict[str, Any]:
    """Figures of both directions without intervals, of embeddings `images` (n, d) and `captions` (m, d)."""
    return figures(rank(images, captions, data), data)


def chance(data: RetrievalSet) -> dict[str, Any]:
    """Expected figures of a random order, in both directions."""
    return {
        TEXT_TO_IMAGE: ranks.chance(data.images_of, len(data.captions_of)),
        IMAGE_TO_TEXT: ranks.chance(data.captions_of, len(data.captions)),
    }


def measure(
    encoder: Encoder, images: np.ndarray, pairs: Sequence[Pair], merge: bool = True,
    resampling: Resampling | None = None,
) -> Retrieved:  # fmt: skip
    """Measure a model on pairs and its embeddings `images` (n, d) of their pictures.

    `merge`: equal captions are one query; with `resampling` the figures have intervals by picture.
    """
    answers = retrieval_set(pairs, merge)
    ranked = rank(images, encoder.encode_text(answers.captions), answers)
    rules = {"captions": "distinct" if merge else "all", "ties": ranks.TIE_RULE}
    return Retrieved(ranks.rounded(figures(ranked, answers, resampling)) | rules, ranked, answers)
