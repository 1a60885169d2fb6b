"""Stream lines and rows of real-world text files: gzipped or not, in mixed encodings, possibly damaged.

A line that is not UTF-8 is read as Windows-1252 (Latin-1 for bytes that Windows-1252 does not define), each line by
itself, as files compiled from several sources mix encodings. A line with a NUL byte or of more than a megabyte becomes
a reject. Damage in a gzip file is a reject, too; the lines before it are kept.
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
# A quoted field that runs further has a stray opening quote.
REACH_LINES = 200
REACH_CHARACTERS = 200_000

_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error)


class Line(NamedTuple):
    """A line without its line end; numbers start at 1."""

    number: int
    text: str


class Row(NamedTuple):
    """The fields of a row; `number` is its first line's."""

    number: int
    fields: list[str]


def decode(raw: bytes) -> str:
    """Bytes decoded as UTF-8, else Windows-1252, else Latin-1; as UTF-16 after a byte order mark, which is dropped."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def flaw(text: str) -> str | None:
    """Reason why a text cannot be stored ("nul-byte"; "broken-text": an unpaired surrogate), or None."""
    if "\0" in text:
        return "nul-byte"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "broken-text"
    return None


def one_line(text: str) -> str:
    """The text with all white space collapsed to single spaces."""
    return " ".join(text.split())


def key_id(source: str, key: str) -> str:
    """A short stable id derived from a URL or path."""
    return f"{source}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def place(path: Path, number: int) -> str:
    """Location of a line, for rejects."""
    return f"{path.name}, line {number}"


def read_all(path: Path) -> str:
    """A whole file as text; raises UserError if its compression is damaged."""
    with _open(path) as file:
        try:
            return decode(file.read())
        except _DAMAGE as error:
            raise UserError(f"{path}: damaged gzip file ({error}); download it again") from error


def lines(path: Path) -> Iterator[Line | Reject]:
    """Lines of a file, gzipped or not; raises UserError for a folder or UTF-16."""
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
    """Rows with CSV quoting; the first row sets the number of columns.

    A field is quoted if it begins with a quote; inside, quotes are doubled, and delimiters and line ends are text. An
    opening quote counts as a plain character if the field does not close properly: text follows the closing quote, the
    row gets another number of columns, the field spans more than `REACH_LINES` lines, or it spans a line for which
    `starts` (is this the first line of a row?) is true. So a stray quote damages no other row. Rows with another number
    of columns are given as they are.
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
    """Lines with lookahead."""

    def __init__(self, source: Iterator[Line | Reject]) -> None:
        self._source = source
        self._seen: deque[Line | Reject] = deque()

    def take(self) -> Line | Reject | None:
        return self._seen.popleft() if self._seen else next(self._source, None)

    def text(self, distance: int) -> str | None:
        """The line `distance` lines after the next one; None at the end or if it was rejected."""
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
    """Fields, number of further lines used, and positions where fields that span lines open.

    `letters` are positions of quotes that count as plain characters.
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
    """The text with the further lines that a quoted field spans, their number, and where the field closes or None."""
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
