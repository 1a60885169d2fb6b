"""Copies of a picture that a hash misses: brighter, of more contrast, mirrored, cropped, grey, with a line of text.

Features of an encoder, which is handed in, propose pairs by their nearest neighbours; so do outlines. A second look
confirms a pair: it aligns the two pictures, mirrored too, and compares what overlaps. How many copies it finds, and
how few different pictures it takes for one, is in docs/data.md.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from PIL import Image
from usearch.index import Index as Graph
from usearch.index import search as exact_search

from clip_italian.pictures.decoding import PictureError, ahead, open_picture

# Cosine from which on two pictures are looked at again. Copies lie at 0.848 or more, most different photos below 0.7.
FLOOR = 0.78
# Neighbours of a picture that are looked at.
NEIGHBOURS = 8

# Bits of 64 in which outlines may differ that propose a pair whatever its colours: a grey copy.
OUTLINE_DISTANCE = 2
# What a model keeps of a picture's features, and in how many of the 320 bits two of one picture differ at most.
SIGNATURE_BYTES = 40
SIGNATURE_DISTANCE = 48

_EXACT = 2_000  # so many pictures are compared one by one
_CONNECTIVITY, _EXPANSION = 16, 128
_BLOCK = 2_048
_BATCH = 8
_THREADS = 2

# The second look: pixels of the pictures it aligns, squeezed to squares; first coarse, then fine.
_COARSE, _FINE, _STORED = 16, 48, 64
# Shares of a side that may be cut off, at its start and its end.
_CUTS = (0.0, 0.05, 0.1, 0.15, 0.2)
_STEPS = (0.02, 0.02, 0.01, 0.01, 0.005)
_TILES = 6
# Correlation of the aligned pictures, least.
_ALIKE = 0.93
_NEARLY = 0.8  # the same before the alignment is refined
_TRUSTED = 0.85  # of the pixels, those that agree best, decide on correlation, gain and bias
# A tile fits where what is left over is less than this share of its contrast, or than these grey values of 255.
_SHARE, _SLIGHT = 0.5, 7.0
_LEVEL = 25.0  # grey values by which a tile may be brighter or darker than the gain says
_MISFITS = 5  # tiles at the edge that may differ: a line of text, a logo
_DETAILED = 9  # tiles with contrast that a picture needs
_CONTRAST = 8.0
_GAINS = (0.6, 1.7)
_GREY = 6.0  # mean chroma of 128 below which a picture is grey
_CHROMA = 14.0  # difference of chroma that nearly all fields may have at most
_FIELDS = 0.97


Source = TypeVar("Source")


class Encoder(Protocol):
    """A source of features. `name` says which, so that features of two encoders are never compared."""

    @property
    def name(self) -> str:
        """Identifier of the encoder."""
        ...

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        ...

    @property
    def at_least(self) -> int | None:
        """Short side from which on a larger JPEG may be decoded smaller; None: not at all."""
        ...

    def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Features (n, dim) float32, of unit length, of RGB pictures."""
        ...


@dataclass(frozen=True)
class Look:
    """A picture reduced for `same`: grey (64, 64) and its chroma (2, 64, 64), float32 from 0 to 255 and ±128."""

    grey: np.ndarray
    chroma: np.ndarray

    @classmethod
    def of(cls, image: Image.Image) -> "Look":
        """Reduce an RGB picture."""
        small = image.convert("RGB").resize((_STORED, _STORED), Image.Resampling.BOX)
        planes = np.asarray(small.convert("YCbCr"), np.float32).transpose(2, 0, 1)
        return cls(_softened(planes[0]), planes[1:] - 128)

    def mirrored(self) -> "Look":
        """The same picture, left and right exchanged."""
        return Look(self.grey[:, ::-1], self.chroma[:, :, ::-1])


