"""Zero-shot classification: which of a list of labels, set in a prompt, fits a picture best."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clip_italian.evaluate import ranks
from clip_italian.evaluate.embeddings import same_dimension, unit

CUTOFFS = (1, 5, 10, 100)  # as in the paper
_ROWS = 1024


@dataclass(frozen=True)
class Classified:
    """Of n pictures: rank of the right label, and the label taken, which is a wrong one where the rank is not 1."""

    found: np.ndarray
    taken: np.ndarray


def label_embeddings(
    encode_text: Callable[[Sequence[str]], np.ndarray], names: Sequence[Sequence[str]], prompts: Sequence[str]
) -> np.ndarray:
    """One embedding a label: (c, d) float32, unit length.

    The mean over all `names[c]` of label c in all `prompts` (with one {} each), as CLIP averages its
    templates (Radford et al. 2021, section 3.1.4).
    """
    texts = [prompt.replace("{}", name) for some in names for name in some for prompt in prompts]
    different = list(dict.fromkeys(texts))
    place = {text: row for row, text in enumerate(different)}
    embedded = unit(encode_text(different), "labels")
    rows = iter([place[text] for text in texts])
    means = [embedded[[next(rows) for _ in range(len(some) * len(prompts))]].mean(axis=0) for some in names]
    return unit(np.stack(means), "labels")


def classify(images: np.ndarray, labels: np.ndarray, right: Sequence[Sequence[int]]) -> Classified:
    """Rank the labels (c, d) for each picture (n, d); `right[i]` are picture i's labels.

    Raises UserError for embeddings that cannot be compared: NaN, zero, or of two dimensions.
    """
    images, labels = unit(images, "pictures"), unit(labels, "labels")
    same_dimension(images, labels, "pictures", "labels")
    found = ranks.ranks(images, labels, right)
    taken = np.empty(len(images), np.int64)
    for start in range(0, len(images), _ROWS):
        scores = images[start : start + _ROWS] @ labels.T
        for row, line in enumerate(scores, start=start):
            mine = list(right[row])
            if found[row] == 1:
                taken[row] = mine[int(line[mine].argmax())]
            else:
                line[mine] = -np.inf
                taken[row] = line.argmax()
    return Classified(found, taken)


def by_picture(found: np.ndarray) -> dict[str, np.ndarray]:
    """What each picture adds to the figures: (n,) float64 by the figure's name."""
    return {f"accuracy@{k}": (found <= k).astype(np.float64) for k in CUTOFFS}


def summary(found: np.ndarray, labels: int) -> dict[str, float | int]:
    """Accuracy@1/5/10/100 with the number of pictures and labels."""
    figures: dict[str, float | int] = {name: float(values.mean()) for name, values in by_picture(found).items()}
    return figures | {"pictures": len(found), "labels": labels}


def accuracy(images: np.ndarray, labels: np.ndarray, right: Sequence[Sequence[int]]) -> dict[str, float | int]:
    """The summary of pictures (n, d) among label embeddings (c, d); `right[i]` are picture i's labels."""
    return summary(classify(images, labels, right).found, len(labels))


def chance(labels: int, right: Sequence[Sequence[int]]) -> dict[str, float | int]:
    """Accuracy of a random order of the labels."""
    figures = ranks.chance(right, labels)
    at_k: dict[str, float | int] = {f"accuracy@{k}": figures[f"R@{k}"] for k in CUTOFFS}
    return at_k | {"pictures": len(right), "labels": labels}


def per_class(found: np.ndarray, right: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, float | int]]:
    """Accuracy of each class that has pictures; `right` (n,) is each picture's class."""
    figures = {}
    for number, name in enumerate(classes):
        mine = found[right == number]
        if len(mine):
            figures[name] = {k: v for k, v in summary(mine, len(classes)).items() if k != "labels"}
    return figures


def confusions(result: Classified, right: np.ndarray, classes: Sequence[str], most: int = 20) -> list[dict[str, Any]]:
    """The most frequent mistakes: class, the one it was taken for, how often, and its share of the class's pictures."""
    wrong = result.found > 1
    pairs = Counter(zip(right[wrong].tolist(), result.taken[wrong].tolist(), strict=True))
    sizes = np.bincount(right, minlength=len(classes))
    worst = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:most]
    return [
        {"class": classes[a], "taken_for": classes[b], "count": count, "share": count / int(sizes[a])}
        for (a, b), count in worst
    ]
