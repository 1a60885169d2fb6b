"""Probabilities fitted to known answers: of the hits of an index by captions, of single labels by labelled pictures.

Both use Platt's scaling: logistic regression of the truth on a score, with targets that are drawn in from 0 and 1 by
their number (Platt 1999).

An index: captions whose pictures are in it are searched for. Of the ten best hits of each, the caption's own picture is
right and the others count as wrong, though some of them may match the words as well: the probabilities err on the low
side. They hold for texts, in an index of this kind and size, and are too high where the model learned these captions.
"""

from dataclasses import dataclass, replace
from importlib import import_module
from itertools import repeat
from pathlib import Path

import numpy as np

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.evaluate.labelled import LabelledSet
from clip_italian.evaluate.run import embed_files
from clip_italian.files.names import as_stored, normal
from clip_italian.models.encoder import SearchEncoder
from clip_italian.pipeline.parts import exclusive_lock
from clip_italian.pipeline.sampling import Sample
from clip_italian.search.classify import Classifier, Curve
from clip_italian.search.index import Index
from clip_italian.search.numerics import expit
from clip_italian.search.schema import Calibration, absolute_path
from clip_italian.search.storage import read_manifest, write_manifest

HITS = 10
MAX_CAPTIONS = 2_000
_MIN_CAPTIONS = 30
_SEED = 1
_FOLDS = 5
_FITTING = "scipy.optimize"  # of the extra `train`; where it is missing, this shows before anything is embedded


