"""Filters for the rows of a search: by folder, source, date, or any other text field."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import PurePath

import numpy as np
import pyarrow as pa

from clip_italian.errors import UsageError
from clip_italian.files.names import followed, normal
from clip_italian.pictures import dates
from clip_italian.search.schema import ROWS

TEXT_FIELDS = tuple(field.name for field in ROWS if pa.types.is_string(field.type))


@dataclass(frozen=True)
class Filter:
    """Conditions that a row must all meet. `folder`: lies below it, relative to an indexed folder or absolute.

    `since` and `until` are inclusive, in local time: a whole day, or a datetime (without a zone) to the millisecond.
    `equal` are names and values of text fields: id, path, source, license, page, caption. Texts are compared in Unicode
    form NFC. Raises UsageError for other fields.
    """

    folder: str | None = None
    source: str | None = None
    since: date | None = None
    until: date | None = None
    equal: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name, _ in self.equal:
            if name not in TEXT_FIELDS:
                raise UsageError(f"{name}: no field to filter by; there are {', '.join(TEXT_FIELDS)}")

    @property
    def columns(self) -> list[str]:
        """Columns that `mask` needs."""
        wanted = ["root", "path"] if self.folder is not None else []
        wanted += ["source"] if self.source is not None else []
        wanted += ["taken"] if self.since or self.until else []
        return list(dict.fromkeys(wanted + [name for name, _ in self.equal]))

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Text fields and the values they must have."""
        return ([("source", self.source)] if self.source is not None else []) + list(self.equal)

    @property
    def first(self) -> datetime | None:
        """The first moment that passes `since`."""
        return _ends(self.since)[0] if self.since else None

    @property
    def last(self) -> datetime | None:
        """The last moment that passes `until`, to the millisecond."""
        return _ends(self.until)[1] if self.until else None

    def mask(self, table: pa.Table, roots: Sequence[str]) -> np.ndarray:
        """True (n,) for the rows of a table with `columns` that pass."""
        import pyarrow.compute as pc  # takes as long to load as a search

        good = np.ones(len(table), bool)
        for name, value in self.texts:
            good &= _true(pc.equal(_normal(table[name], value), normal(value)))
        if first := self.first:
            good &= _true(pc.greater_equal(table["taken"], _moment(first)))
        if last := self.last:
            good &= _true(pc.less_equal(table["taken"], _moment(last)))
        if self.folder is not None:
            below = np.zeros(len(table), bool)
            for number, start in self.starts(roots):
                paths = _normal(table["path"], start)
                below |= _true(pc.equal(table["root"], number)) & _true(pc.starts_with(paths, start))
            good &= below
        return good

    def starts(self, roots: Sequence[str]) -> list[tuple[int, str]]:
        """Numbers of indexed folders, each with the NFC prefix of paths below `folder`; empty where it is in none."""
        assert self.folder is not None
        if not PurePath(self.folder).is_absolute():
            inside = PurePath(os.path.normpath(normal(self.folder))).as_posix()
            return [(number, "" if inside == "." else f"{inside}/") for number in range(len(roots))]
        typed = _starts(os.path.normpath(normal(self.folder)), roots)
        return typed or [one for folder in followed(self.folder) for one in _starts(folder, roots)]


def _starts(folder: str, roots: Sequence[str]) -> list[tuple[int, str]]:
    """`Filter.starts` for an absolute path in NFC."""
    found = []
    for number, root in enumerate(map(normal, roots)):
        if PurePath(folder).is_relative_to(root):
            inside = PurePath(folder).relative_to(root).as_posix()
            found.append((number, "" if inside == "." else f"{inside}/"))
        elif PurePath(root).is_relative_to(folder):
            found.append((number, ""))
    return found


def _normal(column: pa.ChunkedArray, wanted: str) -> pa.ChunkedArray:
    """A column in NFC, to compare with a text; unchanged where the text is ASCII, which has one form only."""
    import pyarrow.compute as pc

    return column if wanted.isascii() else pc.utf8_normalize(column, "NFC")


def days(option: str, text: str) -> tuple[datetime, datetime]:
    """First and last moment of the year, month, day, minute or second given as `option`.

    Raises UsageError for any other text.
    """
    found = dates.span(text)
    if found is None:
        raise UsageError(f"{option} {text}: no date; give one like 2024-06-01, 2024-06 or 2024-06-01 18:30")
    return found


def _ends(day: date) -> tuple[datetime, datetime]:
    if isinstance(day, datetime):
        return day, day
    return datetime.combine(day, time.min), datetime.combine(day, time(23, 59, 59, 999_000))


def _moment(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment.replace(microsecond=moment.microsecond // 1000 * 1000), pa.timestamp("ms"))


def _true(answers: pa.ChunkedArray) -> np.ndarray:
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(answers, False).to_numpy(), dtype=bool)
