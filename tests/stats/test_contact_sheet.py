"""The sheet of samples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clip_italian.stats import contact_sheet
from clip_italian.stats.contact_sheet import CELL, GAP, LINES, shorten, wrap
from clip_italian.stats.gather import Picture

FONT = contact_sheet.load_font("DejaVu Sans", 15)


@given(st.text(max_size=200))
def test_captions_fit_their_cell(text):
    lines = wrap(text, FONT, CELL, LINES)
    assert len(lines) <= LINES
    assert all(FONT.getlength(line) <= CELL for line in lines)


@given(st.lists(st.sampled_from("un gatto è sulla più bella tavola dell'università".split()), max_size=30))
def test_words_are_kept_in_order(words):
    lines = wrap(" ".join(words), FONT, CELL, LINES)
    shown = " ".join(lines).split()
    if shown and shown[-1] == "…":
        assert shown[:-1] == words[: len(shown) - 1]
        assert len(shown) - 1 < len(words)
    else:
        assert shown == words


def test_shortened():
    assert shorten("corto", FONT, CELL) == "corto"
    assert shorten("x" * 300, FONT, CELL).endswith("x…")
    assert shorten("un gatto nero, " + "x" * 300, FONT, CELL) == "un gatto nero …"


def test_pictures_in_their_cells(tmp_path):
    colours = ["red", "lime", "blue", "yellow", "cyan"]
    candidates = [Picture(tmp_path / "missing.png", "manca", "wit")]
    for number, colour in enumerate(colours):
        Image.new("RGB", (30, 30), colour).save(tmp_path / f"{number}.png")
        candidates.append(Picture(tmp_path / f"{number}.png", f"colore {colour}", "wit"))
    assert contact_sheet.draw(candidates, tmp_path / "sheet.png") == 5
    with Image.open(tmp_path / "sheet.png") as sheet:
        found = [
            sheet.getpixel((GAP + n % 4 * (CELL + GAP) + CELL // 2, n // 4 * sheet.height // 2 + GAP + CELL // 2))
            for n in range(6)
        ]
        ink = sheet.crop((GAP, GAP + CELL, GAP + CELL, GAP + CELL + 40)).convert("L").getextrema()
    assert found == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 255, 255)]
    assert ink[0] < 80  # the caption, dark on white


@pytest.mark.parametrize("candidates", [[], [Picture(contact_sheet.Path("none.png"), "x", "wit")]])
def test_no_pictures(tmp_path, candidates):
    assert contact_sheet.draw(candidates, tmp_path / "sheet.png") == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.convert("L").getextrema()[0] < 150


def test_no_more_than_a_dozen(tmp_path):
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    assert contact_sheet.draw([Picture(tmp_path / "a.png", "a", "wit")] * 20, tmp_path / "sheet.png") == 12
