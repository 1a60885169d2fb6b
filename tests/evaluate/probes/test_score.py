"""Accuracy of the probes, with encoders whose answers are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clip_italian.errors import UserError
from clip_italian.evaluate.probes import score
from clip_italian.evaluate.probes.cases import Case

CHOICES = {"rosso": ("una mela rossa",), "verde": ("una mela verde", "la mela è verde"), "blu": ("una mela blu",)}
AXES = {
    "una mela rossa": [1, 0, 0],
    "una mela verde": [0, 1, 0],
    "la mela è verde": [0, 0.6, 0.8],
    "una mela blu": [0, 0, 1],
}


class Scripted:
    """Sees the colour of a picture's corner; looks up texts."""

    def encode_images(self, images):
        vectors = np.array([image.getpixel((0, 0)) for image in images], dtype=float)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_text(self, texts):
        assert len(set(texts)) == len(texts)
        return np.array([AXES[text] for text in texts], dtype=float)


def case(value, colour):
    return Case("colour", value, "mela", Image.new("RGB", (2, 2), colour), CHOICES)


def test_counts_by_hand():
    cases = [
        case("rosso", (255, 0, 0)), case("rosso", (250, 20, 20)), case("rosso", (0, 0, 255)),
        case("verde", (0, 255, 0)), case("blu", (0, 0, 255)), case("blu", (0, 160, 255)),
    ]  # fmt: skip
    figures = score.measure(Scripted(), cases)["colour"]
    # The last: the two ways to say "verde" average to (0, 0.894, 0.447), at a cosine of 0.854 to (0, 0.53, 0.85),
    # just above that of "blu", 0.847.
    assert figures["answers"] == {"rosso": {"rosso": 2, "blu": 1}, "verde": {"verde": 1}, "blu": {"blu": 1, "verde": 1}}
    assert (figures["accuracy"], figures["cases"], figures["chance"]) == (0.6667, 6, 0.3333)
    assert figures["by_value"]["rosso"]["accuracy"] == 0.6667
    long = np.hypot(160, 255)
    assert figures["mistakes"] == [
        {
            "number": 2,
            "right": {"value": "rosso", "caption": "una mela rossa", "cosine": 0.0},
            "taken": {"value": "blu", "caption": "una mela blu", "cosine": 1.0},
        },
        {
            "number": 5,
            "right": {"value": "blu", "caption": "una mela blu", "cosine": round(255 / long, 4)},
            "taken": {
                "value": "verde", "caption": "una mela verde", "cosine": round((2 * 160 + 255) / 5**0.5 / long, 4),
            },
        },
    ]  # fmt: skip
    # Wilson's interval for 4 of 6 by its formula.
    z, p, n = 1.959964, 4 / 6, 6
    middle, half = (p + z * z / 2 / n), z * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    assert figures["interval"] == pytest.approx(
        [(middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)], abs=1e-4
    )


def test_of_each_value_the_widest_mistake_is_told():
    cases = [case("rosso", colour) for colour in ((90, 100, 0), (10, 100, 0), (50, 100, 0), (255, 0, 0))]
    cases.append(case("blu", (255, 250, 249)))
    told = score.measure(Scripted(), cases)["colour"]["mistakes"]
    assert [(one["number"], one["right"]["value"]) for one in told] == [(1, "rosso"), (4, "blu")]
    # Cosines of (10, 100, 0) with red, and with the two ways to say green on average.
    assert told[0]["right"]["cosine"] == pytest.approx(10 / np.hypot(10, 100), abs=1e-4)
    assert told[0]["taken"]["cosine"] == pytest.approx(0.894427 * 100 / np.hypot(10, 100), abs=1e-4)


def test_the_same_score_for_all_is_no_answer():
    class Blind(Scripted):
        def encode_text(self, texts):
            return np.ones((len(texts), 3)) / np.sqrt(3)

    figures = score.measure(Blind(), [case("rosso", (255, 0, 0))] * 3)["colour"]
    assert figures["answers"] == {"rosso": {"none": 3}}
    assert figures["accuracy"] == 0
    assert figures["mistakes"] == []


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([*CHOICES]), min_size=1, max_size=9), st.integers(0, 10**6))
def test_order_of_cases_and_length_of_vectors_change_nothing(values, seed):
    rng = np.random.default_rng(seed)
    cases = [case(value, tuple(rng.integers(1, 255, 3).tolist())) for value in values]

    class Longer(Scripted):
        def encode_images(self, images):
            return super().encode_images(images) * rng.uniform(0.01, 100, (len(images), 1))

        def encode_text(self, texts):
            return super().encode_text(texts) * rng.uniform(0.01, 100, (len(texts), 1))

    before = score.measure(Scripted(), cases)["colour"]
    after = score.measure(Longer(), [cases[place] for place in rng.permutation(len(cases))])["colour"]
    numbered = {"mistakes": after["mistakes"]}  # by the order of the cases
    assert after == before | {"answers": after["answers"], "by_value": after["by_value"]} | numbered
    for part in ("answers", "by_value"):
        assert dict(sorted(after[part].items())) == dict(sorted(before[part].items()))


@pytest.mark.parametrize(("factor", "words"), [(np.nan, "not finite"), (0, "zero")])
def test_damaged_models_get_a_line_and_no_accuracy(factor, words):
    class Damaged(Scripted):
        def encode_images(self, images):
            return super().encode_images(images) * factor

    with pytest.raises(UserError, match=f"drawings: 1 of 1 embeddings are {words}"):
        score.measure(Damaged(), [case("rosso", (255, 0, 0))])


def test_batches_change_nothing(monkeypatch):
    cases = [
        case(value, colour) for value, colour in (("rosso", (255, 0, 0)), ("blu", (0, 0, 255)), ("verde", (9, 9, 0)))
    ]
    whole = score.measure(Scripted(), cases)
    monkeypatch.setattr(score, "_BATCH", 1)
    assert score.measure(Scripted(), cases) == whole
