"""Zero-shot classification: the label of a list that, set in a prompt, fits a picture best."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clip_italian.evaluate import bootstrap, ranks
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.evaluate.ranks import same_dimension, unit
from clip_italian.models.encoder import Encoder

CUTOFFS = (1, 5, 10, 100)  # as in the paper
_ROWS = 1024


@dataclass(frozen=True)
class Classified:
    """For each picture (n,): `rank` of the right label, and the `predicted` label, wrong where the rank is not 1."""

    rank: np.ndarray
    predicted: np.ndarray


def label_embeddings(
    encode_text: Callable[[Sequence[str]], np.ndarray], names: Sequence[Sequence[str]], prompts: Sequence[str]
) -> np.ndarray:
    """Embedding of each label: (c, d) float32, unit length.

    It is the mean over all `names[c]` of label c in all `prompts` (with one {} each), as CLIP averages its templates
    (Radford et al. 2021, section 3.1.4).
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
    rank = ranks.ranks(images, labels, right)
    predicted = np.empty(len(images), np.int64)
    for start in range(0, len(images), _ROWS):
        scores = images[start : start + _ROWS] @ labels.T
        for row, line in enumerate(scores, start=start):
            mine = list(right[row])
            if rank[row] == 1:
                predicted[row] = mine[int(line[mine].argmax())]
            else:
                line[mine] = -np.inf
                predicted[row] = line.argmax()
    return Classified(rank, predicted)


def by_picture(rank: np.ndarray) -> dict[str, np.ndarray]:
    """Each picture's contribution to the figures: (n,) float64 by name of the figure."""
    return {f"accuracy@{k}": (rank <= k).astype(np.float64) for k in CUTOFFS}


def summary(rank: np.ndarray, labels: int) -> dict[str, float | int]:
    """Accuracy@1/5/10/100 with the number of pictures and labels."""
    figures: dict[str, float | int] = {name: float(values.mean()) for name, values in by_picture(rank).items()}
    return figures | {"pictures": len(rank), "labels": labels}


def accuracy(images: np.ndarray, labels: np.ndarray, right: Sequence[Sequence[int]]) -> dict[str, float | int]:
    """The summary of pictures (n, d) among label embeddings (c, d); `right[i]` are picture i's labels."""
    return summary(classify(images, labels, right).rank, len(labels))


def chance(labels: int, right: Sequence[Sequence[int]]) -> dict[str, float | int]:
    """Expected accuracy of a random order of the labels."""
    figures = ranks.chance(right, labels)
    at_k: dict[str, float | int] = {f"accuracy@{k}": figures[f"R@{k}"] for k in CUTOFFS}
    return at_k | {"pictures": len(right), "labels": labels}


def per_class(rank: np.ndarray, right: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, float | int]]:
    """Accuracy of each class that has pictures; `right` (n,) is each picture's class."""
    figures = {}
    for number, name in enumerate(classes):
        mine = rank[right == number]
        if len(mine):
            figures[name] = {k: v for k, v in summary(mine, len(classes)).items() if k != "labels"}
    return figures


def confusions(result: Classified, right: np.ndarray, classes: Sequence[str], most: int = 20) -> list[dict[str, Any]]:
    """The most frequent mistakes: class, predicted class, their number, and their share of the class's pictures."""
    wrong = result.rank > 1
    pairs = Counter(zip(right[wrong].tolist(), result.predicted[wrong].tolist(), strict=True))
    sizes = np.bincount(right, minlength=len(classes))
    worst = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:most]
    return [
        {"class": classes[a], "taken_for": classes[b], "count": count, "share": count / int(sizes[a])}
        for (a, b), count in worst
    ]


def measure(
    encoder: Encoder, images: np.ndarray, names: Sequence[Sequence[str]], right: Sequence[Sequence[int]],
    prompts: Sequence[str], resampling: Resampling | None = None,
) -> tuple[dict[str, Any], Classified]:  # fmt: skip
    """Rounded figures of a model's picture embeddings (n, d), as result files have them, and the ranks behind them.

    `names[c]` are the names of label c, set in all `prompts` (with one {} each); `right[i]` are picture i's labels.
    """
    labels = label_embeddings(encoder.encode_text, names, prompts)
    result = classify(images, labels, right)
    figures: dict[str, Any] = dict(summary(result.rank, len(labels)))
    if resampling is not None:
        values = by_picture(result.rank)
        figures["intervals"] = bootstrap.intervals(values, None, bootstrap.own(len(images)), resampling)
    rules = {"prompt": prompts[0], "prompts": list(prompts), "ties": ranks.TIE_RULE}
    return ranks.rounded(figures) | rules, result
