"""Detects edited copies that a perceptual hash misses: brighter, higher contrast, mirrored, cropped, grey, with text.

Candidate pairs are nearest neighbours by the features of an encoder, which the caller passes in, and pairs with similar
outlines. `same` then verifies a pair: it aligns the two pictures, also mirrored, and compares the overlap. Recall and
false positives are listed in docs/data.md.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from clip_italian.pictures.decoding import PictureError, open_picture, prefetch

# Minimum cosine of a candidate pair. Copies have 0.848 or more, most different photos less than 0.7.
FLOOR = 0.78
# Number of neighbours per picture that become candidates.
NEIGHBOURS = 8

# Maximum Hamming distance (of 64 bits) of outlines that make a candidate pair regardless of colour: grey copies.
OUTLINE_DISTANCE = 2
# Size of the signature that a model keeps of a picture's features, and the maximum Hamming distance (of 320 bits) of
# two signatures of one picture.
SIGNATURE_BYTES = 40
SIGNATURE_DISTANCE = 48

_EXACT = 50_000  # up to this many pictures, neighbours are exact
_LISTS_PER_ROOT = 2  # lists for each square root of the number of pictures
_PROBES = 16  # lists to look at
_TRAINED_ON = 64  # pictures for each list that its centre is learnt from
_ITERATIONS = 10
_BLOCK = 2_048
_BATCH = 8
_THREADS = 2

# Verification: sides of the square pictures for coarse alignment, for refinement, and in memory.
_COARSE, _FINE, _STORED = 16, 48, 64
# Shares of a side that may be cropped, at its start and its end.
_CUTS = (0.0, 0.05, 0.1, 0.15, 0.2)
_STEPS = (0.02, 0.02, 0.01, 0.01, 0.005)
_TILES = 6
# Minimum correlation of the aligned pictures.
_CORRELATION = 0.93
_COARSE_CORRELATION = 0.8  # the same before refinement
_TRUSTED = 0.85  # share of the best-fitting pixels, from which correlation, gain and bias are computed
# Maximum residual of a matching tile: a share of its contrast, or a number of grey levels of 255.
_RESIDUAL_SHARE, _RESIDUAL_LEVELS = 0.5, 7.0
_LEVEL = 25.0  # maximum difference of a tile's mean from the fit, in grey levels
_MISFITS = 5  # maximum number of different tiles, at the edge only: a line of text, a logo
_DETAILED = 9  # minimum number of matching tiles with contrast
_CONTRAST = 8.0
_GAINS = (0.6, 1.7)
_GREY = 6.0  # mean chroma (of 128) below which a picture is grey
_CHROMA = 14.0  # maximum chroma difference of the fields, up to the quantile `_FIELDS`
_FIELDS = 0.97


Source = TypeVar("Source")


class Encoder(ABC):
    """A source of features. `name` identifies it, so that features of different encoders are never compared."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Identifier of the encoder."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Feature size."""

    @property
    @abstractmethod
    def at_least(self) -> int | None:
        """Shortest side that a JPEG must keep when decoded at reduced size; None: decode full size."""

    @abstractmethod
    def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Return features (n, dim) of RGB pictures: float32, unit length."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture reduced for `same`: grey (64, 64) from 0 to 255 and chroma (2, 64, 64) from -128 to 127, float32."""

    grey: np.ndarray
    chroma: np.ndarray

    @classmethod
    def of(cls, image: Image.Image) -> "Thumbnail":
        """Reduce an RGB picture."""
        small = image.convert("RGB").resize((_STORED, _STORED), Image.Resampling.BOX)
        planes = np.asarray(small.convert("YCbCr"), np.float32).transpose(2, 0, 1)
        return cls(_blurred(planes[0]), planes[1:] - 128)

    def mirrored(self) -> "Thumbnail":
        """Return the picture flipped horizontally."""
        return Thumbnail(self.grey[:, ::-1], self.chroma[:, :, ::-1])


