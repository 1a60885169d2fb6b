"""Probabilities from scores: against data with a known curve, and on a real index."""

import numpy as np
import pytest
from scipy.special import expit

from clip_italian.errors import UserError
from clip_italian.search import update
from clip_italian.search.calibrate import brier, calibrate, fit
from clip_italian.search.index import Index


def test_a_known_curve_is_found_again():
    rng = np.random.default_rng(0)
    scores = rng.normal(0.3, 0.05, 40_000)
    right = rng.random(40_000) < expit(30 * scores - 11)
    slope, intercept = fit(scores, right)
    assert slope == pytest.approx(30, rel=0.05)
    assert intercept == pytest.approx(-11, rel=0.05)
    best = np.mean((expit(30 * scores - 11) - right) ** 2)
    assert brier(scores.reshape(-1, 10), right.reshape(-1, 10)) == pytest.approx(best, rel=0.02)


def test_nothing_to_tell_apart():
    with pytest.raises(UserError, match="all 3 hits are wrong"):
        fit(np.arange(3.0), np.zeros(3, bool))


def test_an_index_tells_probabilities_once_it_is_calibrated(tmp_path, shapes, tiny_encoder):
    images = shapes.parent / "images"
    model = update.Model(tiny_encoder, "tiny")
    update.build(tmp_path / "idx", [images], model)
    query = tiny_encoder.encode_text(["un cerchio rosso"])[0]
    assert Index.open(tmp_path / "idx").search(query, 3, calibrated=True)[0].probability is None
    found = calibrate(tmp_path / "idx", shapes, tiny_encoder)
    assert found.captions == 54
    index = Index.open(tmp_path / "idx")
    assert index.info["calibrated"]
    for hit in index.search(query, 3, calibrated=True):
        assert hit.probability == pytest.approx(expit(found.slope * hit.score + found.intercept))
    assert index.search(query, 3)[0].probability is None
    update.compact(tmp_path / "idx")
    update.build(tmp_path / "idx", [images], model)
    assert index.fresh().manifest.calibration == found, "updates keep it"
    (shapes.parent / "few.jsonl").write_text(shapes.read_text().splitlines()[0])
    with pytest.raises(UserError, match="only 1 of its captions"):
        calibrate(tmp_path / "idx", shapes.parent / "few.jsonl", tiny_encoder)