def same(one: Look, other: Look) -> bool:
    """Whether two pictures are one: some part of each, four fifths of a side or more, shows the same.

    Either may be mirrored, brighter, of more contrast, or grey. Pictures with little detail never are.
    """
    if min(one.grey.std(), other.grey.std()) < _CONTRAST:
        return False
    right = _windows(other.grey)
    for left in (one, one.mirrored()):
        for window, opposite in _aligned(left.grey, right):
            refined = _refined(left.grey, window, _cut(other.grey, opposite, _FINE))
            if _fits(left, refined, other, opposite):
                return True
    return False


def _softened(grey: np.ndarray) -> np.ndarray:
    """Without what a shift by half a pixel changes."""
    for axis in (0, 1):
        wide = np.concatenate([grey.take([0], axis), grey, grey.take([-1], axis)], axis)
        ends = wide.take(range(_STORED), axis), wide.take(range(2, _STORED + 2), axis)
        grey = (ends[0] + 2 * grey + ends[1]) / 4
    return grey


Window = tuple[float, float, float, float]  # left, right, top, bottom as shares of the sides

_SPANS = tuple((start, 1 - end) for start, end in product(_CUTS, _CUTS))
_WINDOWS: tuple[Window, ...] = tuple((*x, *y) for y, x in product(_SPANS, _SPANS))


@lru_cache(maxsize=4096)
def _sampling(start: float, end: float, count: int) -> np.ndarray:
    """(count, 64): the means of `count` equal fields of a span of a side; what lies beyond repeats the edge."""
    edges = np.linspace(start, end, count + 1) * _STORED
    # Cumulative coverage of the pixels; a field's weights are its two ends' difference.
    covered = np.clip(edges[:, None] - np.arange(_STORED), 0, 1)
    covered[:, 0] = np.minimum(edges, 1)
    covered[:, -1] = np.maximum(edges - (_STORED - 1), 0)
    weights: np.ndarray = np.diff(covered, axis=0) / np.maximum(np.diff(edges)[:, None], 1e-6)
    return weights.astype(np.float32)


def _cut(plane: np.ndarray, window: Window, count: int) -> np.ndarray:
    left, right, top, bottom = window
    result: np.ndarray = _sampling(top, bottom, count) @ plane @ _sampling(left, right, count).T
    return result


