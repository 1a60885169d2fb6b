import csv
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.models_torch.towers import add_logit_bias
from clip_italian.search.classify import Classifier, Curve, best, classify_files, make, write_csv
from tests.conftest import draw_shape

IT = languages.get("it")
NAMES = {"cerchio": ("un cerchio",), "gatto": ("un gatto",), "triangolo": ("un triangolo",)}


def classifier(curve=None, scale=20.0):
    return Classifier(("a", "b"), np.eye(4)[:2], np.eye(4)[2], scale, curve)


def test_probabilities_by_hand():
    images = np.array([[0.6, 0.5, 0.4, 0.0]])
    e = math.exp
    expected = [e(12) / (e(12) + e(10)), e(10) / (e(12) + e(10))]
    assert classifier().probabilities(images) == pytest.approx(np.array([expected]))
    # Each against no label: the softmax of two texts.
    curve = Curve(20, 0, True)
    expected = [e(12) / (e(12) + e(8)), e(10) / (e(10) + e(8))]
    assert classifier(curve).probabilities(images) == pytest.approx(np.array([expected]))
    curve = Curve(10, -5, False)
    assert classifier(curve).probabilities(images)[0, 0] == pytest.approx(1 / (1 + e(-1)))


@given(arrays.arrays(np.float32, (5, 4), elements=st.floats(-1, 1, width=32)), st.floats(1, 1e4))
@settings(max_examples=30, deadline=None)
def test_probabilities_are_some_whatever_the_scale(images, scale):
    found = classifier(scale=scale).probabilities(images)
    assert np.allclose(found.sum(axis=1), 1)
    assert ((found >= 0) & (found <= 1)).all()
    each = classifier(Curve(scale, 0, True)).probabilities(images)
    assert ((each >= 0) & (each <= 1)).all()


def test_labels_stand_in_every_prompt_and_the_curve_is_the_models(tiny_encoder):
    made = make(tiny_encoder, NAMES, ["una foto di {}", "{}"], IT)
    both = tiny_encoder.encode_text(["una foto di un gatto", "un gatto"]).mean(axis=0)
    assert made.vectors[1] == pytest.approx(both / np.linalg.norm(both), abs=1e-6)
    assert made.scale == pytest.approx(20)
    assert made.curve is None
    assert make(tiny_encoder, NAMES, ["{}"], IT, multi=True).curve == Curve(pytest.approx(20), 0, True)
    add_logit_bias(tiny_encoder.model, -9.5)
    assert make(tiny_encoder, NAMES, ["{}"], IT, multi=True).curve == Curve(pytest.approx(20), -9.5, False)


def test_one_label_among_one_says_nothing(tiny_encoder):
    with pytest.raises(UserError, match="two or more"):
        make(tiny_encoder, {"gatto": ("un gatto",)}, ["{}"], IT)
    assert make(tiny_encoder, {"gatto": ("un gatto",)}, ["{}"], IT, multi=True).names == ("gatto",)


def test_best_labels():
    row = np.array([0.2, 0.7, 0.7, 0.1])
    assert best(row, 2) == [1, 2]
    assert best(row, 9, 0.2) == [1, 2, 0]
    assert best(row, 9, 0.8) == []


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "foto"
    folder.mkdir()
    for number, shape in enumerate(("cerchio", "quadrato", "triangolo")):
        draw_shape(shape, "red", number).save(folder / f'{shape}, "rosso".png')
    (folder / "guasta.jpg").write_text("no picture")
    return sorted(folder.iterdir())


def test_csv_holds_the_probabilities_and_nothing_of_broken_files(tiny_encoder, pictures, tmp_path):
    made = make(tiny_encoder, NAMES, ["una foto di {}"], IT)
    rows, left_out = write_csv(tmp_path / "l.csv", made, classify_files(tiny_encoder, made, pictures), 0)
    assert rows == 3
    assert ["guasta.jpg" in line for line in left_out] == [True]
    with (tmp_path / "l.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    good = [path for path in pictures if path.suffix == ".png"]
    assert [row["path"] for row in read] == [str(path) for path in good]
    logits = 20 * tiny_encoder.encode_images(good) @ made.vectors.T
    for row, line in zip(read, logits, strict=True):
        shares = np.exp(line) / np.exp(line).sum()
        assert [float(row[name]) for name in NAMES] == pytest.approx(list(shares), abs=1e-3)
        assert row["label"] == list(NAMES)[int(line.argmax())]


def test_csv_of_labels_by_themselves_names_those_that_reach_the_threshold(tiny_encoder, pictures, tmp_path):
    made = make(tiny_encoder, NAMES, ["{}"], IT, multi=True)
    write_csv(tmp_path / "l.csv", made, classify_files(tiny_encoder, made, pictures), 0.5)
    with (tmp_path / "l.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            reached = {name for name in NAMES if float(row[name]) >= 0.5}
            assert set(filter(None, row["labels"].split(";"))) == reached


def test_csv_comes_whole_or_not_at_all(tiny_encoder, pictures, tmp_path):
    made = make(tiny_encoder, NAMES, ["{}"], IT)
    target = tmp_path / "l.csv"
    target.write_text("before")

    def breaks():
        yield from classify_files(tiny_encoder, made, pictures)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_csv(target, made, breaks(), 0)
    with pytest.raises(UserError, match="was not written"):
        write_csv(target, made, classify_files(tiny_encoder, made, [tmp_path / "keine.png"]), 0)
    assert target.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_files_are_embedded_in_parts(tiny_encoder, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("clip_italian.search.classify._FILES", 2)
    made = make(tiny_encoder, NAMES, ["{}"], IT)
    batches = list(classify_files(tiny_encoder, made, pictures))
    assert [len(batch.paths) + len(batch.errors) for batch in batches] == [2, 2]
    whole = made.probabilities(tiny_encoder.encode_images([Image.open(pictures[0])]))
    assert batches[0].probabilities[0] == pytest.approx(whole[0], abs=1e-5)