def fit(scores: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the logistic curve through scores and truth (bool) of one shape.

    Raises UserError where all are right or all wrong.
    """
    from scipy.optimize import minimize  # of the extra `train`

    scores, right = scores.ravel(), right.ravel()
    positive, negative = int(right.sum()), int((~right).sum())
    if not positive or not negative:
        raise UserError(f"all {len(right):,} hits are {'right' if positive else 'wrong'}: there is nothing to fit")
    target = np.where(right, (positive + 1) / (positive + 2), 1 / (negative + 2))
    centre, width = scores.mean(), max(float(scores.std()), 1e-9)
    x = (scores - centre) / width

    def loss(curve: np.ndarray) -> tuple[float, np.ndarray]:
        at = curve[0] * x + curve[1]
        error = expit(at) - target
        value = np.logaddexp(0, at).sum() - (target * at).sum()
        return float(value), np.array([(error * x).sum(), error.sum()])

    slope, intercept = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    return float(slope / width), float(intercept - slope * centre / width)


def calibrate(folder: Path, pairs_file: Path, encoder: SearchEncoder) -> Calibration:
    """Fit the curve of the index in `folder` on captions of `pairs_file`, and store it in the index.

    Raises UserError where fewer than thirty captions have their picture in the index, or all hits are right or wrong.
    """
    import_module(_FITTING)
    index = Index.open(folder)
    index.check_model(encoder)
    scores, right = hits(index, pairs_file, encoder)
    slope, intercept = fit(scores, right)
    found = Calibration(slope=slope, intercept=intercept, captions=len(scores), brier=brier(scores, right))
    with exclusive_lock(folder):
        now = read_manifest(folder)
        if now.model != index.manifest.model:
            raise UserError(f"{folder}: was built with another model meanwhile; calibrate it again")
        write_manifest(folder, now.model_copy(update={"calibration": found, "generation": now.generation + 1}))
    return found


def hits(index: Index, pairs_file: Path, encoder: SearchEncoder) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n, 10) of the ten best hits of each caption, and True for the caption's own picture."""
    ids, places = _known(index)
    chosen: Sample[tuple[str, str]] = Sample(MAX_CAPTIONS, _SEED)
    for batch in pairs.batches(pairs_file):
        for pair in pairs.from_batch(batch):
            known = normal(pair.id) in ids
            own = normal(pair.id if known else str(as_stored(pairs_file.parent / pair.image).resolve()))
            if own in ids or own in places:
                for caption in pair.captions:
                    chosen.add(f"{own}\0{caption}", (caption, own))
    if len(chosen) < _MIN_CAPTIONS:
        raise UserError(
            f"{pairs_file}: only {len(chosen)} of its captions have their picture in the index; "
            f"give at least {_MIN_CAPTIONS}"
        )
    scores, right = [], []
    queries = list(chosen)
    vectors = encoder.encode_text([caption for caption, _ in queries])
    for (_, own), query in zip(queries, vectors, strict=True):
        found = index.search(query, HITS)
        scores.append([hit.score for hit in found])
        right.append([own in (normal(hit.id), normal(hit.file)) for hit in found])
    return np.asarray(scores), np.asarray(right)


def _known(index: Index) -> tuple[set[str], set[str]]:
    """Ids and absolute paths of all rows, in Unicode form NFC."""
    ids: set[str] = set()
    places: set[str] = set()
    roots = index.manifest.roots
    for table, _ in index.store.content(["id", "root", "path"]):
        ids.update(map(normal, table["id"].to_pylist()))
        found = map(absolute_path, repeat(roots), table["root"].to_pylist(), table["path"].to_pylist())
        places.update(map(normal, found))
    return ids, places


def brier(scores: np.ndarray, right: np.ndarray) -> float:
    """Mean squared error of the probabilities (n, k); each half of the captions is judged by the curve of the other."""
    halves = np.arange(len(scores)) % 2 == 0
    errors = []
    for half in (halves, ~halves):
        slope, intercept = fit(scores[half], right[half])
        errors.append(((expit(slope * scores[~half] + intercept) - right[~half]) ** 2).ravel())
    return float(np.concatenate(errors).mean())


@dataclass(frozen=True)
class CalibratedClassifier:
    """A classifier with a fitted curve, the number of pictures it saw, and the mean squared error of its probabilities.

    `before` is that of the model's own curve, `after` that of curves fitted to the other four fifths of the pictures.
    """

    classifier: Classifier
    pictures: int
    before: float
    after: float


def calibrate_labels(encoder: SearchEncoder, classifier: Classifier, data: LabelledSet) -> CalibratedClassifier:
    """Fit the classifier's curve to pictures that each show their class and no other.

    Classes are labels of the classifier. Raises UserError where one is not, or where fewer than two have pictures.
    """
    if unknown := [name for name in data.classes if name not in classifier.names]:
        raise UserError(f"{data.place}: {unknown[0]!r} is none of the labels; name the folders as the labels")
    if len(data.classes) < 2:
        raise UserError(f"{data.place}: pictures of one label only; calibrating needs folders for two or more")
    import_module(_FITTING)
    paths, (images,), _ = embed_files([encoder], data.paths, data.place)
    classes = dict(zip(data.paths, data.right, strict=True))
    right = np.eye(len(data.classes), dtype=bool)[[classes[path] for path in paths]]
    start = classifier.curve or Curve.of_model(encoder)
    columns = [classifier.names.index(name) for name in data.classes]
    evidence = classifier.evidence(images, start.beside_neutral)[:, columns]
    fold = np.random.default_rng(0).permutation(len(images)) % _FOLDS
    held_out = np.empty(evidence.shape)
    for number in range(_FOLDS):
        inside = fold == number
        held_out[inside] = fitted(start, evidence[~inside], right[~inside]).probabilities(evidence[inside])
    return CalibratedClassifier(
        replace(classifier, curve=fitted(start, evidence, right)),
        len(images),
        float(np.mean((start.probabilities(evidence) - right) ** 2)),
        float(np.mean((held_out - right) ** 2)),
    )


def fitted(curve: Curve, evidence: np.ndarray, right: np.ndarray) -> Curve:
    """The curve of this kind that fits evidence and truth (bool) of one shape."""
    slope, intercept = fit(evidence, right)
    return replace(curve, slope=slope, intercept=intercept)
