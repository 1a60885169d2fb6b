import numpy as np
import pytest
from scipy.special import expit

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.evaluate import labelled
from clip_italian.search.classify import Curve, make
from clip_italian.search.label_curve import calibrate, fit
from tests.conftest import COLOURS, SHAPES, draw_shape

IT = languages.get("it")


def test_the_fit_finds_the_curve_that_drew_the_truth():
    rng = np.random.default_rng(0)
    x = rng.normal(0.2, 0.05, (4000, 5))
    truth = rng.random(x.shape) < expit(40 * x - 10)
    found = fit(x, truth, Curve(20, 0, True))
    assert found.slope == pytest.approx(40, rel=0.1)
    assert found.intercept == pytest.approx(-10, rel=0.1)
    assert found.beside_neutral
    # Fitted probabilities are right on the mean.
    assert found.probabilities(x).mean() == pytest.approx(truth.mean(), abs=1e-3)


def test_few_pictures_that_are_told_apart_do_not_make_certainty():
    x = np.array([[0.1, 0.3], [0.3, 0.1]])
    found = fit(x, x > 0.2, Curve(20, 0, True))
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
    found = calibrate(tiny_encoder, made, data)
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
        calibrate(tiny_encoder, made, data)
    for name in ("quadrato", "triangolo"):
        for file in (folder / name).iterdir():
            file.unlink()
        (folder / name).rmdir()
    with pytest.raises(UserError, match="one label only"):
        calibrate(tiny_encoder, made, labelled.load([folder], [], IT, tmp_path)[0])
