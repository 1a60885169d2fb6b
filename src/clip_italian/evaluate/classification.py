"""Measure models on pictures with classes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clip_italian.errors import UserError
from clip_italian.evaluate import measure, ranks, zeroshot
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.evaluate.labelled import LabelledSet
from clip_italian.models.encoder import Encoder


@dataclass(frozen=True)
class EmbeddedClasses:
    """The pictures that could be read, one model's embeddings (n, dim), their classes (n,), and what was left out."""

    paths: list[Path]
    images: np.ndarray
    right: np.ndarray
    left_out: list[str]


def embed(encoders: Sequence[Encoder], sets: Sequence[LabelledSet]) -> list[list[EmbeddedClasses]]:
    """Embed the pictures, the same in all `sets`, by each model; a list a set, with an entry a model.

    Unreadable pictures are left out and said. Raises UserError where no picture of a class can be read.
    """
    paths, images, left_out = measure.embed_files(encoders, sets[0].paths, sets[0].place)
    return [[EmbeddedClasses(paths, mine, _right(data, paths), left_out) for mine in images] for data in sets]


def _right(data: LabelledSet, paths: Sequence[Path]) -> np.ndarray:
    numbers = dict(zip(data.paths, data.right, strict=True))
    right = np.array([numbers[path] for path in paths])
    lost = Counter(data.right).keys() - set(right.tolist())
    if lost:
        name = data.classes[min(lost)]
        raise UserError(f"{data.place}: no picture of class {name!r} can be read; replace them or remove the class")
    return right


def figures(
    encoder: Encoder, data: LabelledSet, embedded: EmbeddedClasses, prompts: Sequence[str], settings: Resampling
) -> tuple[dict[str, Any], np.ndarray]:
    """Accuracies with intervals, class by class, and the worst confusions; and the ranks (n,)."""
    right = [(int(number),) for number in embedded.right]
    values, result = measure.measure_zeroshot(encoder, embedded.images, data.names, right, prompts, settings)
    classes = zeroshot.per_class(result.found, embedded.right, data.classes)
    mean = float(np.mean([part["accuracy@1"] for part in classes.values()]))
    more = {
        "mean_class_accuracy@1": mean,
        "left_out": len(embedded.left_out),
        "per_class": classes,
        "confusions": zeroshot.confusions(result, embedded.right, data.classes),
    }
    return values | ranks.rounded(more), result.found


def chance(data: LabelledSet, embedded: EmbeddedClasses) -> dict[str, Any]:
    """Accuracy of a random order of the labels."""
    return ranks.rounded(zeroshot.chance(len(data.classes), [(int(number),) for number in embedded.right]))
