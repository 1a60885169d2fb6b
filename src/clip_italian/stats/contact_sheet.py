"""A contact sheet: sample pictures with captions, as one image."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from clip_italian.pictures.decoding import PictureError, fit_square, open_picture
from clip_italian.stats.gather import Picture

COLUMNS, ROWS = 4, 3
CELL = 240
GAP = 20
LINES = 3
FONT_SIZE = 15
LINE_HEIGHT = 20
INK, GREY, FRAME = "#22272b", "#5a646c", "#d5dadd"
EMPTY = "None of the pictures is on this machine, so there is nothing to show."


def draw(candidates: Sequence[Picture], path: Path) -> int:
    """Write a PNG of the first twelve readable pictures; return their number."""
    font = load_font("DejaVu Sans", FONT_SIZE)
    small = load_font("DejaVu Sans", FONT_SIZE - 3)
    cells = list(_readable(candidates))
    if not cells:
        _empty(font).save(path)
        return 0
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    height = CELL + GAP // 2 + (LINES + 1) * LINE_HEIGHT
    sheet = Image.new("RGB", (columns * (CELL + GAP) + GAP, rows * (height + GAP) + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (picture, image) in enumerate(cells):
        x = GAP + number % columns * (CELL + GAP)
        y = GAP + number // columns * (height + GAP)
        sheet.paste(image, (x, y))
        pen.rectangle((x, y, x + CELL - 1, y + CELL - 1), outline=FRAME)
        y += CELL + GAP // 2
        for line in wrap(picture.caption, font, CELL, LINES):
            pen.text((x, y), line, INK, font)
            y += LINE_HEIGHT
        pen.text((x, y), shorten(picture.source, small, CELL), GREY, small)
    sheet.save(path)
    return len(cells)


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int, lines: int) -> list[str]:
    """The text in at most `lines` lines of at most `width` pixels; “…” ends a cut text."""
    done: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if font.getlength(longer) <= width or not line:
            line = longer
        elif len(done) == lines - 1:
            return [*done, shorten(longer, font, width)]
        else:
            done.append(shorten(line, font, width))
            line = word
    return [*done, shorten(line, font, width)] if line else done


def shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, or as many of its words as fit, with an ellipsis; of a single long word, as many letters."""
    if font.getlength(text) <= width:
        return text
    words = text.split()
    while len(words) > 1 and font.getlength(f"{' '.join(words)} …") > width:
        del words[-1]
    if len(words) > 1:
        return f"{' '.join(words).rstrip(' ,;:')} …"
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def load_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font of matplotlib: on every machine, with all letters of European languages."""
    return ImageFont.truetype(font_manager.findfont(name), size)


def _readable(candidates: Sequence[Picture]) -> Iterator[tuple[Picture, Image.Image]]:
    found = 0
    for picture in candidates:
        if found == COLUMNS * ROWS:
            return
        try:
            image = open_picture(picture.path)
        except PictureError:
            continue
        found += 1
        yield picture, fit_square(image, CELL, margin=0)


def _empty(font: ImageFont.FreeTypeFont) -> Image.Image:
    width = int(font.getlength(EMPTY)) + 4 * GAP
    sheet = Image.new("RGB", (width, 5 * GAP), "white")
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((GAP, GAP, width - GAP, 4 * GAP), outline=FRAME)
    pen.text((width / 2, 2.5 * GAP), EMPTY, GREY, font, anchor="mm")
    return sheet