def _units(rows: np.ndarray) -> np.ndarray:
    """(n, pixels) of mean 0 and length 1."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    result: np.ndarray = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-3)
    return result


_WHOLE = _WINDOWS.index((0.0, 1.0, 0.0, 1.0))
_COARSE_SPANS = np.stack([_sampling(start, end, _COARSE) for start, end in _SPANS])
# A side cut at the same end of both pictures leaves less to compare, and says nothing new.
_STARTS = np.array([(left > 0, right < 1, top > 0, bottom < 1) for left, right, top, bottom in _WINDOWS])
_ALLOWED = ~(_STARTS[:, None] & _STARTS[None]).any(axis=2)


def _windows(grey: np.ndarray) -> np.ndarray:
    """(625, 256): every window of a picture, coarse, as units."""
    columns = np.einsum("yx,scx->ysc", grey, _COARSE_SPANS, optimize=True)
    cells = np.tensordot(_COARSE_SPANS, columns, axes=(2, 0))  # (rows' span, row, columns' span, column)
    return _units(cells.transpose(0, 2, 1, 3).reshape(len(_WINDOWS), -1))


def _aligned(grey: np.ndarray, right: np.ndarray) -> Iterator[tuple[Window, Window]]:
    """The windows of both pictures that agree best, then the whole pictures; none where they agree badly."""
    likeness = np.where(_ALLOWED, _windows(grey) @ right.T, -1)
    best = int(np.argmax(likeness))
    for place in dict.fromkeys((best, _WHOLE * len(_WINDOWS) + _WHOLE)):
        row, column = divmod(place, len(_WINDOWS))
        if likeness[row, column] > _NEARLY:
            yield _WINDOWS[row], _WINDOWS[column]


def _refined(grey: np.ndarray, window: Window, goal: np.ndarray) -> Window:
    """The window near `window` that is most like `goal` (48, 48)."""
    wanted = _units(goal.reshape(1, -1))[0]
    for step in _STEPS:
        moves = (-step, 0.0, step)
        spans = [[(window[a] + s, window[a + 1] + e) for s, e in product(moves, moves)] for a in (0, 2)]
        across, down = (np.stack([_sampling(round(s, 4), round(e, 4), _FINE) for s, e in some]) for some in spans)
        columns = np.tensordot(grey, across, axes=(1, 2))  # (y, columns' span, column)
        cells = np.tensordot(down, columns, axes=(2, 0)).transpose(0, 2, 1, 3).reshape(81, -1)
        y, x = divmod(int(np.argmax(_units(cells) @ wanted)), 9)
        window = (*spans[0][x], *spans[1][y])
    return window


def _fits(one: Look, window: Window, other: Look, opposite: Window) -> bool:
    """Whether aligned pictures agree everywhere but at some of the edge, in detail and in colour."""
    a, b = _cut(one.grey, window, _FINE), _cut(other.grey, opposite, _FINE)
    gain, bias, _ = _fitted(a, b)
    far = np.abs(b - gain * a - bias)
    kept = far <= np.quantile(far, _TRUSTED)
    gain, bias, alike = _fitted(a[kept], b[kept])
    if alike < _ALIKE or not _GAINS[0] <= gain <= _GAINS[1]:
        return False
    rest = _tiles(b - gain * a - bias)
    contrast = np.maximum(_tiles(gain * a).std(axis=2), _tiles(b).std(axis=2))
    good = rest.std(axis=2) <= np.maximum(_SLIGHT, _SHARE * contrast)
    good &= np.abs(rest.mean(axis=2)) <= _LEVEL
    detailed = contrast > _CONTRAST
    if not good[1:-1, 1:-1].all() or (~good).sum() > _MISFITS or (detailed & good).sum() < _DETAILED:
        return False
    return _same_colours(one, window, other, opposite, gain, bias)


def _fitted(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Gain and bias that make grey values `a` those of `b`, and their correlation."""
    one, other = a.mean(), b.mean()
    deviations = max(float(a.std()), 1e-3), max(float(b.std()), 1e-3)
    gain = deviations[1] / deviations[0]
    alike = float(((a - one) * (b - other)).mean()) / (deviations[0] * deviations[1])
    return gain, float(other - gain * one), alike


def _same_colours(one: Look, window: Window, other: Look, opposite: Window, gain: float, bias: float) -> bool:
    colours = [
        np.stack([_cut(plane, place, 2 * _TILES) for plane in look.chroma])
        for look, place in ((one, window), (other, opposite))
    ]
    a, b = colours
    grey = [np.abs(some).mean() < _GREY and np.abs(some).max() < 4 * _GREY for some in colours]
    if grey[0] != grey[1] and min(np.abs(some).max() for some in colours) < 2:
        return bool(0.9 <= gain <= 1.11 and abs(bias) < 12)  # a grey copy is as bright as the picture
    far = np.linalg.norm(b - gain * a, axis=0)
    near = np.linalg.norm(b - a, axis=0)
    return bool(min(np.quantile(far, _FIELDS), np.quantile(near, _FIELDS)) <= _CHROMA)


def _tiles(plane: np.ndarray) -> np.ndarray:
    """(48, 48) as (6, 6, 64)."""
    side = _FINE // _TILES
    return plane.reshape(_TILES, side, _TILES, side).transpose(0, 2, 1, 3).reshape(_TILES, _TILES, -1)


def _opened(path: Any, at_least: int | None) -> Image.Image:
    return open_picture(path, at_least=at_least)


def features_of(
    pictures: Sequence[Source], encoder: Encoder, progress: Callable[[int], None] = lambda _: None,
    opened: Callable[[Source, int | None], Image.Image] = _opened,
) -> np.ndarray:  # fmt: skip
    """Features (n, dim) float32 of pictures in order; zeros, like none, for one that cannot be read.

    `opened` reads one of them, with `at_least` as in `open_picture`: paths unless told.
    """
    found = np.zeros((len(pictures), encoder.dim), np.float32)
    at = 0
    for batch in ahead(pictures, _BATCH, lambda one: opened(one, encoder.at_least)):
        good = [(at + n, picture) for n, (_, picture) in enumerate(batch) if not isinstance(picture, PictureError)]
        if good:
            found[[row for row, _ in good]] = encoder.encode([picture for _, picture in good])
        at += len(batch)
        progress(len(batch))
    return found


