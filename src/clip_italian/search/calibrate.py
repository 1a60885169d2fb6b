"""From cosine to probability: how often a picture that a search shows with such a score is the right one.

Captions whose pictures are in the index are searched for. Of the ten best hits of each, the caption's own picture is
right and the others count as wrong, though some of them may fit the words as well: the probabilities err on the low
side. They hold for texts, in an index of this kind and size, and are too high where the model learnt these captions.
"""

from itertools import repeat
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.files.names import as_stored, normal
from clip_italian.models.encoder import SearchEncoder
from clip_italian.pipeline.parts import alone
from clip_italian.pipeline.sampling import Sample
from clip_italian.search import manifest
from clip_italian.search.index import Index
from clip_italian.search.manifest import Calibration
from clip_italian.search.rows import place

HITS = 10
MOST_CAPTIONS = 2_000
_LEAST_CAPTIONS = 30
_SEED = 1


def calibrate(folder: Path, pairs_file: Path, encoder: SearchEncoder) -> Calibration:
    """Fit the curve of the index in `folder` on captions of `pairs_file`, and keep it in the index.

    Raises UserError where fewer than thirty captions have their picture in the index, or all hits are right or wrong.
    """
    index = Index.open(folder)
    index.check_model(encoder)
    scores, right = hits(index, pairs_file, encoder)
    slope, intercept = fit(scores.ravel(), right.ravel())
    found = Calibration(slope=slope, intercept=intercept, captions=len(scores), brier=brier(scores, right))
    with alone(folder):
        now = manifest.read(folder)
        if now.model != index.manifest.model:
            raise UserError(f"{folder}: was built with another model meanwhile; calibrate it again")
        manifest.commit(folder, now.model_copy(update={"calibration": found, "generation": now.generation + 1}))
    return found


def hits(index: Index, pairs_file: Path, encoder: SearchEncoder) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the ten best hits of each caption (n, 10), and whether each is the caption's own picture."""
    ids, places = _known(index)
    chosen: Sample[tuple[str, str]] = Sample(MOST_CAPTIONS, _SEED)
    for batch in pairs.batches(pairs_file):
        for pair in pairs.from_batch(batch):
            known = normal(pair.id) in ids
            own = normal(pair.id if known else str(as_stored(pairs_file.parent / pair.image).resolve()))
            if own in ids or own in places:
                for caption in pair.captions:
                    chosen.add(f"{own}\0{caption}", (caption, own))
    if len(chosen) < _LEAST_CAPTIONS:
        raise UserError(
            f"{pairs_file}: only {len(chosen)} of its captions have their picture in the index; "
            f"give at least {_LEAST_CAPTIONS}"
        )
    scores, right = [], []
    asked = list(chosen)
    for (_, own), query in zip(asked, encoder.encode_text([caption for caption, _ in asked]), strict=True):
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
        found = map(place, repeat(roots), table["root"].to_pylist(), table["path"].to_pylist())
        places.update(map(normal, found))
    return ids, places


def fit(scores: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the logistic curve (Platt 1999, with his targets) for scores and labels (n,)."""
    positive, negative = int(right.sum()), int((~right).sum())
    if not positive or not negative:
        raise UserError(
            f"all {len(right):,} hits are {'right' if positive else 'wrong'}: there is nothing to tell apart"
        )
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


def brier(scores: np.ndarray, right: np.ndarray) -> float:
    """Mean squared error of the probabilities (n, k), each half of the captions told by the curve of the other."""
    halves = np.arange(len(scores)) % 2 == 0
    errors = []
    for half in (halves, ~halves):
        slope, intercept = fit(scores[half].ravel(), right[half].ravel())
        errors.append(((expit(slope * scores[~half] + intercept) - right[~half]) ** 2).ravel())
    return float(np.concatenate(errors).mean())