def same(one: Thumbnail, other: Thumbnail) -> bool:
    """Return True if two pictures show the same in a part of each that covers at least four fifths of each side.

    Either picture may be mirrored, grey, or of another brightness or contrast. Pictures with little detail never match.
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


def _blurred(grey: np.ndarray) -> np.ndarray:
    """Blur with a (1, 2, 1) / 4 kernel, to make the comparison robust to shifts by half a pixel."""
    for axis in (0, 1):
        wide = np.concatenate([grey.take([0], axis), grey, grey.take([-1], axis)], axis)
        ends = wide.take(range(_STORED), axis), wide.take(range(2, _STORED + 2), axis)
        grey = (ends[0] + 2 * grey + ends[1]) / 4
    return grey


Window = tuple[float, float, float, float]  # left, right, top, bottom, as shares of the sides

_SPANS = tuple((start, 1 - end) for start, end in product(_CUTS, _CUTS))
_WINDOWS: tuple[Window, ...] = tuple((*x, *y) for y, x in product(_SPANS, _SPANS))


@lru_cache(maxsize=4096)
def _sampling(start: float, end: float, count: int) -> np.ndarray:
    """Return the matrix (count, 64) that averages a span of a side into `count` equal fields, repeating edge pixels."""
    edges = np.linspace(start, end, count + 1) * _STORED
    # Cumulative coverage of the pixels; the weights of a field are the difference between its two ends.
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
    """Standardise rows (n, pixels) to mean 0 and length 1."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    result: np.ndarray = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-3)
    return result


_WHOLE = _WINDOWS.index((0.0, 1.0, 0.0, 1.0))
_COARSE_SPANS = np.stack([_sampling(start, end, _COARSE) for start, end in _SPANS])
# Cropping both pictures at the same end only reduces the overlap.
_STARTS = np.array([(left > 0, right < 1, top > 0, bottom < 1) for left, right, top, bottom in _WINDOWS])
_ALLOWED = ~(_STARTS[:, None] & _STARTS[None]).any(axis=2)


def _windows(grey: np.ndarray) -> np.ndarray:
    """Return all windows of a picture at the coarse size, standardised: (625, 256)."""
    columns = np.einsum("yx,scx->ysc", grey, _COARSE_SPANS, optimize=True)
    cells = np.tensordot(_COARSE_SPANS, columns, axes=(2, 0))  # (rows' span, row, columns' span, column)
    return _units(cells.transpose(0, 2, 1, 3).reshape(len(_WINDOWS), -1))


def _aligned(grey: np.ndarray, right: np.ndarray) -> Iterator[tuple[Window, Window]]:
    """Yield the pair of windows with the highest correlation, then the whole pictures, if they correlate enough."""
    correlation = np.where(_ALLOWED, _windows(grey) @ right.T, -1)
    best = int(np.argmax(correlation))
    for cell in dict.fromkeys((best, _WHOLE * len(_WINDOWS) + _WHOLE)):
        row, column = divmod(cell, len(_WINDOWS))
        if correlation[row, column] > _COARSE_CORRELATION:
            yield _WINDOWS[row], _WINDOWS[column]


def _refined(grey: np.ndarray, window: Window, goal: np.ndarray) -> Window:
    """Return the window close to `window` with the highest correlation to `goal` (48, 48)."""
    wanted = _units(goal.reshape(1, -1))[0]
    for step in _STEPS:
        moves = (-step, 0.0, step)
        spans = [[(window[a] + s, window[a + 1] + e) for s, e in product(moves, moves)] for a in (0, 2)]
        across, down = (
            np.stack([_sampling(round(s, 4), round(e, 4), _FINE) for s, e in candidates]) for candidates in spans
        )
        columns = np.tensordot(grey, across, axes=(1, 2))  # (y, columns' span, column)
        cells = np.tensordot(down, columns, axes=(2, 0)).transpose(0, 2, 1, 3).reshape(81, -1)
        y, x = divmod(int(np.argmax(_units(cells) @ wanted)), 9)
        window = (*spans[0][x], *spans[1][y])
    return window


