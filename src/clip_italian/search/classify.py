"""Zero-shot labels of pictures: one label of several (probabilities sum to one), or each label independently.

One of several: a softmax over the labels with the model's logit scale, as in its training loss. It is the probability
that this label belongs to the picture, given that exactly one of them does. Each: a logistic curve, see `Curve`.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from clip_italian.errors import UserError
from clip_italian.evaluate import zeroshot
from clip_italian.evaluate.labels import Names
from clip_italian.files.atomic import staged
from clip_italian.languages import Language
from clip_italian.models.encoder import SearchEncoder
from clip_italian.pictures.decoding import PictureError
from clip_italian.search.numerics import expit, softmax

_FILES = 64  # embedded before their rows are written


@dataclass(frozen=True)
class Curve:
    """Probability of a label, independent of others: 1 / (1 + exp(-(slope * x + intercept))).

    x is the cosine of picture and label. With `beside_neutral`, that of the picture and the language's neutral text is
    subtracted; with the model's scale as slope and intercept 0 this is the softmax of the two texts.
    """

    slope: float
    intercept: float
    beside_neutral: bool

    def probabilities(self, evidence: np.ndarray) -> np.ndarray:
        """Probabilities of evidence x in an array of any shape: float64 of that shape."""
        return expit(self.slope * evidence + self.intercept)

    @classmethod
    def of_model(cls, encoder: SearchEncoder) -> "Curve":
        """The curve of the model's training loss: that of the sigmoid loss, or the softmax of two texts."""
        scale, bias = encoder.logit_scale, encoder.logit_bias
        return cls(scale, 0.0, True) if bias is None else cls(scale, bias, False)


@dataclass(frozen=True)
class Classifier:
    """Labels: `names` (c), their embeddings `vectors` (c, dim), and that of the neutral text, `neutral` (dim,).

    Without `curve` exactly one label is right; with it each is judged independently.
    """

    names: tuple[str, ...]
    vectors: np.ndarray
    neutral: np.ndarray
    scale: float
    curve: Curve | None = None

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Probabilities (n, c) float64 of the labels, for pictures given as embeddings (n, dim) of unit length."""
        if self.curve is None:
            return softmax(self.scale * self._cosines(images))
        return self.curve.probabilities(self.evidence(images, self.curve.beside_neutral))

    def _cosines(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(images, np.float64) @ self.vectors.T.astype(np.float64)

    def evidence(self, images: np.ndarray, beside_neutral: bool) -> np.ndarray:
        """The x of a curve: cosines (n, c), with `beside_neutral` minus those with the neutral text."""
        cosines = self._cosines(images)
        return cosines - (images @ self.neutral)[:, None] if beside_neutral else cosines


def make(
    encoder: SearchEncoder, names: Names, prompts: Sequence[str], language: Language, multi: bool = False
) -> Classifier:
    """Embed labels, each as the mean of its names in all prompts (with one {} each).

    `multi` judges each label independently. Raises UserError for a single label without it: it would always be right.
    """
    if len(names) < 2 and not multi:
        raise UserError("a single label is always right; give two or more, or judge each independently (--multi)")
    return Classifier(
        tuple(names),
        zeroshot.label_embeddings(encoder.encode_text, list(names.values()), prompts),
        zeroshot.label_embeddings(encoder.encode_text, [language.neutral], ["{}"])[0],
        encoder.logit_scale,
        Curve.of_model(encoder) if multi else None,
    )


@dataclass(frozen=True)
class Batch:
    """Files that could be read, the probabilities (n, c) of their labels, and the errors of other files."""

    paths: list[Path]
    probabilities: np.ndarray
    errors: list[PictureError]


def classify_files(
    encoder: SearchEncoder,
    classifier: Classifier,
    paths: Iterable[Path],
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Batch]:
    """Classify picture files batch by batch, in constant memory."""
    remaining = iter(paths)
    while some := list(islice(remaining, _FILES)):
        done, vectors, errors = encoder.encode_files(some, progress)
        yield Batch(done, classifier.probabilities(vectors), errors)


def best(probabilities: np.ndarray, most: int, threshold: float = 0.0) -> list[int]:
    """Indices of one picture's labels (c,), most probable first: at most `most`, none below `threshold`."""
    order = np.argsort(-probabilities, kind="stable")[:most]
    return [int(label) for label in order if probabilities[label] >= threshold]


def write_csv(
    target: Path, classifier: Classifier, batches: Iterable[Batch], threshold: float
) -> tuple[int, list[str]]:
    """Write one row per picture: path, label (or the labels from `threshold` on, joined by ";"), all probabilities.

    The file appears when it is complete. Returns the number of rows, and the errors of unreadable files. Raises
    UserError where no picture could be read.
    """
    several = classifier.curve is not None
    rows, left_out = 0, []
    # File names need not be text; their bytes are written unchanged.
    escape = "surrogateescape"
    with staged(target) as temporary, temporary.open("w", encoding="utf-8", errors=escape, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels" if several else "label", *classifier.names])
        for batch in batches:
            left_out += [str(error) for error in batch.errors]
            for path, row in zip(batch.paths, batch.probabilities, strict=True):
                chosen = best(row, len(row), threshold) if several else best(row, 1)
                labels = ";".join(classifier.names[label] for label in chosen)
                writer.writerow([path, labels, *(f"{value:.4f}" for value in row)])
            rows += len(batch.paths)
        if not rows:
            raise UserError(f"no picture could be read, {target} was not written (first reason: {left_out[0]})")
    return rows, left_out
