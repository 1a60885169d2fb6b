"""Filters for the rows of a search: by folder, source, date, place, camera, keyword, or any other text field."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from math import cos, radians
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from clip_italian.errors import UsageError
from clip_italian.files.names import followed, normal
from clip_italian.pictures import dates
from clip_italian.pictures.coordinates import EARTH_KM, Point, distances, point
from clip_italian.search import places
from clip_italian.search.schema import ROWS

TEXT_FIELDS = tuple(field.name for field in ROWS if pa.types.is_string(field.type))
WITHIN = "20km"  # default radius
_PAIR = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*[,; ]\s*(-?\d+(?:\.\d+)?)\s*")
_RADIUS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(km|m)?\s*", re.IGNORECASE)


class Near(NamedTuple):
    """A circle on the Earth: centre and radius."""

    centre: Point
    km: float

    def mask(self, latitudes: np.ndarray, longitudes: np.ndarray) -> np.ndarray:
        """True (n,) for the places inside; False where coordinates are NaN."""
        return np.asarray(distances(self.centre, latitudes, longitudes) <= self.km)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Least and greatest latitude and longitude of a box around it; all longitudes where it spans the date line."""
        high = self.km / radians(1) / EARTH_KM * (1 + 1e-9)
        low, top = max(self.centre.latitude - high, -90), min(self.centre.latitude + high, 90)
        wide = high / max(cos(radians(max(-low, top))), 1e-9)
        left, right = self.centre.longitude - wide, self.centre.longitude + wide
        return (low, top, left, right) if left >= -180 and right <= 180 else (low, top, -180, 180)


@dataclass(frozen=True)
class Filter:
    """Conditions that a row must all meet. `folder`: lies below it, relative to an indexed folder or absolute.

    `since` and `until` are inclusive, in local time: a whole day, or a datetime (without a zone) to the millisecond.
    `equal` are names and values of text fields: id, path, source, license, page, caption, title, description, location,
    camera. `camera` is part of the camera's name; the row has each of `keywords`, and coordinates `near` a place. Texts
    are compared in Unicode form NFC, cameras and keywords without regard to case. Raises UsageError for other fields.
    """

    folder: str | None = None
    source: str | None = None
    since: date | None = None
    until: date | None = None
    equal: tuple[tuple[str, str], ...] = ()
    camera: str | None = None
    keywords: tuple[str, ...] = ()
    near: Near | None = None

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
        wanted += ["camera"] if self.camera is not None else []
        wanted += ["keywords"] if self.keywords else []
        wanted += ["latitude", "longitude"] if self.near is not None else []
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
        if self.camera is not None:
            cameras = _normal(table["camera"], self.camera)
            good &= _true(pc.match_substring(cameras, normal(self.camera), ignore_case=True))
        for word in self.keywords:
            good &= _has_keyword(table["keywords"], word)
        if self.near is not None:
            good &= self.near.mask(table["latitude"].to_numpy(), table["longitude"].to_numpy())
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
        raise UsageError(f"{option} {text}: no date; give one like 2024-06-01, 2024-06, 06/2024 or 2024-06-01 18:30")
    return found


def near(option: str, text: str, within: str = WITHIN) -> Near:
    """A circle around LAT,LON in degrees or a town, given as `option`.

    `within` is its radius, in km unless it ends in m.

    Raises UsageError for other texts, and UserError for a name without the extra `places`.
    """
    radius = _RADIUS.fullmatch(within)
    if radius is None:
        raise UsageError(f"--within {within}: no distance; give one like 20km or 500m")
    pair = _PAIR.fullmatch(text)
    centre = point(float(pair[1]), float(pair[2])) if pair else places.find(text)
    if centre is None:
        raise UsageError(f"{option} {text}: no such place; give a town, or degrees like 45.46,9.19")
    return Near(centre, float(radius[1]) / (1_000 if (radius[2] or "").lower() == "m" else 1))


def _has_keyword(column: pa.ChunkedArray, word: str) -> np.ndarray:
    """True (n,) where a list of texts has the word, without regard to case."""
    import pyarrow.compute as pc

    lists = column.combine_chunks()
    words = pc.utf8_lower(_normal(pa.chunked_array([pc.list_flatten(lists)]), word))
    found = np.zeros(len(lists), bool)
    found[pc.list_parent_indices(lists).to_numpy()[_true(pc.equal(words, normal(word).lower()))]] = True
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
