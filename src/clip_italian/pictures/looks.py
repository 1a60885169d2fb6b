"""Finds all pairs of similar packed picture hashes in memory, exactly: what `near` does on disk, without DuckDB.

Outlines that differ in at most d of 64 bits are equal in at least one of d + 1 bands of bits. Pictures are sorted by
each band and by the first colour, so that similar ones lie side by side. Memory is bounded: 22 bytes a picture and
some arrays of `_PAIRS` pairs.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from clip_italian.pictures.phash import COLOUR_TOLERANCE, DISTANCE

_PAIRS = 1 << 19  # compared at a time
_BITS = 64


def near_looks(looks: np.ndarray, distance: int = DISTANCE) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pairs of rows (first < second) of looks (n, 14) uint8 (`phash.packed`) that are `phash.alike`.

    They come as two arrays (m,) at a time. A pair may come several times. Pictures without an outline match nothing.
    """
    outlines = np.ascontiguousarray(looks[:, :8]).view(">u8")[:, 0].astype(np.uint64)
    shaped = np.flatnonzero(outlines)
    outlines, colours = outlines[shaped], looks[shaped, 8:]
    edges = [_BITS * number // (distance + 1) for number in range(distance + 2)]
    for low, high in pairwise(edges):
        mask = np.uint64((1 << high) - (1 << low))
        _, band = np.unique(outlines & mask, return_inverse=True)
        keys = band.astype(np.int64) * 512 + colours[:, 0]  # neighbouring bands are farther apart than colours
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        for left, right in neighbours(np.searchsorted(keys, keys + COLOUR_TOLERANCE, "right"), _PAIRS):
            a, b = order[left], order[right]
            near = np.bitwise_count(outlines[a] ^ outlines[b]) <= distance
            a, b = a[near], b[near]
            near = (np.abs(colours[a].astype(np.int16) - colours[b]) <= COLOUR_TOLERANCE).all(axis=1)
            a, b = shaped[a[near]], shaped[b[near]]
            yield np.minimum(a, b), np.maximum(a, b)


def neighbours(ends: np.ndarray, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all pairs i < j < ends[i], in arrays of about `most` pairs: at least those of one i."""
    counts = np.maximum(ends - np.arange(len(ends)) - 1, 0)
    before = np.concatenate([[0], np.cumsum(counts)])
    start = 0
    while start < len(ends):
        stop = max(start + 1, int(np.searchsorted(before, before[start] + most, "right")) - 1)
        some = counts[start:stop]
        left = np.repeat(np.arange(start, stop), some)
        right = left + 1 + np.arange(len(left)) - np.repeat(before[start:stop] - before[start], some)
        yield left, right
        start = stop
