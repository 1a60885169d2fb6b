"""Lines and rows of text files as they are found: gzipped or not, in UTF-8 or not, damaged or not.

Everything streams. A line that is not UTF-8 is read as Windows-1252 by itself (Latin-1 where that
has no letter for a byte): files put together from several sources hold both. A line with a NUL byte
or of more than a megabyte becomes a reject. So does the place where a gzip file is damaged: what
stood before it is kept.
"""

import gzip
import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

from clip_italian.errors import UserError
from clip_italian.pipeline.rejects import Reject

MAX_LINE = 1 << 20  # bytes; the longest rows of WIT, with a whole section of an article, have some 10,000
# How far a quoted field may run before its opening quote is taken for a stray one.
REACH_LINES = 200
REACH_CHARACTERS = 200_000

_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error)


class Line(NamedTuple):
    """A line without its end; `number` counts from 1."""

    number: int
    text: str


class Row(NamedTuple):
    """The fields of a row; `number` is that of its first line."""

    number: int
    fields: list[str]


def decode(raw: bytes) -> str:
    """Bytes as UTF-8, else Windows-1252, else Latin-1; UTF-16 where a byte order mark says so. The mark is left out."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def flaw(text: str) -> str | None:
    """Why a text cannot be stored ("nul-byte", "broken-text": half a character), or None."""
    if "\0" in text:
        return "nul-byte"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "broken-text"
    return None


def one_line(text: str) -> str:
    """A caption with single spaces for all its white space."""
    return " ".join(text.split())


def key_id(source: str, key: str) -> str:
    """A short stable id from an URL or path: equal for equal keys."""
    return f"{source}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def place(path: Path, number: int) -> str:
    """How rejects name where they stood."""
    return f"{path.name}, line {number}"


def read_all(path: Path) -> str:
    """A whole file as text; raises UserError where its compression is damaged."""
    with _open(path) as file:
        try:
            return decode(file.read())
        except _DAMAGE as error:
            raise UserError(f"{path}: damaged gzip file ({error}); download it again") from error


def lines(path: Path) -> Iterator[Line | Reject]:
    """Lines of a file, compressed or not; raises UserError for a folder or UTF-16."""
    number = 0
    with _open(path) as file:
        try:
            while raw := file.readline(MAX_LINE):
                number += 1
                if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
                    _skip_line(file)
                    yield Reject("", "line-too-long", detail=f"{place(path, number)}: over {MAX_LINE} bytes")
                elif b"\0" in raw:
                    yield Reject("", "nul-byte", detail=place(path, number))
                else:
                    yield Line(number, decode(raw).rstrip("\r\n"))
        except _DAMAGE as error:
            detail = f"{path.name}, after line {number}: {error}; download the file again"
            yield Reject("", "damaged-gzip", detail=detail)


def rows(
    source: Iterator[Line | Reject], delimiter: str, starts: Callable[[str], bool] | None = None
) -> Iterator[Row | Reject]:
    """Rows with csv-style quoting, which the first row gives the number of columns.

    A field is quoted where its first character is a quote; inside, a quote is written twice, and
    delimiters and line ends are text. An opening quote is taken for a letter where its field does
    not end well: another text follows the closing quote, the row gets another number of columns, the field
    runs over more than `REACH_LINES`, or over a line that `starts` knows to be the first of a row.
    So a stray quote costs no other row. Rows of another number of columns come as they are.
    """
    ahead = _Ahead(source)
    columns = 0
    while (item := ahead.take()) is not None:
        if isinstance(item, Reject):
            yield item
        elif item.text:
            fields = _fields(item.text, ahead, delimiter, columns, starts)
            columns = columns or len(fields)
            yield Row(item.number, fields)


class _Ahead:
    """Lines that can be looked at before they are taken."""

    def __init__(self, source: Iterator[Line | Reject]) -> None:
        self._source = source
        self._seen: deque[Line | Reject] = deque()

    def take(self) -> Line | Reject | None:
        return self._seen.popleft() if self._seen else next(self._source, None)

    def text(self, distance: int) -> str | None:
        """The line `distance` lines after the next one; None where there is none or it was rejected."""
        while len(self._seen) <= distance:
            item = next(self._source, None)
            if item is None:
                return None
            self._seen.append(item)
        item = self._seen[distance]
        return None if isinstance(item, Reject) else item.text


def _fields(text: str, ahead: _Ahead, delimiter: str, columns: int, starts: Callable[[str], bool] | None) -> list[str]:
    if '"' not in text:
        return text.split(delimiter)
    letters: set[int] = set()
    while True:
        fields, used, crossing = _attempt(text, ahead, delimiter, letters, starts)
        if len(fields) == columns or not columns or not crossing:
            break
        letters.add(crossing[-1])
    bare = text.split(delimiter)
    if columns and len(fields) != columns == len(bare):
        return bare
    for _ in range(used):
        ahead.take()
    return fields


def _attempt(
    text: str, ahead: _Ahead, delimiter: str, letters: set[int], starts: Callable[[str], bool] | None
) -> tuple[list[str], int, list[int]]:
    """Fields, how many further lines they took, and where fields over several lines open.

    `letters` are the places of quotes that open nothing.
    """
    fields: list[str] = []
    used, at = 0, 0
    crossing: list[int] = []
    while True:
        if text.startswith('"', at) and at not in letters:
            longer, more, end = _close(text, at + 1, ahead, used, delimiter, starts)
            if end is not None:
                if more > used:
                    crossing.append(at)
                fields.append(longer[at + 1 : end].replace('""', '"'))
                text, used, at = longer, more, end + 1
                if at == len(text):
                    return fields, used, crossing
                at += 1
                continue
        end = text.find(delimiter, at)
        if end < 0:
            return [*fields, text[at:]], used, crossing
        fields.append(text[at:end])
        at = end + 1


def _close(
    text: str, start: int, ahead: _Ahead, used: int, delimiter: str, starts: Callable[[str], bool] | None
) -> tuple[str, int, int | None]:
    """The text with the lines that a quoted field goes on over, how many of them, and where it closes if it does."""
    at = start
    while True:
        quote = text.find('"', at)
        if quote < 0:
            line = ahead.text(used) if used + 1 < REACH_LINES and len(text) < REACH_CHARACTERS else None
            if line is None or (starts is not None and starts(line)):
                return text, used, None
            at = len(text)
            text, used = f"{text}\n{line}", used + 1
        elif text.startswith('"', quote + 1):
            at = quote + 2
        elif quote + 1 == len(text) or text.startswith(delimiter, quote + 1):
            return text, used, quote
        else:
            return text, used, None


def _skip_line(file: IO[bytes]) -> None:
    while (raw := file.readline(MAX_LINE)) and not raw.endswith(b"\n"):
        pass


def _open(path: Path) -> IO[bytes]:
    if path.is_dir():
        raise UserError(f"{path}: a folder; give the files in it")
    with path.open("rb") as file:
        start = file.read(2)
    if start in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{path}: text in UTF-16; save it as UTF-8")
    return cast(IO[bytes], gzip.open(path)) if start == b"\x1f\x8b" else path.open("rb")