def propose(features: np.ndarray, floor: float = FLOOR, neighbours: int = NEIGHBOURS) -> list[tuple[int, int]]:
    """Positions (first < second) of pictures whose features (n, dim) are near each other, each pair once, sorted.

    Nearest neighbours only: exactly among up to 2,000 pictures, by a graph beyond, in memory (2.8 GB a million of
    1,280 numbers). One thread builds the graph, so that equal input gives equal pairs.
    """
    count = len(features)
    wanted = min(count, neighbours + 1)
    if count < 2:
        return []
    graph = None
    if count > _EXACT:
        graph = Graph(ndim=features.shape[1], metric="cos", dtype="bf16", connectivity=_CONNECTIVITY,
                      expansion_add=_EXPANSION, expansion_search=_EXPANSION)  # fmt: skip
        for start in range(0, count, _BLOCK):
            some = np.asarray(features[start : start + _BLOCK], np.float32)
            graph.add(np.arange(start, start + len(some)), some, threads=1)
    whole = np.asarray(features, np.float32) if graph is None else features
    found: set[tuple[int, int]] = set()
    for start in range(0, count, _BLOCK):
        queries = np.asarray(features[start : start + _BLOCK], np.float32)
        hits = (
            exact_search(whole, queries, wanted, "cos", exact=True)
            if graph is None
            else graph.search(queries, wanted, threads=1)
        )
        keys = np.atleast_2d(hits.keys).astype(np.int64)
        near = np.atleast_2d(hits.distances) <= 1 - floor
        for row, column in zip(*np.nonzero(near), strict=True):
            query, key = start + int(row), int(keys[row, column])
            if key != query:
                found.add((min(query, key), max(query, key)))
    return sorted(found)


def signatures(features: np.ndarray) -> np.ndarray:
    """(n, 40) uint8 of features (n, dim): the signs of 320 projections, always the same; zeros stay zeros."""
    raw = hashlib.shake_256(b"clip-italian copies").digest(SIGNATURE_BYTES * features.shape[1])
    signs = np.unpackbits(np.frombuffer(raw, np.uint8)).astype(np.float32).reshape(features.shape[1], -1) * 2 - 1
    found = np.packbits(features.astype(np.float32) @ signs > 0, axis=1)
    return np.where(features.any(axis=1, keepdims=True), found, 0).astype(np.uint8)


def signed_alike(one: np.ndarray, others: np.ndarray) -> bool:
    """Whether a signature (40,) is near one of others (m, 40). Rougher than `same`, which needs both pictures."""
    if not one.any() or not len(others):
        return False
    words = np.ascontiguousarray(others).view(np.uint64) ^ np.ascontiguousarray(one).view(np.uint64)
    far = np.bitwise_count(words).sum(axis=1, dtype=np.int64)
    return bool(((far <= SIGNATURE_DISTANCE) & others.any(axis=1)).any())


def confirmed(pairs: Iterable[tuple[int, int]], path: Callable[[int], Path]) -> list[tuple[int, int]]:
    """Those of the pairs that `same` takes for one; pictures are read again, and unreadable ones are like none."""

    @lru_cache(maxsize=1024)
    def look(number: int) -> Look | None:
        try:
            return Look.of(open_picture(path(number), at_least=4 * _STORED))
        except PictureError:
            return None

    def judge(pair: tuple[int, int]) -> bool:
        one, other = look(pair[0]), look(pair[1])
        return one is not None and other is not None and same(one, other)

    some = list(pairs)
    with ThreadPoolExecutor(_THREADS) as pool:
        return [pair for pair, one in zip(some, pool.map(judge, some), strict=True) if one]
