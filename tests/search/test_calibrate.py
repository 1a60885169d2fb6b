"""Probabilities from scores: against data with a known curve, on a real index, and by labelled pictures."""

import numpy as np
import pytest
from scipy.special import expit

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.evaluate import labelled
from clip_italian.search import update
from clip_italian.search.calibrate import brier, calibrate, calibrate_labels, fit, fitted
from clip_italian.search.classify import Curve, make
from clip_italian.search.index import Index
from tests.conftest import COLOURS, SHAPES, draw_shape

IT = languages.get("it")


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


def test_the_fit_finds_the_curve_that_drew_the_truth():
    rng = np.random.default_rng(0)
    x = rng.normal(0.2, 0.05, (4000, 5))
    truth = rng.random(x.shape) < expit(40 * x - 10)
    found = fitted(Curve(20, 0, True), x, truth)
    assert found.slope == pytest.approx(40, rel=0.1)
    assert found.intercept == pytest.approx(-10, rel=0.1)
    assert found.beside_neutral
    # Fitted probabilities are right on the mean.
    assert found.probabilities(x).mean() == pytest.approx(truth.mean(), abs=1e-3)


def test_few_pictures_that_are_told_apart_do_not_make_certainty():
    x = np.array([[0.1, 0.3], [0.3, 0.1]])
    found = fitted(Curve(20, 0, True), x, x > 0.2)
    # Two and two: Platt's targets are 3/4 and 1/4.
    assert found.probabilities(np.array([0.1, 0.3])) == pytest.approx([0.25, 0.75], abs=1e-3)


@pytest.fixture
def folder(tmp_path):
    for shape in SHAPES:
        (tmp_path / "known" / shape).mkdir(parents=True)
        for number, colour in enumerate(COLOURS.values()):
            draw_shape(shape, colour, number).save(tmp_path / "known" / shape / f"{number}.png")
    return tmp_path / "known"


def test_calibrating_by_a_folder(folder, tmp_path, tiny_encoder):
    (data,) = labelled.load([folder], [], IT, tmp_path)
    names = {name: (f"un {name}",) for name in ("gatto", *reversed(SHAPES))}
    made = make(tiny_encoder, names, ["{}"], IT, multi=True)
    found = calibrate_labels(tiny_encoder, made, data)
    assert found.pictures == 18
    # A random model tells nothing: what is left is how often a label is right, one time in three.
    images = tiny_encoder.encode_images(sorted(folder.rglob("*.png")))
    assert found.classifier.probabilities(images)[:, 1:].mean() == pytest.approx(1 / 3, abs=0.03)
    assert found.after < found.before
    assert made.curve == Curve(pytest.approx(20), 0, True)


def test_folders_that_are_no_labels(folder, tmp_path, tiny_encoder):
    (data,) = labelled.load([folder], [], IT, tmp_path)
    made = make(tiny_encoder, {"cerchio": ("un cerchio",)}, ["{}"], IT, multi=True)
    with pytest.raises(UserError, match="'quadrato' is none of the labels"):
        calibrate_labels(tiny_encoder, made, data)
    for name in ("quadrato", "triangolo"):
        for file in (folder / name).iterdir():
            file.unlink()
        (folder / name).rmdir()
    with pytest.raises(UserError, match="one label only"):
        calibrate_labels(tiny_encoder, made, labelled.load([folder], [], IT, tmp_path)[0])
