"""The vector engine, usearch: `build` writes vectors to a folder, `Vectors.candidates` finds rows near a query in them.

Nothing else in the package knows usearch. Filters and exact scores are up to the caller (`storage.nearest`).

Vectors are bfloat16 in one memory-mapped file that begins with usearch's binary matrix: the number of rows and the
bytes per row (two uint32), then the rows. `vectors.bbin` ends there, and a search looks at every vector. In
`vectors.usearch` usearch's graph (HNSW) follows. usearch stores vectors in the order in which its threads finish, so
`slots.npy` holds the slot of each row.
"""

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from clip_italian.errors import UserError

if TYPE_CHECKING:
    from usearch.index import Index as Graph

FLAT_FILE = "vectors.bbin"
GRAPH_FILE = "vectors.usearch"
SLOTS_FILE = "slots.npy"

# Chosen by benchmarks/index_speed.py. Per vector the graph takes 8 bytes a connection, and 14.
CONNECTIVITY = 16
EXPANSION_ADD = 128
EXPANSION_SEARCH = 104

BLOCK = 8_192  # vectors loaded into memory at a time
# So few vectors are compared by numpy in less time than usearch takes to load.
_FEW = 4_096
_HEAD = 8  # bytes before the matrix


def to_bf16(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, dim) float32 as bfloat16 in uint16, rounded to nearest even as in usearch."""
    bits = np.ascontiguousarray(vectors, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def from_bf16(bits: np.ndarray) -> np.ndarray:
    """bfloat16 in uint16 as float32 of the same shape."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """Slices that cover 0 … count-1."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


