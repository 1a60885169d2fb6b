"""Zero-shot classification: which of a list of labels, set in a prompt, fits a picture best."""

from collections.abc import Sequence

import numpy as np

from clip_italian.evaluate import ranks


def accuracy(images: np.ndarray, labels: np.ndarray, right: Sequence[Sequence[int]]) -> dict[str, float | int]:
    """Accuracy@1/5/10 of pictures (n, d) among label embeddings (c, d); `right[i]` are picture i's labels."""
    found = ranks.ranks(images, labels, right)
    figures: dict[str, float | int] = {f"accuracy@{k}": ranks.recall(found, k) for k in ranks.CUTOFFS}
    return figures | {"pictures": len(images), "labels": len(labels)}


def chance(labels: int, right: Sequence[Sequence[int]]) -> dict[str, float | int]:
    """Accuracy of a random order of the labels."""
    figures = ranks.chance(right, labels)
    at_k: dict[str, float | int] = {f"accuracy@{k}": figures[f"R@{k}"] for k in ranks.CUTOFFS}
    return at_k | {"pictures": len(right), "labels": labels}
