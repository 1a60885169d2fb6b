"""Coordinates in picture files, sidecars and filters, in degrees; south and west are negative.

    value                               read as
    45.4642, "45.4642 N", "-9.19"       decimal degrees
    (45, 27, 51.1), "45 deg 27' 51.1"   degrees, minutes and seconds, as EXIF and ExifTool write them
    "45,27.852N", "9,11.4W"             degrees and minutes, as XMP writes them

The reference "S" or "W" may also be a value of its own, as in EXIF.
"""

import math
import re
from typing import Any, NamedTuple

import numpy as np

EARTH_KM = 6371.0088  # mean radius
_LONGEST = 64  # characters
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_REFERENCE = re.compile(r"\b(N|S|E|W|north|south|east|west)\s*$|(?<=[\d.'\"″′ ])([NSEW])\s*$", re.IGNORECASE)


class Point(NamedTuple):
    """A place on the Earth in degrees: latitude from -90 to 90, longitude from -180 to 180."""

    latitude: float
    longitude: float


def degrees(value: Any, reference: Any = None) -> float | None:
    """A latitude or longitude in degrees; None if the value has none. `reference` is N, S, E or W, as text or bytes."""
    if isinstance(reference, bytes):
        reference = reference.decode("latin-1")
    letter = reference.strip("\0 ")[:1].upper() if isinstance(reference, str) else ""
    negative = False
    if isinstance(value, str):
        text = value[:_LONGEST].strip("\0 ")
        numbers = [float(number) for number in _NUMBER.findall(text)]
        negative = text.startswith("-")
        if found := _REFERENCE.search(text):
            letter = (found[1] or found[2])[0].upper()
    else:
        try:
            numbers = [float(one) for one in (value if isinstance(value, (tuple, list)) else [value])]
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            return None
        negative = bool(numbers) and numbers[0] < 0
    if not 1 <= len(numbers) <= 3 or not all(map(math.isfinite, numbers)):
        return None
    size = sum(abs(number) / 60**power for power, number in enumerate(numbers))
    return -size if negative or letter in ("S", "W") else size


def point(latitude: float | None, longitude: float | None) -> Point | None:
    """The place at two degrees; None if one is missing or impossible, or both are 0, which programs write for none."""
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None
    return Point(latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def distances(place: Point, latitudes: np.ndarray, longitudes: np.ndarray) -> np.ndarray:
    """Great-circle distances in kilometres (n,) float64 from a place to others, NaN where these have no coordinates."""
    here, there = np.radians(place.latitude), np.radians(np.asarray(latitudes, np.float64))
    across = np.radians(np.asarray(longitudes, np.float64) - place.longitude)
    half = np.sin((there - here) / 2) ** 2 + np.cos(here) * np.cos(there) * np.sin(across / 2) ** 2
    return np.asarray(2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1))))
