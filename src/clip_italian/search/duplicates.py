"""Copies and bursts among the pictures of an index. No picture is changed, or embedded again.

Copies have equal bytes; or they look alike (`phash.alike`), differ little from the best of their group when both are
reduced to 16 x 16 fields, and their dates do not say that they were taken at different times. Pictures form a burst if
they were taken within `SECONDS`, one after another, and the cosines of their vectors are high, or they look alike.
A date that is only the modification time of a file says little, as a copy has one of its own.

The index finds the candidates; only their files are read.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from PIL import Image

from clip_italian.errors import UsageError
from clip_italian.files.digests import sha256_of
from clip_italian.files.names import as_stored
from clip_italian.pictures.decoding import PictureError, orientation, prefetch, read_bytes, register_heic
from clip_italian.pictures.looks import near_looks, neighbours
from clip_italian.search.index import Hit, Index
from clip_italian.search.storage import FolderStore, read_manifest

Kind = Literal["copies", "bursts"]
Problem = Literal["missing", "changed", "unreadable"]

# Most seconds between two shots of a burst, and the least cosine of their vectors; measured in docs/search.md.
SECONDS = 10
COSINE = 0.9
# Most difference of two copies, of 255: the mean over all fields and colours, and that of any.
MEAN_APART, MOST_APART = 1.5, 16
# A date that more pictures have is not that of a shot, but that of an archive or of a download.
MOST_AT_ONCE = 100

_COLUMNS = ["row", "look", "sha256", "taken", "mtime_ns", "size"]
_PAIRS = 1 << 13  # of vectors compared at a time
_BATCH = 64
_FIELDS, _AT_LEAST = 16, 256  # fields of a side, and pixels of a side of which they are made
# Local times differ from UTC by whole quarters of an hour, and by no more than 14 hours (in milliseconds).
_QUARTER, _FARTHEST = 900_000, 50_400_000


@dataclass(frozen=True)
class Picture:
    """A picture of a group: `width` and `height` as displayed (0 if unknown), `bytes` of the file, and its date.

    `problem`: its file is missing, has changed since it was indexed, or cannot be read.
    """

    hit: Hit
    taken: datetime | None
    width: int = 0
    height: int = 0
    bytes: int = 0
    problem: Problem | None = None

    @property
    def removable(self) -> bool:
        """True if this is a whole file, unchanged, whose path fits on a line."""
        return self.problem is None and self.hit.part is None and not {"\n", "\r"} & set(self.hit.file)

    @property
    def weight(self) -> str:
        """The size of the file, for people."""
        return f"{self.bytes / 1e3:.0f} kB" if self.bytes < 1e6 else f"{self.bytes / 1e6:.1f} MB"

    @property
    def order(self) -> tuple[bool, int, int, datetime, int, str, tuple[int, int]]:
        """The key of the best: without a problem, most pixels, largest file, oldest, shortest path, first path."""
        pixels, file = self.width * self.height, self.hit.file
        return (
            self.problem is not None, -pixels, -self.bytes, self.taken or datetime.max, len(file), file,
            self.hit.part or (0, 0),
        )  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Copies of a picture, or shots of a burst, the best first. Of copies in a burst only the best is listed."""

    kind: Kind
    pictures: tuple[Picture, ...]

    @property
    def best(self) -> Picture | None:
        """The first picture; None if even that has a problem."""
        return None if self.pictures[0].problem is not None else self.pictures[0]

    @property
    def others(self) -> list[Picture]:
        """The pictures that are not the best and that can be removed."""
        return [one for one in self.pictures[1:] if one.removable]

    @property
    def spare(self) -> int:
        """The bytes of `others`."""
        return sum(one.bytes for one in self.others)


