"""Which labels fit a picture: one of them (probabilities that sum to one), or each for itself.

`one of`: a softmax over the labels with the model's logit scale, as in its training loss: the chance that this label
belongs to the picture, given that exactly one of them does. `each`: a logistic curve for every label; see `Curve`.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, softmax

from clip_italian.errors import UserError
from clip_italian.evaluate import zeroshot
from clip_italian.evaluate.labels import Names
from clip_italian.files.atomic import staged
from clip_italian.languages import Language
from clip_italian.pictures.decoding import PictureError

if TYPE_CHECKING:
    from clip_italian.models.encoder import SearchEncoder

_FILES = 64  # embedded before their rows are written


@dataclass(frozen=True)
class Curve:
    """Probability of a label, whatever the others: 1 / (1 + exp(-(slope * x + intercept))).

    x is the cosine of picture and label; with `beside_neutral` less that of picture and "una foto", so that with the
    model's scale as slope and no intercept it is the softmax of two texts: the label and none.
    """

    slope: float
    intercept: float
    beside_neutral: bool

    def probabilities(self, evidence: np.ndarray) -> np.ndarray:
        """Of x, in an array of any shape: float64 of that shape."""
        return np.asarray(expit(self.slope * evidence + self.intercept))

    @classmethod
    def of_model(cls, encoder: "SearchEncoder") -> "Curve":
        """The curve that the model's loss had: the sigmoid loss's own, or the softmax of two texts."""
        scale, bias = encoder.logit_scale, encoder.logit_bias
        return cls(scale, 0.0, True) if bias is None else cls(scale, bias, False)


@dataclass(frozen=True)
class Classifier:
    """Labels to choose from: `names` (c), their embeddings `vectors` (c, dim), and that of no label, `neutral` (dim,).

    `curve` None: one of the labels; else each for itself.
    """

    names: tuple[str, ...]
    vectors: np.ndarray
    neutral: np.ndarray
    scale: float
    curve: Curve | None = None

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Of each label for each picture, given as embeddings (n, dim) of unit length: (n, c) float64."""
        if self.curve is None:
            return np.asarray(softmax(self.scale * self._cosines(images), axis=1))
        return self.curve.probabilities(self.evidence(images, self.curve.beside_neutral))

    def _cosines(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(images, np.float64) @ self.vectors.T.astype(np.float64)

    def evidence(self, images: np.ndarray, beside_neutral: bool) -> np.ndarray:
        """What a curve makes probabilities of: (n, c) cosines, perhaps less those of no label."""
        cosines = self._cosines(images)
        return cosines - (images @ self.neutral)[:, None] if beside_neutral else cosines


def make(
    encoder: "SearchEncoder", names: Names, prompts: Sequence[str], language: Language, multi: bool = False
) -> Classifier:
    """Embed labels, each the mean of its names in all prompts (with one {} each).

    Raises UserError for a single label that is to be one of all, which it would be with certainty.
    """
    if len(names) < 2 and not multi:
        raise UserError("one label is always the likeliest; give two or more, or ask for each by itself (--multi)")
    return Classifier(
        tuple(names),
        zeroshot.label_embeddings(encoder.encode_text, list(names.values()), prompts),
        zeroshot.label_embeddings(encoder.encode_text, [language.neutral], ["{}"])[0],
        encoder.logit_scale,
        Curve.of_model(encoder) if multi else None,
    )


@dataclass(frozen=True)
class Batch:
    """Some files that could be read, the probabilities (n, c) of their labels, and the errors of others."""

    paths: list[Path]
    probabilities: np.ndarray
    errors: list[PictureError]


def classify_files(
    encoder: "SearchEncoder",
    classifier: Classifier,
    paths: Iterable[Path],
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Batch]:
    """Classify picture files as they come, in memory that does not grow with their number."""
    remaining = iter(paths)
    while some := list(islice(remaining, _FILES)):
        done, vectors, errors = encoder.encode_files(some, progress)
        yield Batch(done, classifier.probabilities(vectors), errors)


def best(probabilities: np.ndarray, most: int, threshold: float = 0.0) -> list[int]:
    """Labels of one picture (c,), likeliest first: at most so many, and none below `threshold`."""
    order = np.argsort(-probabilities, kind="stable")[:most]
    return [int(label) for label in order if probabilities[label] >= threshold]


def write_csv(
    target: Path, classifier: Classifier, batches: Iterable[Batch], threshold: float
) -> tuple[int, list[str]]:
    """Write a row a picture: path, its label (or labels that reach the threshold, by ";"), each label's probability.

    The file takes its place when all is done. Returns the number of rows, and what is wrong with the files left out.
    Raises UserError where no picture could be read.
    """
    several = classifier.curve is not None
    rows, left_out = 0, []
    # Names of files need not be text; their bytes are written as they are.
    escape = "surrogateescape"
    with staged(target) as temporary, temporary.open("w", encoding="utf-8", errors=escape, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels" if several else "label", *classifier.names])
        for batch in batches:
            left_out += [str(error) for error in batch.errors]
            for path, row in zip(batch.paths, batch.probabilities, strict=True):
                chosen = best(row, len(row), threshold) if several else best(row, 1)
                told = ";".join(classifier.names[label] for label in chosen)
                writer.writerow([path, told, *(f"{value:.4f}" for value in row)])
            rows += len(batch.paths)
        if not rows:
            raise UserError(f"no picture could be read, {target} was not written (first reason: {left_out[0]})")
    return rows, left_out
