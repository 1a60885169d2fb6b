"""Charts of the card: bars are as long as what they count, and anything can be drawn."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor

from clip_italian import charts
from clip_italian.stats import card


def colour_widths(path, colour, tolerance=12):
    """For each row of pixels, how many are of the colour."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return (np.abs(pixels - ImageColor.getrgb(colour)).max(axis=2) <= tolerance).sum(axis=1)


def test_bars_of_sources_are_in_proportion(tmp_path):
    path = tmp_path / "s.png"
    charts.write_png(card.sources_chart([("wit", 1_000, 500), ("mio", 250, None)]), path)
    ours = colour_widths(path, charts.GREEN)
    half = len(ours) // 2
    legend = 60
    assert ours[half:].max() == pytest.approx(ours[legend:half].max() / 4, rel=0.02)
    assert colour_widths(path, charts.PALE)[legend:].max() == pytest.approx(ours[legend:half].max() / 2, rel=0.02)


def test_stages_share_a_bar(tmp_path):
    path = tmp_path / "r.png"
    charts.write_png(
        card.rejects_chart({"wit": Counter({"name": 300}), "clean": Counter({"name": 100, "short": 400})}), path
    )
    first, second = (colour_widths(path, charts.COLOURS[n]) for n in (0, 1))
    place = int(np.argmax(first))
    assert second[place] == pytest.approx(first[place] / 3, rel=0.03)
    assert second.max() == pytest.approx(first[place] * 4 / 3, rel=0.03)


names = st.text(st.characters(exclude_categories=["Cs", "Co", "Cn", "So", "Lo", "Cc"]), min_size=1, max_size=40)


@settings(max_examples=3, deadline=None)
@given(
    st.dictionaries(
        names, st.dictionaries(names, st.integers(1, 10**9), min_size=1, max_size=12), min_size=1, max_size=4
    ),
    st.dictionaries(st.integers(0, 10_000), st.integers(1, 10**6), min_size=1),
    st.lists(st.tuples(st.integers(1, 10_000), st.integers(1, 10_000)), min_size=1, max_size=50),
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_anything_can_be_drawn(tmp_path_factory, rejects, words, sizes):
    folder = tmp_path_factory.mktemp("figures")
    charts.write_png(
        card.rejects_chart({stage: Counter(counts) for stage, counts in rejects.items()}), folder / "r.png"
    )
    charts.write_png(
        card.sources_chart([(name, sum(counts.values()), None) for name, counts in rejects.items()]), folder / "s.png"
    )
    charts.write_png(card.lengths_chart(Counter(words)), folder / "l.png")
    charts.write_png(card.sizes_chart(sizes), folder / "z.png")
    for path in folder.iterdir():
        with Image.open(path) as image:
            assert image.width < 1_500
            assert image.height < 3_000
