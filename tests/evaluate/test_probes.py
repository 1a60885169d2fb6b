"""The drawings of the probes show what the captions say, and accuracy is right for encoders with known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import label

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.evaluate import probes
from clip_italian.evaluate.probes import Case

WORDS = languages.get("it").probes
SVG = '<svg viewBox="0 0 10 10" xmlns="http://www.w3.org/2000/svg">{}</svg>'


@pytest.fixture
def squares(monkeypatch):
    """Every drawing is a plain square in its first paint, so that pixels can be counted."""

    def read(things):
        return {thing.code: square(*thing.paints) if thing.paints else square("#777777") for thing in things}

    def square(paint, *others):  # the others stand in a comment, since `paint` looks for all of them
        return SVG.format(f'<rect width="10" height="10" fill="{paint}"/><!-- {others} -->')

    monkeypatch.setattr(probes, "read_drawings", read)


def blobs(picture):
    """Centres (row, column) of what is not white."""
    marked, count = label(np.asarray(picture).min(axis=2) < 250)
    return [tuple(np.mean(np.nonzero(marked == number), axis=1)) for number in range(1, count + 1)]


def test_as_many_things_as_are_said(squares):
    for case in probes.make_cases(WORDS, each=8, seed=5, kinds=("number",)):
        assert len(blobs(case.picture)) == int(case.value), case.about
        assert list(case.choices) == ["1", "2", "3", "4", "5", "6"]


def test_size_does_not_tell_the_number(squares):
    areas = {}
    for case in probes.make_cases(WORDS, each=25, seed=6, kinds=("number",)):
        filled = (np.asarray(case.picture).min(axis=2) < 250).sum()
        areas.setdefault(case.value, []).append(filled / int(case.value))
    means = [np.mean(area) for area in areas.values()]
    assert max(means) < 1.35 * min(means)  # of one thing; sides are drawn from 0.16 to 0.26


def test_colours_are_those_that_are_said(squares):
    for case in probes.make_cases(WORDS, each=3, seed=7, kinds=("colour",)):
        counts = {colour: count for count, colour in case.picture.getcolors(maxcolors=1 << 20) if min(colour) < 250}
        assert "#{:02x}{:02x}{:02x}".format(*max(counts, key=counts.get)) == WORDS.colours[case.value]
        assert len(case.choices) == len(WORDS.colours)


def test_places_are_those_that_are_said(monkeypatch):
    """The first thing is drawn dark, the second light."""
    shades = iter(["#101010", "#c0c0c0"] * 1000)
    monkeypatch.setattr(probes, "read_drawings", lambda things: {thing.code: "" for thing in things})
    monkeypatch.setattr(probes, "raster", lambda _: Image.new("RGBA", (20, 20), next(shades)))
    monkeypatch.setattr(probes, "lru_cache", lambda maxsize: lambda function: function)
    for case in probes.make_cases(WORDS, each=10, seed=8, kinds=("relation",)):
        grey = np.asarray(case.picture)[..., 0].astype(int)
        (y1, x1), (y2, x2) = (np.mean(np.nonzero(abs(grey - shade) < 9), axis=1) for shade in (0x10, 0xC0))
        seen = {"left": x1 < x2 - 30, "right": x1 > x2 + 30, "above": y1 < y2 - 30, "below": y1 > y2 + 30}
        assert [name for name, is_so in seen.items() if is_so] == [case.value]


def test_same_seed_same_pictures_and_kinds_are_independent(squares):
    first = [np.asarray(c.picture) for c in probes.make_cases(WORDS, 2, 3) if c.kind == "relation"]
    again = [np.asarray(c.picture) for c in probes.make_cases(WORDS, 2, 3, kinds=("relation",))]
    other = [np.asarray(c.picture) for c in probes.make_cases(WORDS, 2, 4, kinds=("relation",))]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_paints_are_replaced_at_once():
    svg = '<path fill="#EA5A47"/><path fill="#d22f27"/><path fill="#00ff00"/>'
    painted = probes.paint(svg, ("#ea5a47", "#d22f27"), "#d22f27")
    assert painted == '<path fill="#d22f27"/><path fill="#a4251e"/><path fill="#00ff00"/>'
    with pytest.raises(ValueError, match="no fill #123456"):
        probes.paint(svg, ("#123456",), "#d22f27")


def test_openmoji_has_every_thing_with_its_paints(real_assets):
    svgs = probes.read_drawings(WORDS.things)
    for thing in WORDS.things:
        image = probes.raster(
            probes.paint(svgs[thing.code], thing.paints, "#1e50c8") if thing.paints else svgs[thing.code]
        )
        assert max(image.size) > 150
        if thing.paints:
            red, _, blue, alpha = (np.asarray(image)[..., i].astype(int) for i in range(4))
            assert ((blue > red + 60) & (alpha > 200)).sum() > 0.1 * (alpha > 200).sum(), thing.singular


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
    figures = probes.measure(Scripted(), cases)["colour"]
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
    told = probes.measure(Scripted(), cases)["colour"]["mistakes"]
    assert [(one["number"], one["right"]["value"]) for one in told] == [(1, "rosso"), (4, "blu")]
    # Cosines of (10, 100, 0) with red, and with the two ways to say green on average.
    assert told[0]["right"]["cosine"] == pytest.approx(10 / np.hypot(10, 100), abs=1e-4)
    assert told[0]["taken"]["cosine"] == pytest.approx(0.894427 * 100 / np.hypot(10, 100), abs=1e-4)


def test_the_same_score_for_all_is_no_answer():
    class Blind(Scripted):
        def encode_text(self, texts):
            return np.ones((len(texts), 3)) / np.sqrt(3)

    figures = probes.measure(Blind(), [case("rosso", (255, 0, 0))] * 3)["colour"]
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

    before = probes.measure(Scripted(), cases)["colour"]
    after = probes.measure(Longer(), [cases[place] for place in rng.permutation(len(cases))])["colour"]
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
        probes.measure(Damaged(), [case("rosso", (255, 0, 0))])


def test_batches_change_nothing(monkeypatch):
    cases = [
        case(value, colour) for value, colour in (("rosso", (255, 0, 0)), ("blu", (0, 0, 255)), ("verde", (9, 9, 0)))
    ]
    whole = probes.measure(Scripted(), cases)
    monkeypatch.setattr(probes, "_BATCH", 1)
    assert probes.measure(Scripted(), cases) == whole
