"""Retrieval pooled over folds: each query is ranked in the gallery of its own fold, and all ranks make one result.

This uses all of a set that is too small for a single split: each part with a model that was not trained on it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from clip_italian.evaluate import ranks, retrieval
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.evaluate.results import retrieval_ranks
from clip_italian.evaluate.retrieval import (
    DIRECTIONS,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    RetrievalRanks,
    RetrievalSet,
    Retrieved,
)


def pooled(parts: Sequence[Retrieved], left_out: int, resampling: Resampling) -> dict[str, Any]:
    """The measured keys of a result: figures with intervals, ranks, and the sizes of the `galleries`.

    Intervals are by picture over all folds: they cover the draw of pictures, not that of training. There is no single
    `gallery` count. `left_out` is the number of unreadable pictures.
    """
    answers = _joined([part.answers for part in parts])
    ranked = RetrievalRanks(
        np.concatenate([part.ranks.text_to_image for part in parts]),
        np.concatenate([part.ranks.image_to_text for part in parts]),
    )
    figures = retrieval.figures(ranked, answers, resampling)
    for direction in DIRECTIONS:
        del figures[direction]["gallery"]
    sizes = [(len(part.answers.captions_of), len(part.answers.captions)) for part in parts]
    galleries = {TEXT_TO_IMAGE: [pictures for pictures, _ in sizes], IMAGE_TO_TEXT: [texts for _, texts in sizes]}
    same = {key: parts[0].figures[key] for key in ("captions", "ties")}
    rest = {"left_out": left_out, "galleries": galleries}
    return ranks.rounded(figures) | same | rest | retrieval_ranks(ranked, answers)


def chance(answers: Sequence[RetrievalSet]) -> dict[str, dict[str, float]]:
    """Expected figures of random orders over all queries, without the median rank."""
    result: dict[str, dict[str, float]] = {}
    parts = [retrieval.chance(one) for one in answers]
    for direction in DIRECTIONS:
        weights = [part[direction].pop("queries") for part in parts]
        names = parts[0][direction].keys() - {"gallery", "median_rank"}
        result[direction] = {
            name: float(np.average([part[direction][name] for part in parts], weights=weights)) for name in names
        }
    return result


def _joined(sets: Sequence[RetrievalSet]) -> RetrievalSet:
    captions: list[str] = []
    images_of: list[tuple[int, ...]] = []
    captions_of: list[tuple[int, ...]] = []
    for one in sets:
        pictures, texts = len(captions_of), len(captions)
        captions += one.captions
        images_of += [tuple(row + pictures for row in rows) for rows in one.images_of]
        captions_of += [tuple(row + texts for row in rows) for rows in one.captions_of]
    return RetrievalSet(tuple(captions), tuple(images_of), tuple(captions_of))
