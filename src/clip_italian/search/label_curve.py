"""Probabilities of single labels that hold for pictures of one kind: their curve fitted to labelled pictures."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_expit

from clip_italian.errors import UserError
from clip_italian.evaluate import measure
from clip_italian.evaluate.labelled import LabelledSet
from clip_italian.search.classify import Classifier, Curve

if TYPE_CHECKING:
    from clip_italian.models.encoder import SearchEncoder

_FOLDS = 5


@dataclass(frozen=True)
class Calibrated:
    """A classifier with a fitted curve, the number of pictures it saw, and the mean squared error of its probabilities.

    `before` is that of the model's own curve, `after` that of curves fitted to the other four fifths of the pictures.
    """

    classifier: Classifier
    pictures: int
    before: float
    after: float


def calibrate(encoder: "SearchEncoder", classifier: Classifier, data: LabelledSet) -> Calibrated:
    """Fit the classifier's curve to pictures, each of which shows its class and no other.

    Classes are labels of the classifier. Raises UserError where one is not, or where fewer than two have pictures.
    """
    if unknown := [name for name in data.classes if name not in classifier.names]:
        raise UserError(f"{data.place}: {unknown[0]!r} is none of the labels; name the folders as the labels")
    if len(data.classes) < 2:
        raise UserError(f"{data.place}: pictures of one label only; calibrating needs folders for two or more")
    paths, (images,), _ = measure.embed_files([encoder], data.paths, data.place)
    classes = dict(zip(data.paths, data.right, strict=True))
    right = np.eye(len(data.classes), dtype=bool)[[classes[path] for path in paths]]
    start = classifier.curve or Curve.of_model(encoder)
    columns = [classifier.names.index(name) for name in data.classes]
    evidence = classifier.evidence(images, start.beside_neutral)[:, columns]
    fold = np.random.default_rng(0).permutation(len(images)) % _FOLDS
    held_out = np.empty(evidence.shape)
    for number in range(_FOLDS):
        mine = fold == number
        held_out[mine] = fit(evidence[~mine], right[~mine], start).probabilities(evidence[mine])
    return Calibrated(
        replace(classifier, curve=fit(evidence, right, start)),
        len(images),
        float(np.mean((start.probabilities(evidence) - right) ** 2)),
        float(np.mean((held_out - right) ** 2)),
    )


def fit(evidence: np.ndarray, right: np.ndarray, start: Curve) -> Curve:
    """The curve of `start`'s kind that fits evidence and truth (bool) of one shape.

    Platt's scaling: logistic regression with targets drawn in from 0 and 1 by their number (Platt 1999).
    """
    x, truth = evidence.ravel(), right.ravel()
    positive = int(truth.sum())
    wanted = np.where(truth, (positive + 1) / (positive + 2), 1 / (truth.size - positive + 2))
    centre, spread = x.mean(), x.std() or 1.0
    z = (x - centre) / spread

    def loss(line: np.ndarray) -> float:
        logits = line[0] * z + line[1]
        return -float(np.mean(wanted * log_expit(logits) + (1 - wanted) * log_expit(-logits)))

    slope, intercept = minimize(loss, (1.0, 0.0), method="BFGS").x / (spread, 1)
    return replace(start, slope=float(slope), intercept=float(intercept - slope * centre))
