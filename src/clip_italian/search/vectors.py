"""The vectors of a segment: bfloat16 in one memory-mapped file, with or without a graph (HNSW) behind them.

Both kinds of file begin with usearch's binary matrix: rows and bytes a row (two uint32), then the vectors. In
`vectors.bbin` that is all, and search looks at every vector. `vectors.usearch` goes on with usearch's graph. usearch
places vectors in the order in which its threads come by, so `slots.npy` tells where the vector of each row lies.
"""

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from usearch.index import Index as Graph
from usearch.index import search as exact_search

from clip_italian.errors import UserError

FLAT_FILE = "vectors.bbin"
GRAPH_FILE = "vectors.usearch"
SLOTS_FILE = "slots.npy"

# Chosen by benchmarks/index_speed.py. Per vector the graph takes 8 bytes a connection, and 14.
CONNECTIVITY = 16
EXPANSION_ADD = 128
EXPANSION_SEARCH = 104

_HEAD = 8  # bytes before the matrix
_BLOCK = 8_192  # vectors taken into memory at a time
# So many vectors are looked at one by one rather than asking the graph for enough of them.
_FEW = 20_000
# The graph is asked for at most so many, when only some rows may be shown.
_MOST = 4_096


def to_bf16(vectors: np.ndarray) -> np.ndarray:
    """float32 (n, dim) as bfloat16 in uint16, rounded to nearest even as usearch does."""
    bits = np.ascontiguousarray(vectors, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def from_bf16(bits: np.ndarray) -> np.ndarray:
    """The other way: float32 of the same shape."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Chosen:
    """The rows of a segment that may be shown: a mask (n,) of booleans, and how many they are."""

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask
        self.count = int(np.count_nonzero(mask))

    @cached_property
    def positions(self) -> np.ndarray:
        """Rows that may be shown, ascending."""
        return np.flatnonzero(self.mask)


class Vectors:
    """Opened vectors of one segment: `matrix` (n, dim) uint16 in the order of the file, `slots` by row or None.

    The graph is opened when it is first asked: usearch then looks at each of its nodes, 150 bytes a vector.
    """

    def __init__(self, matrix: np.ndarray, graph: Path | None = None, slots: np.ndarray | None = None) -> None:
        self.matrix = matrix
        self._graph_file = graph.open("rb") if graph else None  # an update may remove it before it is asked
        self._graph_path = graph
        self._slots = slots
        self._one_at_a_time = threading.Lock()  # usearch keeps the state of a search by thread number, not by thread

    @classmethod
    def open(cls, folder: Path, rows: int, dim: int, graph: bool) -> Self:
        """Map the file, reading next to nothing. Raises UserError where it is not of that shape, OSError without it."""
        path = folder / (GRAPH_FILE if graph else FLAT_FILE)
        with path.open("rb") as file:
            head = np.frombuffer(file.read(_HEAD), np.uint32)
        if head.tolist() != [rows, 2 * dim] or path.stat().st_size < _HEAD + 2 * rows * dim:
            raise UserError(f"{path}: damaged, it does not hold {rows:,} vectors of {dim} numbers; build it again")
        matrix = np.memmap(path, np.uint16, "r", _HEAD, (rows, dim)).view(np.ndarray)  # whose indexing is faster
        if not graph:
            return cls(matrix)
        return cls(matrix, path, np.load(folder / SLOTS_FILE, mmap_mode="r").view(np.ndarray))

    @cached_property
    def _graph(self) -> Graph | None:
        """Raises UserError where it is damaged."""
        if self._graph_file is None:
            return None
        # By the descriptor, since the name may be gone.
        name = f"/dev/fd/{self._graph_file.fileno()}"
        try:
            view = Graph.restore(name, view=True, enable_key_lookups=False, expansion_search=EXPANSION_SEARCH)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{self._graph_path}: damaged ({error}); run clip-italian index compact") from error
        if view is None or len(view) != len(self):
            raise UserError(f"{self._graph_path}: damaged, it lacks vectors; run clip-italian index compact")
        return view

    def __len__(self) -> int:
        return len(self.matrix)

    def bits(self, positions: np.ndarray) -> np.ndarray:
        """Vectors of these rows as they are stored: (m, dim) uint16."""
        return self.matrix[positions if self._slots is None else self._slots[positions]]

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Vectors of these rows: (m, dim) float32."""
        return from_bf16(self.bits(positions))

    def nearest(
        self, query: np.ndarray, k: int, chosen: Chosen | None = None, exact: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and cosines of the k vectors nearest to `query` (dim,), best first, among the chosen rows.

        Cosines are of the float32 query with the stored vectors, whichever way they were found.
        """
        available = len(self) if chosen is None else chosen.count
        k = min(k, available)
        if k == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        if chosen is not None and chosen.count <= _FEW:
            return self._among(chosen.positions, query, k)
        if self._graph_file is not None and not exact:
            found = self._by_graph(query, k, chosen)
            if found is not None:
                return found
        if chosen is not None:
            return self._among(chosen.positions, query, k)
        return self._by_all(query, k)

    def _by_graph(self, query: np.ndarray, k: int, chosen: Chosen | None) -> tuple[np.ndarray, np.ndarray] | None:
        wanted = k + 8  # the graph's order is that of the rounded query
        if chosen is not None:
            wanted = -(-wanted * len(self) // chosen.count)
        while wanted <= max(_MOST, k + 8):
            with self._one_at_a_time:
                assert self._graph is not None
                keys = self._graph.search(query, min(wanted, len(self)), threads=1).keys
            rows = keys.astype(np.int64)
            if chosen is not None:
                rows = rows[chosen.mask[rows]]
            if len(rows) >= k:
                return self._ranked(rows, query, k)
            wanted *= 4
        return None

    def _by_all(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        # Some more than k, since the query is rounded too.
        wanted = min(len(self), k + max(32, k // 4))
        rounded = to_bf16(query[None])
        found = exact_search(self.matrix, rounded, wanted, "ip", exact=True, dtype="bf16").keys.astype(np.int64)
        return self._ranked(found if self._slots is None else self._rows_by_slot[found], query, k)

    @cached_property
    def _rows_by_slot(self) -> np.ndarray:
        assert self._slots is not None
        return np.argsort(self._slots)

    def _among(self, positions: np.ndarray, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores = np.empty(len(positions), np.float32)
        for start in range(0, len(positions), _BLOCK):
            some = positions[start : start + _BLOCK]
            scores[start : start + _BLOCK] = _cosines(self.take(some), query)
        best = np.argpartition(-scores, k - 1)[:k]
        best = best[np.lexsort((positions[best], -scores[best]))]
        return positions[best], scores[best]

    def _ranked(self, rows: np.ndarray, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores = _cosines(self.take(rows), query)
        order = np.lexsort((rows, -scores))[:k]
        return rows[order], scores[order]


class Writer:
    """Writes the vectors of a segment block by block into a folder; with `graph` also their graph.

    A graph is made in memory (its file's size). Not atomic: give it a staged folder.
    """

    def __init__(self, folder: Path, dim: int, graph: bool) -> None:
        self.rows = 0
        self._folder = folder
        self._dim = dim
        self._digests: list[np.ndarray] = []
        self._graph = (
            Graph(
                ndim=dim, metric="ip", dtype="bf16", connectivity=CONNECTIVITY, expansion_add=EXPANSION_ADD,
                enable_key_lookups=False,
            )
            if graph
            else None
        )  # fmt: skip
        self._file = None if graph else (folder / FLAT_FILE).open("wb")
        if self._file:
            self._file.write(bytes(_HEAD))

    def write(self, bits: np.ndarray) -> None:
        """Some more vectors, as (m, dim) uint16."""
        if self._file is not None:
            self._file.write(np.ascontiguousarray(bits).tobytes())
        if self._graph is not None:
            self._graph.add(np.arange(self.rows, self.rows + len(bits)), from_bf16(bits))
            self._digests.append(_digests(bits))
        self.rows += len(bits)

    def close(self) -> None:
        """Finish the files. Raises OSError where the disk is full."""
        if self._file is not None:
            self._file.seek(0)
            self._file.write(np.array([self.rows, 2 * self._dim], np.uint32).tobytes())
            self._file.close()
        if self._graph is not None:
            path = self._folder / GRAPH_FILE
            wanted = self._graph.serialized_length
            try:
                self._graph.save(path)
            except RuntimeError as error:  # usearch does not say why
                missing = wanted - (path.stat().st_size if path.exists() else 0)
                full = shutil.disk_usage(self._folder).free < missing
                code = errno.ENOSPC if full else errno.EIO
                raise OSError(code, os.strerror(code), str(path)) from error
            if path.stat().st_size < wanted:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            np.save(self._folder / SLOTS_FILE, self._slots(path))

    def _slots(self, path: Path) -> np.ndarray:
        """Where usearch has put the vector of each row; of equal vectors any may stand for the other."""
        matrix = np.memmap(path, np.uint16, "r", _HEAD, (self.rows, self._dim))
        placed = np.concatenate([_digests(matrix[start : start + _BLOCK]) for start in range(0, self.rows, _BLOCK)])
        written = np.concatenate(self._digests)
        by_digest = np.argsort(placed, kind="stable")
        order = np.argsort(written, kind="stable")
        if not np.array_equal(placed[by_digest], written[order]):
            raise UserError(f"{path}: usearch stored other vectors than it was given; report this with its version")
        slots = np.empty(self.rows, np.uint32)
        slots[order] = by_digest
        return slots


def blocks(count: int, size: int = _BLOCK) -> Iterator[slice]:
    """Slices that cover 0 … count-1."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _cosines(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Of (m, dim) with a query of unit length; stored vectors are of unit length but for rounding."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return np.asarray(vectors @ query / np.maximum(lengths, 1e-12), dtype=np.float32)


def _digests(bits: np.ndarray) -> np.ndarray:
    rows = np.ascontiguousarray(bits)
    return np.frombuffer(b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows), np.uint64)
