"""How a model fails, from the figures of its probes (`evaluate.probes`): a table, and a picture of its mistakes.

The picture shows the first `mistakes` of each kind in the probe's figures: a rule, not a choice. Drawings are made
again from seed and number, so that no picture needs to be kept.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from clip_italian import console, languages
from clip_italian.errors import UserError
from clip_italian.evaluate import probes
from clip_italian.files import assets
from clip_italian.files.atomic import staged
from clip_italian.stats.contact_sheet import FRAME, GREY, INK, load_font, wrap
from clip_italian.tables import aligned_markdown

FILE = "failures.jpg"
MAX_SHOWN = 4  # mistakes of a kind
CREDIT = f"Drawings: OpenMoji {assets.DRAWINGS.version}, {assets.DRAWINGS.home}, {assets.DRAWINGS.license}"
_MARK = "Written by clip-italian card"  # the JPEG's comment
_CELL, _GAP, _LINE, _LINES = 220, 20, 19, 2
_HEADING = 34
_ROW = _HEADING + _CELL + 8 + 2 * _LINES * _LINE + _GAP  # at most
_RIGHT, _WRONG = "#00703c", "#b3261e"
_QUALITY = 80


def summary(probe: Mapping[str, Any]) -> dict[str, Any]:
    """For the card: the `table`, and the kinds `at_chance`, `above` and `below` it."""
    kinds: dict[str, Any] = {kind: probe[kind] for kind in probes.KINDS if kind in probe}
    lower = [kind for kind, one in kinds.items() if one["interval"][1] < one["chance"]]
    higher = [kind for kind, one in kinds.items() if one["interval"][0] > one["chance"]]
    return {
        "table": _table(kinds),
        "at_chance": [kind for kind in kinds if kind not in lower + higher],
        "below": lower,
        "above": higher,
    }


def _table(kinds: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            kind,
            f"{one['accuracy']:.3f}",
            f"{one['interval'][0]:.3f} to {one['interval'][1]:.3f}",
            f"{one['chance']:.3f}",
            _commonest_answer(one["answers"]),
            _commonest_mistake(one["answers"]),
        )
        for kind, one in kinds.items()
    ]
    header = ("drawings", "accuracy", "95 % interval", "chance", "commonest answer", "commonest mistake")
    return aligned_markdown(header, rows)


def _commonest_answer(answers: Mapping[str, Mapping[str, int]]) -> str:
    """The most frequent answer, right or wrong: "1: 243 of 300"."""
    chosen: Counter[str] = Counter()
    for counts in answers.values():
        chosen.update(counts)
    value, count = chosen.most_common(1)[0]
    return f"{value}: {count} of {chosen.total()}"


def _commonest_mistake(answers: Mapping[str, Mapping[str, int]]) -> str:
    """The most frequent mistake: "2 taken for 1: 41 of 50"."""
    wrong = [
        (count, right, value) for right, chosen in answers.items() for value, count in chosen.items() if value != right
    ]
    if not wrong:
        return "none"
    count, right, value = max(wrong, key=lambda one: one[0])
    return f"{right} taken for {value}: {count} of {sum(answers[right].values())}"


def is_ours(path: Path) -> bool:
    """True for a picture that `write` wrote."""
    try:
        with Image.open(path) as image:
            return image.info.get("comment") == _MARK.encode()
    except OSError:
        return False


def write(probe: Mapping[str, Any], path: Path) -> int:
    """Write a picture of the mistakes as JPEG and return their number; for 0, write nothing.

    Mistakes whose drawings this version cannot make again are not shown (a notice says why). Raises UserError for a
    file that somebody else wrote.
    """
    shown = {kind: probe[kind]["mistakes"][:MAX_SHOWN] for kind in probes.KINDS if probe.get(kind, {}).get("mistakes")}
    if not shown:
        return 0
    if path.exists() and not is_ours(path):
        raise UserError(f"{path}: written by somebody else; move it away, or choose another folder (-o)")
    try:
        rows = [(_heading(kind, probe[kind]), _redraw(probe, kind, mistakes)) for kind, mistakes in shown.items()]
    except UserError as error:
        console.notice(f"no picture of mistakes: {error}")
        return 0
    with staged(path) as temporary:
        _sheet(rows).save(temporary, "JPEG", quality=_QUALITY, optimize=True, comment=_MARK)
    return sum(map(len, shown.values()))


def _heading(kind: str, figures: Mapping[str, Any]) -> str:
    return f"{kind}: accuracy {figures['accuracy']:.3f}, chance {figures['chance']:.3f}"


def _redraw(
    probe: Mapping[str, Any], kind: probes.Kind, mistakes: Sequence[Mapping[str, Any]]
) -> list[tuple[Image.Image, Mapping[str, Any]]]:
    """Drawings with their mistakes; raises UserError if the drawing of a number has changed."""
    words = languages.get(probe["language"]).probes
    wanted = {mistake["number"]: mistake for mistake in mistakes}
    drawn = {}
    made = probes.make_cases(words, probe["each"], probe["seed"], (kind,)) if words else ()
    for number, case in enumerate(made):
        if number in wanted:
            drawn[number] = case
        if len(drawn) == len(wanted):
            break
    for number, mistake in wanted.items():
        right = mistake["right"]
        if number not in drawn or right["caption"] not in drawn[number].choices[right["value"]]:
            raise UserError(f"{kind} {number}: drawn otherwise by this version; measure again (evaluate probe)")
    return [(drawn[number].picture, mistake) for number, mistake in wanted.items()]


def _sheet(rows: Sequence[tuple[str, Sequence[tuple[Image.Image, Mapping[str, Any]]]]]) -> Image.Image:
    bold, font, small = load_font("DejaVu Sans:bold", 15), load_font("DejaVu Sans", 14), load_font("DejaVu Sans", 12)
    sheet = Image.new("RGB", (MAX_SHOWN * (_CELL + _GAP) + _GAP, len(rows) * _ROW + 2 * _GAP), "white")
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
            for mark, colour, answer in (("✓", _RIGHT, mistake["right"]), ("✗", _WRONG, mistake["taken"])):
                for line in wrap(f"{mark} {answer['cosine']:.3f} {answer['caption']}", font, _CELL, _LINES):
                    pen.text((x, y), line, colour, font)
                    y += _LINE
            ends.append(y)
        top = max(ends) + _GAP
    pen.text((_GAP, top), CREDIT, GREY, small)
    return sheet.crop((0, 0, sheet.width, top + 2 * _GAP))
