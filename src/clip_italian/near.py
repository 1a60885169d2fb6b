"""All pairs of like pictures among millions, exactly, without comparing all with all.

Outlines that differ in at most d of 64 bits agree in at least one of d + 1 bands of bits: only pictures
that share a band, and whose colours are near, are compared. About 40 bytes a picture; the time grows
with the distance: bands get shorter, and more pictures share one.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from clip_italian.identity import COLOUR_TOLERANCE, FLAT, parts

BITS = 64
_CHUNK = 100_000


def near_pairs(hashes: Sequence[str], distance: int) -> Iterator[tuple[int, int]]:
    """Positions (first < second) of every two hashes that are `identity.alike` within `distance`, each once.

    Raises ValueError for a text that is no picture hash.
    """
    outlines, colours = packed(hashes)
    yield from near_rows(outlines, colours, distance)


def packed(hashes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Outlines (n,) uint64 and colours (n, 6) uint8."""
    outlines = np.empty(len(hashes), np.uint64)
    colours = np.empty((len(hashes), 6), np.uint8)
    for start in range(0, len(hashes), _CHUNK):
        rows = slice(start, start + _CHUNK)
        read = [parts(text) for text in hashes[rows]]
        outlines[rows] = [outline for outline, _ in read]
        colours[rows] = np.frombuffer(b"".join(colour for _, colour in read), np.uint8).reshape(-1, 6)
    return outlines, colours


def near_rows(outlines: np.ndarray, colours: np.ndarray, distance: int) -> Iterator[tuple[int, int]]:
    """The same for packed hashes."""
    shaped = np.flatnonzero(outlines != int(FLAT, 16))
    masks = _bands(distance + 1)
    for number, mask in enumerate(masks):
        order = shaped[np.lexsort((colours[shaped, 0], outlines[shaped] & mask))]
        for first, second in _neighbours(outlines[order] & mask, colours[order, 0]):
            found = _alike(outlines, colours, order[first], order[second], masks[:number], distance)
            yield from found


def _bands(count: int) -> list[np.uint64]:
    """Masks of `count` bands that together cover all bits, as equal as can be."""
    edges = [BITS * i // count for i in range(count + 1)]
    return [np.uint64((1 << high) - (1 << low)) for low, high in pairwise(edges)]


def _neighbours(bands: np.ndarray, colour: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows, sorted by band and then by colour, that share the band and are near in that colour.

    Yields the rows that have a like one 1, 2, 3 … places on, and these.
    """
    rows = np.arange(len(bands))
    step = 1
    while len(rows):
        rows = rows[rows + step < len(bands)]
        later = rows + step
        # Colours ascend within a band, so that a row without a neighbour here has none farther on.
        near = (bands[rows] == bands[later]) & (colour[later] - colour[rows] <= COLOUR_TOLERANCE)
        rows = rows[near]
        if len(rows):
            yield rows, rows + step
        step += 1


def _alike(
    outlines: np.ndarray, colours: np.ndarray, a: np.ndarray, b: np.ndarray, seen: list[np.uint64], distance: int
) -> Iterator[tuple[int, int]]:
    """Those of the candidates that are alike and share none of the bands `seen` before."""
    for start in range(0, len(a), _CHUNK):
        one, two = a[start : start + _CHUNK], b[start : start + _CHUNK]
        difference = outlines[one] ^ outlines[two]
        good = np.bitwise_count(difference) <= distance
        for mask in seen:
            good &= (difference & mask) != 0
        one, two = one[good], two[good]
        far = np.abs(colours[one].astype(np.int16) - colours[two]).max(axis=1, initial=0)
        one, two = one[far <= COLOUR_TOLERANCE], two[far <= COLOUR_TOLERANCE]
        yield from zip(np.minimum(one, two).tolist(), np.maximum(one, two).tolist(), strict=True)
