"""A picture of a model's mistakes: drawings of the probes that it got wrong, with what is right and what it took.

Shown are, of each kind, the first of the `mistakes` in the probe's figures (`evaluate.probes.score`): a rule, not a
choice. The drawings are made again from seed and number, so that no picture needs to be kept.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from clip_italian import console, languages
from clip_italian.errors import UserError
from clip_italian.evaluate.probes import cases
from clip_italian.files import assets
from clip_italian.files.atomic import staged
from clip_italian.stats.contact_sheet import FRAME, GREY, INK, load_font, wrap

FILE = "failures.jpg"
OF_EACH = 4
CREDIT = f"Drawings: OpenMoji {assets.DRAWINGS.version}, {assets.DRAWINGS.home}, {assets.DRAWINGS.license}"
_MARK = "Written by clip-italian card"  # the JPEG's comment
_CELL, _GAP, _LINE, _LINES = 220, 20, 19, 2
_HEADING = 34
_ROW = _HEADING + _CELL + 8 + 2 * _LINES * _LINE + _GAP  # at most
_RIGHT, _WRONG = "#00703c", "#b3261e"
_QUALITY = 80


def is_ours(path: Path) -> bool:
    """Whether it is a sheet that this module wrote."""
    try:
        with Image.open(path) as image:
            return image.info.get("comment") == _MARK.encode()
    except OSError:
        return False


def write(probe: Mapping[str, Any], path: Path) -> int:
    """Write the sheet as JPEG; return how many mistakes it shows, and write nothing where that is 0.

    Nothing is shown of figures that tell no mistakes, or whose drawings cannot be made again (a notice says why).
    Raises UserError where there is a file that somebody else wrote.
    """
    shown = {kind: probe[kind]["mistakes"][:OF_EACH] for kind in cases.KINDS if probe.get(kind, {}).get("mistakes")}
    if not shown:
        return 0
    if path.exists() and not is_ours(path):
        raise UserError(f"{path}: written by somebody else; move it away, or choose another folder (-o)")
    try:
        rows = [(_heading(kind, probe[kind]), _drawn_again(probe, kind, found)) for kind, found in shown.items()]
    except UserError as error:
        console.notice(f"no picture of mistakes: {error}")
        return 0
    with staged(path) as temporary:
        _sheet(rows).save(temporary, "JPEG", quality=_QUALITY, optimize=True, comment=_MARK)
    return sum(map(len, shown.values()))


def _heading(kind: str, figures: Mapping[str, Any]) -> str:
    return f"{kind}: accuracy {figures['accuracy']:.3f}, chance {figures['chance']:.3f}"


def _drawn_again(
    probe: Mapping[str, Any], kind: cases.Kind, mistakes: Sequence[Mapping[str, Any]]
) -> list[tuple[Image.Image, Mapping[str, Any]]]:
    """Drawings with their mistakes; raises UserError where a drawing of that number shows something else now."""
    words = languages.get(probe["language"]).probes
    wanted = {mistake["number"]: mistake for mistake in mistakes}
    found = {}
    made = cases.make(words, probe["each"], probe["seed"], (kind,)) if words else ()
    for number, case in enumerate(made):
        if number in wanted:
            found[number] = case
        if len(found) == len(wanted):
            break
    for number, mistake in wanted.items():
        right = mistake["right"]
        if number not in found or right["caption"] not in found[number].choices[right["value"]]:
            raise UserError(f"{kind} {number}: drawn otherwise by this version; measure again (evaluate probe)")
    return [(found[number].picture, mistake) for number, mistake in wanted.items()]


def _sheet(rows: Sequence[tuple[str, Sequence[tuple[Image.Image, Mapping[str, Any]]]]]) -> Image.Image:
    bold, font, small = load_font("DejaVu Sans:bold", 15), load_font("DejaVu Sans", 14), load_font("DejaVu Sans", 12)
    sheet = Image.new("RGB", (OF_EACH * (_CELL + _GAP) + _GAP, len(rows) * _ROW + 2 * _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    top = 0
    for heading, cells in rows:
        pen.text((_GAP, top + _HEADING - 7), heading, INK, bold, anchor="ls")
        top += _HEADING
        ends = []
        for column, (image, mistake) in enumerate(cells):
            x, y = _GAP + column * (_CELL + _GAP), top
            sheet.paste(image.resize((_CELL, _CELL), Image.Resampling.LANCZOS), (x, y))
            pen.rectangle((x, y, x + _CELL - 1, y + _CELL - 1), outline=FRAME)
            y += _CELL + 8
            for mark, colour, said in (("✓", _RIGHT, mistake["right"]), ("✗", _WRONG, mistake["taken"])):
                for line in wrap(f"{mark} {said['cosine']:.3f} {said['caption']}", font, _CELL, _LINES):
                    pen.text((x, y), line, colour, font)
                    y += _LINE
            ends.append(y)
        top = max(ends) + _GAP
    pen.text((_GAP, top), CREDIT, GREY, small)
    return sheet.crop((0, 0, sheet.width, top + 2 * _GAP))