@dataclass(frozen=True)
class Facts:
    """What an index knows of n rows: `looks` (n, 14) uint8, zeros if unknown; `contents` (n,), equal for equal bytes.

    `taken` (n,) in milliseconds is a date where `dated`, and not the modification time of the file where `sure`.
    """

    looks: np.ndarray
    contents: np.ndarray
    taken: np.ndarray
    sure: np.ndarray
    dated: np.ndarray

    def at_other_times(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """True (m,) where the pictures of a pair of rows were certainly taken at different times."""
        apart = np.abs(self.taken[a] - self.taken[b])
        return ((self.sure[a] & self.sure[b]) | self.in_a_burst(a, b)) & (apart > 0)

    def in_a_burst(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """True (m,) where the pictures of a pair of rows were taken within `SECONDS`, and not at once."""
        apart = np.abs(self.taken[a] - self.taken[b])
        return self.dated[a] & self.dated[b] & (apart > 0) & (apart <= SECONDS * 1000)


def find(folder: Path, cosine: float = COSINE) -> list[Group]:
    """The copies, then the bursts of an index folder; those that take most space beside the best come first.

    Raises UserError where there is no index, UsageError for one whose rows are in Milvus.
    """
    if (store := read_manifest(folder).store) is not None:
        raise UsageError(f"{folder}: its rows are in {store}, which is not searched; build an index without --store")
    index = Index.open(folder)
    assert isinstance(index.store, FolderStore)
    tables = [segment.columns(_COLUMNS) for segment in index.store.segments]
    if not sum(map(len, tables)):
        return []
    rows = pa.concat_tables(tables).combine_chunks()
    facts = _facts(rows)
    candidates, shots = link(facts, _close(index.store, facts, cosine))
    wanted = np.flatnonzero((_sizes(candidates) > 1) | (_sizes(shots) > 1))
    pictures = dict(zip(wanted.tolist(), _pictures(index, rows, wanted), strict=True))
    units = _units(pictures, candidates, facts)
    groups = [Group("copies", tuple(same)) for unit in units if len(same := _distinct(pictures, unit)) > 1]
    bursts = _Union(len(shots))
    bursts.first = shots
    members = np.array([number for unit in units for number in unit], np.int64)
    bursts.join(members, np.array([unit[0] for unit in units for _ in unit], np.int64))
    best: dict[int, list[int]] = {}
    for unit in units:
        best.setdefault(int(bursts.first[unit[0]]), []).append(unit[0])
    ranked = (sorted(same, key=lambda number: pictures[number].order) for same in best.values())
    groups += [Group("bursts", tuple(same)) for some in ranked if len(same := _distinct(pictures, some)) > 1]
    return sorted(groups, key=lambda one: (one.kind != "copies", -one.spare, one.pictures[0].hit.file))


def link(facts: Facts, close: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The first row (n,) of each row's group of pictures that may be copies, and of its burst.

    `close` are pairs of rows taken within `SECONDS` that show the same by their vectors, as two arrays at a time.
    """
    count = len(facts.looks)
    copies, bursts = _Union(count), _Union(count)
    copies.join(*_equal(facts.contents, np.arange(count)))
    # Rows with equal looks and dates behave alike: one of each is compared with the others.
    keys = np.zeros((count, 23), np.uint8)
    keys[:, :14], keys[:, 14] = facts.looks, 1 + facts.dated + facts.sure
    keys[:, 15:] = np.where(facts.dated, facts.taken, 0).astype("<i8").view(np.uint8).reshape(count, 8)
    shaped = np.flatnonzero(facts.looks[:, :8].any(axis=1))
    first, later = _equal(keys[shaped].view("V23")[:, 0], shaped)
    copies.join(first, later)
    some = np.setdiff1d(shaped, later)
    linked = np.zeros(count, bool)
    for left, right in near_looks(facts.looks[some]):
        a, b = some[left], some[right]
        burst, copy = facts.in_a_burst(a, b), ~facts.at_other_times(a, b)
        bursts.join(a[burst], b[burst])
        copies.join(a[copy], b[copy])
        linked[a[burst]] = linked[b[burst]] = True
    bursts.join(first[linked[first]], later[linked[first]])
    for a, b in close:
        bursts.join(a, b)
    return copies.first, bursts.first


class _Union:
    """A partition of n rows; `first` (n,) is the first row of each row's part."""

    def __init__(self, count: int) -> None:
        self.first = np.arange(count)

    def join(self, a: np.ndarray, b: np.ndarray) -> None:
        """Unite the parts of pairs of rows."""
        while True:
            a, b = self.first[a], self.first[b]
            apart = a != b
            if not apart.any():
                return
            a, b = a[apart], b[apart]
            np.minimum.at(self.first, np.maximum(a, b), np.minimum(a, b))
            while not np.array_equal(further := self.first[self.first], self.first):
                self.first = further


def _equal(values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of `rows` that link all rows with equal values (n,) to the first of them."""
    _, first, number = np.unique(values, return_index=True, return_inverse=True)
    firsts = rows[first[number]]
    later = firsts != rows
    return firsts[later], rows[later]


def _sizes(labels: np.ndarray) -> np.ndarray:
    """The size of each row's group."""
    return np.bincount(labels, minlength=len(labels))[labels] if len(labels) else labels


def _facts(rows: pa.Table) -> Facts:
    looks = b"".join(one or bytes(14) for one in rows["look"].to_pylist())
    codes = rows["sha256"].combine_chunks().dictionary_encode().indices
    unknown = codes.is_null().to_numpy(zero_copy_only=False)
    contents = np.where(unknown, -1 - np.arange(len(rows)), codes.fill_null(0).to_numpy())
    return Facts(np.frombuffer(looks, np.uint8).reshape(-1, 14), contents, *_dates(rows))


def _dates(rows: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dates (n,) in milliseconds; where they are certainly the picture's own; and where they may be those of a shot.

    A modification time with a fraction of a second is that of writing the file, as cameras and archives store none.
    """
    taken = rows["taken"].cast(pa.int64()).fill_null(0).to_numpy()
    given = rows["taken"].is_valid().to_numpy()
    written = rows["mtime_ns"].fill_null(0).to_numpy()
    ahead = taken - written // 1_000_000_000 * 1000
    of_file = rows["mtime_ns"].is_valid().to_numpy() & (ahead % _QUARTER == 0) & (np.abs(ahead) <= _FARTHEST)
    _, number, times = np.unique(taken[given], return_inverse=True, return_counts=True)
    given[np.flatnonzero(given)[times[number] > MOST_AT_ONCE]] = False
    return taken, given & ~of_file, given & (~of_file | (written % 1_000_000_000 == 0))


def _close(store: FolderStore, facts: Facts, cosine: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows taken within `SECONDS` whose vectors have at least this cosine."""
    order = np.flatnonzero(facts.dated)
    order = order[np.argsort(facts.taken[order], kind="stable")]
    times = facts.taken[order]
    positions = [segment.positions() for segment in store.segments]
    starts = np.cumsum([0, *map(len, positions)])
    for left, right in neighbours(np.searchsorted(times, times + SECONDS * 1000, "right"), _PAIRS):
        used, at = np.unique(np.concatenate([left, right]), return_inverse=True)
        rows = order[used]
        vectors = np.zeros((len(rows), store.manifest.dim), np.float32)
        for segment, own, start, stop in zip(store.segments, positions, starts, starts[1:], strict=False):
            here = (rows >= start) & (rows < stop)
            vectors[here] = segment.vectors.take(own[rows[here] - start])
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        a, b = at[: len(left)], at[len(left) :]
        near = np.einsum("ij,ij->i", vectors[a], vectors[b]) >= cosine
        yield rows[a[near]], rows[b[near]]


def _units(pictures: Mapping[int, Picture], candidates: np.ndarray, facts: Facts) -> list[list[int]]:
    """Rows divided into copies, the best first; pictures without a copy are alone.

    Of candidates, the best takes those that are its copies, then the best of the rest does.
    """
    classes: dict[int, list[int]] = {}
    for number in sorted(pictures, key=lambda number: pictures[number].order):
        classes.setdefault(int(candidates[number]), []).append(number)
    doubtful = [rows for rows in classes.values() if len(np.unique(facts.contents[rows])) > 1]
    small = _reduced([(number, pictures[number]) for rows in doubtful for number in rows])
    units = []
    for rest in classes.values():
        while rest:
            others = np.array(rest)
            best = np.full(len(rest), rest[0])
            same = facts.contents[others] == facts.contents[best]
            if not same.all():
                unknown = np.array([pictures[number].problem is not None for number in rest])
                fields = np.stack([small[number] for number in rest])
                known = (np.isfinite(fields) & np.isfinite(fields[0])).all(axis=1) | unknown
                apart = np.nan_to_num(np.abs(fields - fields[0]))
                near = (apart.mean(axis=1) <= MEAN_APART) & (apart.max(axis=1) <= MOST_APART)
                same |= known & near & ~facts.at_other_times(others, best)
                same[0] = True
            units.append(others[same].tolist())
            rest = others[~same].tolist()
    return units


def _reduced(pictures: Sequence[tuple[int, Picture]]) -> dict[int, np.ndarray]:
    """Pictures as 16 x 16 fields of RGB, (768,) float32, by number; NaN for those that cannot be read."""

    def reduce(one: tuple[int, Picture]) -> np.ndarray:
        if one[1].problem is not None:
            raise PictureError(one[1].problem)
        image = one[1].hit.open(at_least=_AT_LEAST)
        return np.asarray(image.resize((_FIELDS, _FIELDS), Image.Resampling.BICUBIC), np.float32).ravel()

    unread = np.full(3 * _FIELDS**2, np.nan, np.float32)
    return {
        number: unread if isinstance(fields, PictureError) else fields
        for batch in prefetch(pictures, _BATCH, reduce)
        for (number, _), fields in batch
    }


def _distinct(pictures: Mapping[int, Picture], ranked: Sequence[int]) -> list[Picture]:
    """Pictures without those that are another's file by another name: a link, or a file that was indexed twice."""
    found: dict[tuple[object, ...], Picture] = {}
    for one in (pictures[number] for number in ranked):
        try:
            status = as_stored(one.hit.path).stat()
            key: tuple[object, ...] = (status.st_dev, status.st_ino, one.hit.part)
        except OSError:
            key = (one.hit.file, one.hit.part)
        found.setdefault(key, one)
    return list(found.values())


def _pictures(index: Index, rows: pa.Table, wanted: np.ndarray) -> Iterator[Picture]:
    """The pictures of some rows, with what their files say now."""
    register_heic()
    stored = rows.take(pa.array(wanted)).to_pylist()

    def look_at(row: dict[str, Any]) -> Picture:
        hit = index.hit(row["row"])
        assert hit is not None
        return _looked_at(hit, row)

    for batch in prefetch(stored, _BATCH, look_at):
        for _, picture in batch:
            assert isinstance(picture, Picture)
            yield picture


def _looked_at(hit: Hit, row: dict[str, Any]) -> Picture:
    """A picture with size and problem; its pixels are not decoded."""
    taken = row["taken"]
    path = as_stored(hit.path)
    try:
        status = path.stat()
    except OSError:
        return Picture(hit, taken, problem="missing")
    size = status.st_size if hit.part is None else hit.part[1]
    try:
        if hit.part is None and row["size"] is not None and row["mtime_ns"] is not None:
            touched = status.st_mtime_ns != row["mtime_ns"]
            if size != row["size"] or (touched and bytes.fromhex(sha256_of(path)) != row["sha256"]):
                return Picture(hit, taken, bytes=size, problem="changed")
        with Image.open(path if hit.part is None else io.BytesIO(read_bytes(path, hit.part))) as image:
            width, height = image.size if orientation(image) < 5 else image.size[::-1]
        return Picture(hit, taken, width, height, size)
    except Exception:  # damaged headers raise many classes, as in `decoding.decode`
        return Picture(hit, taken, bytes=size, problem="unreadable")