class Vectors:
    """Opened vectors of one segment. Threads may share them."""

    def __init__(self, matrix: np.ndarray, graph: Path | None = None, slots: np.ndarray | None = None) -> None:
        self._matrix = matrix  # (n, dim) uint16, in the order of the file
        self._slots = slots  # of each row; None where the order is that of the rows
        self._graph_path = graph
        self._graph_file = graph.open("rb") if graph else None  # an update may remove it before the first search
        self._lock = threading.Lock()  # usearch keeps the state of a search by thread number, not by thread

    @classmethod
    def open(cls, folder: Path, rows: int, dim: int, graph: bool) -> Self:
        """Map the file, reading next to nothing. Raises UserError for another shape, OSError for a missing file."""
        path = folder / (GRAPH_FILE if graph else FLAT_FILE)
        with path.open("rb") as file:
            head = np.frombuffer(file.read(_HEAD), np.uint32)
        if head.tolist() != [rows, 2 * dim] or path.stat().st_size < _HEAD + 2 * rows * dim:
            raise UserError(f"{path}: damaged, it does not hold {rows:,} vectors of {dim} numbers; build it again")
        matrix = np.memmap(path, np.uint16, "r", _HEAD, (rows, dim)).view(np.ndarray)  # indexing a memmap is slower
        if not graph:
            return cls(matrix)
        return cls(matrix, path, np.load(folder / SLOTS_FILE, mmap_mode="r").view(np.ndarray))

    def __len__(self) -> int:
        return len(self._matrix)

    @property
    def has_graph(self) -> bool:
        """True where candidates come from a graph."""
        return self._graph_file is not None

    def bits(self, rows: np.ndarray) -> np.ndarray:
        """The stored vectors of these rows: (m, dim) uint16."""
        return self._matrix[rows if self._slots is None else self._slots[rows]]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of these rows: (m, dim) float32."""
        return from_bf16(self.bits(rows))

    def candidates(self, query: np.ndarray, count: int, exact: bool = False) -> np.ndarray:
        """The `count` rows (int64) nearest to a query (dim,) of unit length, best first.

        The order is that of the query, of many vectors rounded to bfloat16. They come from the graph where there is
        one, which may miss some; with `exact` from all vectors. Raises UserError where the graph is damaged.
        """
        count = min(count, len(self))
        if self.has_graph and not exact:
            with self._lock:
                found = self._graph.search(query, count, threads=1)
            return np.asarray(found.keys.astype(np.int64))
        if len(self) <= _FEW:
            scores = from_bf16(self._matrix) @ query
            slots = np.argsort(-scores, kind="stable")[:count]
            return np.asarray(slots if self._slots is None else self._rows_by_slot[slots])
        from usearch.index import search as exact_search

        rounded = to_bf16(query[None])
        slots = exact_search(self._matrix, rounded, count, "ip", exact=True, dtype="bf16").keys.astype(np.int64)
        return np.asarray(slots if self._slots is None else self._rows_by_slot[slots])

    @cached_property
    def _graph(self) -> "Graph":
        """The graph, opened by the first search: usearch then reads each of its nodes, 150 bytes a vector."""
        from usearch.index import Index as Graph

        assert self._graph_file is not None
        # By its descriptor, as the name may be gone.
        name = f"/dev/fd/{self._graph_file.fileno()}"
        try:
            view = Graph.restore(name, view=True, enable_key_lookups=False, expansion_search=EXPANSION_SEARCH)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{self._graph_path}: damaged ({error}); run clip-italian index compact") from error
        if view is None or len(view) != len(self):
            raise UserError(f"{self._graph_path}: damaged, vectors are missing; run clip-italian index compact")
        return view

    @cached_property
    def _rows_by_slot(self) -> np.ndarray:
        assert self._slots is not None
        return np.argsort(self._slots)


def build(folder: Path, dim: int, vectors: Iterable[np.ndarray], graph: bool) -> int:
    """Write vectors, given as blocks (m, dim) uint16, with or without a graph; return their number.

    A graph is made in memory (the size of its file). Not atomic: pass a staged folder. Raises OSError on a full disk.
    """
    return _build_graph(folder, dim, vectors) if graph else _build_flat(folder / FLAT_FILE, dim, vectors)


def _build_flat(path: Path, dim: int, vectors: Iterable[np.ndarray]) -> int:
    rows = 0
    with path.open("wb") as file:
        file.write(bytes(_HEAD))
        for bits in vectors:
            file.write(np.ascontiguousarray(bits).tobytes())
            rows += len(bits)
        file.seek(0)
        file.write(np.array([rows, 2 * dim], np.uint32).tobytes())
    return rows


def _build_graph(folder: Path, dim: int, vectors: Iterable[np.ndarray]) -> int:
    from usearch.index import Index as Graph

    graph = Graph(
        ndim=dim, metric="ip", dtype="bf16", connectivity=CONNECTIVITY, expansion_add=EXPANSION_ADD,
        enable_key_lookups=False,
    )  # fmt: skip
    rows = 0
    digests: list[np.ndarray] = []
    for bits in vectors:
        graph.add(np.arange(rows, rows + len(bits)), from_bf16(bits))
        digests.append(_digests(bits))
        rows += len(bits)
    path, length = folder / GRAPH_FILE, graph.serialized_length
    try:
        graph.save(path)
    except RuntimeError as error:  # usearch gives no reason
        missing = length - (path.stat().st_size if path.exists() else 0)
        code = errno.ENOSPC if shutil.disk_usage(folder).free < missing else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error
    if path.stat().st_size < length:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    np.save(folder / SLOTS_FILE, _slots(path, dim, np.concatenate(digests)))
    return rows


def _slots(path: Path, dim: int, written: np.ndarray) -> np.ndarray:
    """The slot in which usearch put each row, found by the digests of the rows; equal vectors are interchangeable."""
    rows = len(written)
    matrix = np.memmap(path, np.uint16, "r", _HEAD, (rows, dim))
    stored = np.concatenate([_digests(matrix[some]) for some in blocks(rows)])
    by_digest, order = np.argsort(stored, kind="stable"), np.argsort(written, kind="stable")
    if not np.array_equal(stored[by_digest], written[order]):
        raise UserError(f"{path}: usearch stored other vectors than it was given; report this with its version")
    slots = np.empty(rows, np.uint32)
    slots[order] = by_digest
    return slots


def _digests(bits: np.ndarray) -> np.ndarray:
    rows = np.ascontiguousarray(bits)
    return np.frombuffer(b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows), np.uint64)
