"""Coordinates as files write them, and distances against another formula."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL.TiffImagePlugin import IFDRational

from clip_italian.pictures.coordinates import Point, degrees, distances, point

LATITUDES = st.floats(-90, 90)
LONGITUDES = st.floats(-180, 180)


@pytest.mark.parametrize(
    ("value", "reference", "expected"),
    [
        (45.5, None, 45.5), (-45.5, None, -45.5), (45.5, "S", -45.5), ("45.5", b"S\0", -45.5), ("-9.25", None, -9.25),
        ((45, 30, 36), "N", 45.51), ((IFDRational(45), IFDRational(3060, 100), IFDRational(0)), "W", -45.51),
        ((45.51,), "E", 45.51), ([9, 15], "South", -9.25),
        ("45,30.6N", None, 45.51), ("9,15,36W", None, -9.26), ("45 deg 30' 36.00\" N", None, 45.51),
        ("9 deg 15' 36.00\" W", None, -9.26), ("45 deg 30' 36\"", "South", -45.51), ("45.5 south", None, -45.5),
        (None, "N", None), ("", None, None), ("north", None, None), ((), "N", None), ((1, 2, 3, 4), "N", None),
        (float("nan"), None, None), ("1 2 3 4", None, None), ({"a": 1}, None, None), (IFDRational(1, 0), "N", None),
    ],
)  # fmt: skip
def test_degrees_as_files_write_them(value, reference, expected):
    found = degrees(value, reference)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [(45, 9, Point(45, 9)), (0, 9, Point(0, 9)), (0, 0, None), (None, 9, None), (91, 9, None), (45, -181, None)],
)
def test_impossible_places_are_none(latitude, longitude, expected):
    assert point(latitude, longitude) == expected


def test_a_known_distance():
    milan, rome = Point(45.4642, 9.19), (41.9028, 12.4964)
    (km,) = distances(milan, np.array([rome[0]]), np.array([rome[1]]))
    assert km == pytest.approx(477, abs=1)


@given(LATITUDES, LONGITUDES, LATITUDES, LONGITUDES)
def test_distances_are_those_of_the_angle_between_two_vectors(lat, lon, other_lat, other_lon):
    def vector(latitude, longitude):
        phi, theta = math.radians(latitude), math.radians(longitude)
        return np.array([math.cos(phi) * math.cos(theta), math.cos(phi) * math.sin(theta), math.sin(phi)])

    a, b = vector(lat, lon), vector(other_lat, other_lon)
    angle = math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b))
    (km,) = distances(Point(lat, lon), np.array([other_lat]), np.array([other_lon]))
    assert km == pytest.approx(6371.0088 * angle, abs=0.5, rel=1e-5)


def test_no_coordinates_give_no_distance():
    assert np.isnan(distances(Point(1, 1), np.array([np.nan]), np.array([2.0]))).all()
