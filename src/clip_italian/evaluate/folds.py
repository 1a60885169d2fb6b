"""Retrieval pooled over folds: every query is ranked in the gallery of its own fold, and all ranks make one result.

A set that is too small to be divided once is so used whole, each part with a model that was not trained on it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from clip_italian.evaluate import ranks, retrieval
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.evaluate.measure import Retrieved
from clip_italian.evaluate.results import retrieval_ranks
from clip_italian.evaluate.retrieval import DIRECTIONS, IMAGE_TO_TEXT, TEXT_TO_IMAGE, RetrievalRanks, RetrievalSet


def pooled(parts: Sequence[Retrieved], settings: Resampling) -> dict[str, Any]:
    """The keys of a result that come from measuring: figures with intervals, ranks, and the sizes of the `galleries`.

    Intervals are by picture over all folds: they cover the draw of the pictures, not that of training. The counts
    under `gallery` are left out, since there is more than one.
    """
    answers = _joined([part.answers for part in parts])
    found = RetrievalRanks(
        np.concatenate([part.found.text_to_image for part in parts]),
        np.concatenate([part.found.image_to_text for part in parts]),
    )
    figures = retrieval.figures(found, answers, settings)
    for direction in DIRECTIONS:
        del figures[direction]["gallery"]
    sizes = [(len(part.answers.captions_of), len(part.answers.captions)) for part in parts]
    galleries = {TEXT_TO_IMAGE: [pictures for pictures, _ in sizes], IMAGE_TO_TEXT: [texts for _, texts in sizes]}
    same = {key: parts[0].figures[key] for key in ("captions", "ties")}
    left_out = {"left_out": sum(part.figures["left_out"] for part in parts)}
    return ranks.rounded(figures) | same | left_out | {"galleries": galleries} | retrieval_ranks(found, answers)


def chance(answers: Sequence[RetrievalSet]) -> dict[str, dict[str, float]]:
    """What random orders would score on average over all queries, but for the median."""
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
