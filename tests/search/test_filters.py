"""Filters against plain Python, row by row."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_italian.errors import UsageError
from clip_italian.pictures.coordinates import Point, distances
from clip_italian.search.filters import Filter, Near, near
from clip_italian.search.schema import ROWS

WORDS = ["mare", "Mare", "città", "citta\u0300", "CITTÀ", "Anna", "mare e monti"]
CAMERAS = [None, "NIKON D90", "Nikon d90 II", "Apple iPhone 12", "100% (a_b)"]
PLACES = st.one_of(
    st.none(), st.tuples(st.floats(-90, 90), st.floats(-180, 180)), st.tuples(st.floats(44, 46), st.floats(8, 10))
)
ROW = st.fixed_dictionaries(
    {
        "camera": st.sampled_from(CAMERAS),
        "keywords": st.one_of(st.none(), st.lists(st.sampled_from(WORDS), max_size=4)),
        "where": PLACES,
    }
)
FILTER = st.builds(
    Filter,
    camera=st.sampled_from([None, "d90", "iphone", "NIKON D90", "%", "a_b", "aXb"]),
    keywords=st.lists(st.sampled_from(["MARE", "città", "anna", "are"]), max_size=2).map(tuple),
    near=st.one_of(
        st.none(),
        st.builds(Near, st.builds(Point, st.floats(-90, 90), st.floats(-180, 180)), st.floats(0, 20_000)),
        st.just(Near(Point(45, 9), 50)),
    ),
)


def folded(text):
    return text.replace("a\u0300", "à").casefold()


def passes(row, where):
    if where.camera is not None and (row["camera"] is None or where.camera.casefold() not in row["camera"].casefold()):
        return False
    if not {folded(word) for word in where.keywords} <= {folded(word) for word in row["keywords"] or ()}:
        return False
    if where.near is None:
        return True
    if row["where"] is None:
        return False
    (km,) = distances(where.near.centre, *np.array([row["where"]]).T)
    return km <= where.near.km


@given(st.lists(ROW, max_size=12), FILTER)
def test_filters_pass_the_rows_that_plain_python_passes(rows, where):
    columns = {
        "camera": [row["camera"] for row in rows],
        "keywords": [row["keywords"] for row in rows],
        "latitude": [row["where"][0] if row["where"] else None for row in rows],
        "longitude": [row["where"][1] if row["where"] else None for row in rows],
    }
    table = pa.table([pa.array(columns[name], ROWS.field(name).type) for name in where.columns], names=where.columns)
    expected = [passes(row, where) for row in rows]
    if where.columns:
        assert where.mask(table, []).tolist() == expected
        halves = pa.concat_tables([table.slice(0, len(rows) // 2), table.slice(len(rows) // 2)])
        assert where.mask(halves, []).tolist() == expected
    else:
        assert all(expected)


@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(0.001, 25_000), st.data())
def test_a_box_holds_its_circle(latitude, longitude, km, data):
    low, top, left, right = Near(Point(latitude, longitude), km).box
    there = (data.draw(st.floats(-90, 90)), data.draw(st.floats(-180, 180)))
    if Near(Point(latitude, longitude), km).mask(*np.array([there]).T)[0]:
        assert low <= there[0] <= top and left <= there[1] <= right


@given(st.floats(-89, 89), st.floats(-180, 180), st.floats(0.01, 5_000), st.floats(0, 2 * math.pi))
def test_a_box_holds_the_rim_of_its_circle(latitude, longitude, km, bearing):
    """The point at nearly that distance in one direction, by the formula of navigation."""
    angle, phi = km * 0.999 / 6371.0088, math.radians(latitude)
    sine = math.sin(phi) * math.cos(angle) + math.cos(phi) * math.sin(angle) * math.cos(bearing)
    there = math.degrees(math.asin(max(-1, min(1, sine))))
    turn = math.atan2(math.sin(bearing) * math.sin(angle) * math.cos(phi), math.cos(angle) - math.sin(phi) * sine)
    east = (longitude + math.degrees(turn) + 180) % 360 - 180
    low, top, left, right = Near(Point(latitude, longitude), km).box
    assert low <= there <= top and left <= east <= right


@pytest.mark.parametrize(
    ("text", "within", "expected"),
    [
        ("45.46,9.19", "20km", Near(Point(45.46, 9.19), 20)),
        (" -33.9 , 18.4 ", "500 m", Near(Point(-33.9, 18.4), 0.5)),
        ("45 9", "2.5", Near(Point(45, 9), 2.5)),
    ],
)
def test_places_as_they_are_typed(text, within, expected):
    assert near("--near", text, within) == expected


@pytest.mark.parametrize(
    ("text", "within", "said"),
    [
        ("91,9", "20km", "--near 91,9: no such place"), ("0,0", "20km", "no such place"),
        ("45,9", "far", "--within far: no distance; give one like 20km or 500m"), ("45,9", "-3", "no distance"),
    ],
)  # fmt: skip
def test_what_is_no_place_or_distance_is_refused(text, within, said):
    with pytest.raises(UsageError, match=said):
        near("--near", text, within)