def _fits(one: Thumbnail, window: Window, other: Thumbnail, opposite: Window) -> bool:
    """Return True if aligned pictures match in detail and colour, except for a few tiles at the edge."""
    a, b = _cut(one.grey, window, _FINE), _cut(other.grey, opposite, _FINE)
    gain, bias, _ = _fitted(a, b)
    far = np.abs(b - gain * a - bias)
    kept = far <= np.quantile(far, _TRUSTED)
    gain, bias, correlation = _fitted(a[kept], b[kept])
    if correlation < _CORRELATION or not _GAINS[0] <= gain <= _GAINS[1]:
        return False
    rest = _tiles(b - gain * a - bias)
    contrast = np.maximum(_tiles(gain * a).std(axis=2), _tiles(b).std(axis=2))
    good = rest.std(axis=2) <= np.maximum(_RESIDUAL_LEVELS, _RESIDUAL_SHARE * contrast)
    good &= np.abs(rest.mean(axis=2)) <= _LEVEL
    detailed = contrast > _CONTRAST
    if not good[1:-1, 1:-1].all() or (~good).sum() > _MISFITS or (detailed & good).sum() < _DETAILED:
        return False
    return _same_colours(one, window, other, opposite, gain, bias)


def _fitted(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Return gain and bias that map the grey values `a` to `b`, and the correlation of both."""
    one, other = a.mean(), b.mean()
    deviations = max(float(a.std()), 1e-3), max(float(b.std()), 1e-3)
    gain = deviations[1] / deviations[0]
    correlation = float(((a - one) * (b - other)).mean()) / (deviations[0] * deviations[1])
    return gain, float(other - gain * one), correlation


def _same_colours(one: Thumbnail, window: Window, other: Thumbnail, opposite: Window, gain: float, bias: float) -> bool:
    colours = [
        np.stack([_cut(plane, region, 2 * _TILES) for plane in thumbnail.chroma])
        for thumbnail, region in ((one, window), (other, opposite))
    ]
    a, b = colours
    grey = [np.abs(chroma).mean() < _GREY and np.abs(chroma).max() < 4 * _GREY for chroma in colours]
    if grey[0] != grey[1] and min(np.abs(chroma).max() for chroma in colours) < 2:
        return bool(0.9 <= gain <= 1.11 and abs(bias) < 12)  # a grey copy keeps brightness and contrast
    far = np.linalg.norm(b - gain * a, axis=0)
    near = np.linalg.norm(b - a, axis=0)
    return bool(min(np.quantile(far, _FIELDS), np.quantile(near, _FIELDS)) <= _CHROMA)


def _tiles(plane: np.ndarray) -> np.ndarray:
    """Reshape a plane (48, 48) into tiles (6, 6, 64)."""
    side = _FINE // _TILES
    return plane.reshape(_TILES, side, _TILES, side).transpose(0, 2, 1, 3).reshape(_TILES, _TILES, -1)


def _open(path: Any, at_least: int | None) -> Image.Image:
    return open_picture(path, at_least=at_least)


def features_of(
    pictures: Sequence[Source], encoder: Encoder, progress: Callable[[int], None] = lambda _: None,
    opened: Callable[[Source, int | None], Image.Image] = _open,
) -> np.ndarray:  # fmt: skip
    """Return features (n, dim) float32 of pictures, in order; zeros for unreadable ones, which match nothing.

    `opened` decodes a picture, given `at_least` as in `open_picture`; the default expects paths.
    """
    found = np.zeros((len(pictures), encoder.dim), np.float32)
    at = 0
    for batch in prefetch(pictures, _BATCH, lambda one: opened(one, encoder.at_least)):
        good = [(at + n, picture) for n, (_, picture) in enumerate(batch) if not isinstance(picture, PictureError)]
        if good:
            found[[row for row, _ in good]] = encoder.encode([picture for _, picture in good])
        at += len(batch)
        progress(len(batch))
    return found


def propose(features: np.ndarray, floor: float = FLOOR, neighbours: int = NEIGHBOURS) -> list[tuple[int, int]]:
    """Return candidate pairs of row numbers (first < second) by nearest neighbours of features (n, dim), sorted.

    The search is exact up to 50,000 pictures (256 MB with 1,280 features). Beyond, it uses FAISS's lists in memory:
    2.6 GB per million pictures, and at first 1.3 GB of pictures from which their centres are learnt.
    """
    import faiss  # takes 0.06 s to load

    count = len(features)
    if count < 2:
        return []
    # Reproducible, and with one thread OpenMP starts none, for which a forked process would wait for ever.
    faiss.omp_set_num_threads(1)
    index = _neighbours_of(features)
    found: set[tuple[int, int]] = set()
    for some in _blocks(count):
        products, rows = index.search(_unit(features[some]), min(count, neighbours + 1))
        for row, column in zip(*np.nonzero(products >= floor), strict=True):
            query, key = some.start + int(row), int(rows[row, column])
            if key != query:
                found.add((min(query, key), max(query, key)))
    return sorted(found)


def _neighbours_of(features: np.ndarray) -> Any:
    """A FAISS index of features (n, dim) by their cosines."""
    import faiss

    count, dim = features.shape
    index: Any
    if count <= _EXACT:
        index = faiss.IndexFlatIP(dim)
    else:
        lists = 2 ** round(np.log2(_LISTS_PER_ROOT * count**0.5))
        half = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(dim), dim, lists, half, faiss.METRIC_INNER_PRODUCT, False
        )
        index.nprobe, index.cp.niter = _PROBES, _ITERATIONS
        index.cp.min_points_per_centroid = 1  # it would print a warning
        some = np.random.default_rng(0).choice(count, min(count, _TRAINED_ON * lists), replace=False)
        index.train(_unit(features[np.sort(some)]))
    for block in _blocks(count):
        index.add(_unit(features[block]))
    return index


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK))


def _unit(features: np.ndarray) -> np.ndarray:
    """Features (n, dim) float32 of unit length; zeros stay zeros."""
    values = np.ascontiguousarray(features, np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def signatures(features: np.ndarray) -> np.ndarray:
    """Return signatures (n, 40) uint8 of features (n, dim): signs of 320 fixed random projections; zeros stay zeros."""
    raw = hashlib.shake_256(b"clip-italian copies").digest(SIGNATURE_BYTES * features.shape[1])
    signs = np.unpackbits(np.frombuffer(raw, np.uint8)).astype(np.float32).reshape(features.shape[1], -1) * 2 - 1
    found = np.packbits(features.astype(np.float32) @ signs > 0, axis=1)
    return np.where(features.any(axis=1, keepdims=True), found, 0).astype(np.uint8)


def matches_signature(one: np.ndarray, others: np.ndarray) -> bool:
    """Return True if a signature (40,) is close to one of `others` (m, 40).

    Less exact than `same`, which needs both pictures.
    """
    if not one.any() or not len(others):
        return False
    words = np.ascontiguousarray(others).view(np.uint64) ^ np.ascontiguousarray(one).view(np.uint64)
    far = np.bitwise_count(words).sum(axis=1, dtype=np.int64)
    return bool(((far <= SIGNATURE_DISTANCE) & others.any(axis=1)).any())


def confirmed(pairs: Iterable[tuple[int, int]], path: Callable[[int], Path]) -> list[tuple[int, int]]:
    """Return the pairs that `same` verifies. Reads the pictures; unreadable ones match nothing."""

    @lru_cache(maxsize=1024)
    def thumbnail(number: int) -> Thumbnail | None:
        try:
            return Thumbnail.of(open_picture(path(number), at_least=4 * _STORED))
        except PictureError:
            return None

    def verify(pair: tuple[int, int]) -> bool:
        one, other = thumbnail(pair[0]), thumbnail(pair[1])
        return one is not None and other is not None and same(one, other)

    candidates = list(pairs)
    with ThreadPoolExecutor(_THREADS) as pool:
        return [pair for pair, is_copy in zip(candidates, pool.map(verify, candidates), strict=True) if is_copy]
