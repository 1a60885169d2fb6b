"""CSV files of raters as spreadsheet programs save them, with any of their delimiters and encodings."""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from clip_italian.errors import UserError

COLUMNS = ("number", "id", "original", "translation", "rating")
DELIMITERS = {"semicolon": ";", "comma": ",", "tab": "\t"}
# First characters with which a spreadsheet program takes a text for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_WHOLE = re.compile(r"([0-9]{1,9})(?:[.,]0*)?")


@dataclass(frozen=True)
class Row:
    """A row of a rater's file; `line` is its first line, `rating` None if missing."""

    line: int
    number: int
    texts: tuple[str, ...]
    rating: int | None

    def same_as(self, other: "Row") -> bool:
        """True if at least one of the texts is the same, ignoring letters that old encodings lack."""
        return any(_plain(mine) == _plain(theirs) for mine, theirs in zip(self.texts, other.texts, strict=True))


def guarded(text: str) -> str:
    """The text, after an apostrophe if a spreadsheet program would take it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def read(path: Path, scale: Collection[int]) -> Iterator[Row]:
    """The rows of a rater's file.

    Raises UserError with file and line if it is not a rater's file or a rating is not on the scale.
    """
    text = _decode(path)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    where: dict[str, int] = {}
    seen: set[int] = set()
    start = 1
    try:
        for cells in lines:
            line, start = start, lines.line_num + 1
            if not any(cell.strip() for cell in cells) or (not where and cells[0].casefold().startswith("sep=")):
                continue
            if not where:
                where = _columns(cells, f"{path}, line {line}")
                continue
            row = _row(cells, where, scale, line, f"{path}, line {line}")
            if row.number in seen:
                raise UserError(f"{path}, line {line}: number {row.number} occurs twice; remove one of the rows")
            seen.add(row.number)
            yield row
    except csv.Error as error:
        raise UserError(f"{path}, line {start}: not CSV ({error}); save the sheet as CSV again") from error
    if not where:
        raise UserError(f"{path}: the file is empty; give a file that `clip-italian rate sample` wrote")


def _row(cells: list[str], where: dict[str, int], scale: Collection[int], line: int, place: str) -> Row:
    cells = cells + [""] * (max(where.values()) + 1 - len(cells))
    number = _whole(cells[where["number"]])
    if number is None:
        raise UserError(f"{place}: {cells[where['number']]!r} is no row number; restore the column “number”")
    written = cells[where["rating"]].strip()
    rating = _whole(written)
    if written and rating not in scale:
        raise UserError(f"{place}: rating {written!r}; write a number from {min(scale)} to {max(scale)}, or nothing")
    texts = tuple(cells[where[name]] if name in where else "" for name in ("id", "original", "translation"))
    return Row(line, number, texts, rating)


def _columns(header: list[str], place: str) -> dict[str, int]:
    names = [cell.strip().casefold() for cell in header]
    where = {name: names.index(name) for name in COLUMNS if name in names}
    missing = set(COLUMNS) - set(where)
    if missing:
        raise UserError(f"{place}: lacks the columns {', '.join(sorted(missing))}; give a file of `rate sample`")
    return where


def _whole(cell: str) -> int | None:
    """A whole number, also as "3.0" or "3,0"; None for anything else."""
    found = _WHOLE.fullmatch(cell.strip().lstrip("'"))
    return int(found[1]) if found else None


def _decode(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the files that `clip-italian rate sample` wrote")
    raw = path.read_bytes()
    if raw.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UserError(f"{path}: a workbook or document; save the sheet as CSV in your spreadsheet program")
    encoding = "utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def _delimiter(text: str) -> str:
    """The delimiter that splits the header into most columns."""
    header = next((line for line in text.splitlines() if "number" in line.casefold()), "")
    return max(DELIMITERS.values(), key=header.count)


def _plain(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isascii() and letter.isalnum())
