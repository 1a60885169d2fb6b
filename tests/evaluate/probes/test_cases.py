"""The drawings of the probes show what the captions say, seen by looking at the pixels."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label

from clip_italian import languages
from clip_italian.evaluate.probes import cases, drawings

WORDS = languages.get("it").probes
SVG = '<svg viewBox="0 0 10 10" xmlns="http://www.w3.org/2000/svg">{}</svg>'


@pytest.fixture
def squares(monkeypatch):
    """Every drawing is a plain square in its first paint, so that pixels can be counted."""

    def read(things):
        return {thing.code: square(*thing.paints) if thing.paints else square("#777777") for thing in things}

    def square(paint, *others):  # the others stand in a comment, since `paint` looks for all of them
        return SVG.format(f'<rect width="10" height="10" fill="{paint}"/><!-- {others} -->')

    monkeypatch.setattr(cases, "read", read)


def blobs(picture):
    """Centres (row, column) of what is not white."""
    marked, count = label(np.asarray(picture).min(axis=2) < 250)
    return [tuple(np.mean(np.nonzero(marked == number), axis=1)) for number in range(1, count + 1)]


def test_as_many_things_as_are_said(squares):
    for case in cases.make(WORDS, each=8, seed=5, kinds=("number",)):
        assert len(blobs(case.picture)) == int(case.value), case.about
        assert list(case.choices) == ["1", "2", "3", "4", "5", "6"]


def test_size_does_not_tell_the_number(squares):
    areas = {}
    for case in cases.make(WORDS, each=25, seed=6, kinds=("number",)):
        filled = (np.asarray(case.picture).min(axis=2) < 250).sum()
        areas.setdefault(case.value, []).append(filled / int(case.value))
    means = [np.mean(area) for area in areas.values()]
    assert max(means) < 1.35 * min(means)  # of one thing; sides are drawn from 0.16 to 0.26


def test_colours_are_those_that_are_said(squares):
    for case in cases.make(WORDS, each=3, seed=7, kinds=("colour",)):
        counts = {colour: count for count, colour in case.picture.getcolors(maxcolors=1 << 20) if min(colour) < 250}
        assert "#{:02x}{:02x}{:02x}".format(*max(counts, key=counts.get)) == WORDS.colours[case.value]
        assert len(case.choices) == len(WORDS.colours)


def test_places_are_those_that_are_said(monkeypatch):
    """The first thing is drawn dark, the second light."""
    shades = iter(["#101010", "#c0c0c0"] * 1000)
    monkeypatch.setattr(cases, "read", lambda things: {thing.code: "" for thing in things})
    monkeypatch.setattr(cases, "drawing", lambda _: Image.new("RGBA", (20, 20), next(shades)))
    monkeypatch.setattr(cases, "lru_cache", lambda maxsize: lambda function: function)
    for case in cases.make(WORDS, each=10, seed=8, kinds=("relation",)):
        grey = np.asarray(case.picture)[..., 0].astype(int)
        (y1, x1), (y2, x2) = (np.mean(np.nonzero(abs(grey - shade) < 9), axis=1) for shade in (0x10, 0xC0))
        seen = {"left": x1 < x2 - 30, "right": x1 > x2 + 30, "above": y1 < y2 - 30, "below": y1 > y2 + 30}
        assert [name for name, is_so in seen.items() if is_so] == [case.value]


def test_same_seed_same_pictures_and_kinds_are_independent(squares):
    first = [np.asarray(c.picture) for c in cases.make(WORDS, 2, 3) if c.kind == "relation"]
    again = [np.asarray(c.picture) for c in cases.make(WORDS, 2, 3, kinds=("relation",))]
    other = [np.asarray(c.picture) for c in cases.make(WORDS, 2, 4, kinds=("relation",))]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_paints_are_replaced_at_once():
    svg = '<path fill="#EA5A47"/><path fill="#d22f27"/><path fill="#00ff00"/>'
    painted = drawings.paint(svg, ("#ea5a47", "#d22f27"), "#d22f27")
    assert painted == '<path fill="#d22f27"/><path fill="#a4251e"/><path fill="#00ff00"/>'
    with pytest.raises(ValueError, match="no fill #123456"):
        drawings.paint(svg, ("#123456",), "#d22f27")


def test_openmoji_has_every_thing_with_its_paints(real_assets):
    svgs = drawings.read(WORDS.things)
    for thing in WORDS.things:
        image = drawings.drawing(
            drawings.paint(svgs[thing.code], thing.paints, "#1e50c8") if thing.paints else svgs[thing.code]
        )
        assert max(image.size) > 150
        if thing.paints:
            red, _, blue, alpha = (np.asarray(image)[..., i].astype(int) for i in range(4))
            assert ((blue > red + 60) & (alpha > 200)).sum() > 0.1 * (alpha > 200).sum(), thing.singular
