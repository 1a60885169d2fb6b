"""The vector engine, FAISS: `build` writes vectors to a folder, `Vectors` finds rows near a query in them.

Nothing else in `search` knows FAISS. Exact scores are up to the caller (`storage.nearest`).

Vectors are float16 in `vectors.npy`, in the order of the rows, and mapped into memory. A search looks at all of them,
or, where there is `lists.faiss`, at those in the lists nearest to the query. There FAISS keeps each vector's list and
its difference from the list's centre, in 4 bits for each two numbers (product quantisation; "fast scan" compares 32
vectors at once): an eighth of the vectors' size, read into memory by the first search.

Older versions wrote bfloat16 and usearch's graph; of these files only the vectors are read.
"""

import threading
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from clip_italian.errors import UserError
from clip_italian.models.runtimes import default_threads

VECTORS_FILE = "vectors.npy"
LISTS_FILE = "lists.faiss"

# Chosen by benchmarks/engines.py, on parts of photos asked for by captions.
PROBES = 96  # lists to look at
CANDIDATES = 400  # fewest that are compared exactly
_LISTS_PER_ROOT = 2  # lists for each square root of the number of vectors
_TRAINED_ON = 64  # vectors for each list that centres and codes are learnt from
_ITERATIONS = 10
_BITS = 4  # of a code
_CODES = 17  # compared by FAISS, one after the other in memory, in the time of a vector read from anywhere in the file

BLOCK = 8_192  # vectors loaded into memory at a time
# So few vectors are compared by numpy in less time than FAISS takes to load.
_FEW = 20_000
_OLD_FILES = ("vectors.bbin", "vectors.usearch")
_OLD_SLOTS_FILE = "slots.npy"
_OLD_HEAD = 8  # bytes before the matrix: the number of rows and the bytes per row, two uint32


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """Slices that cover 0 … count-1."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def halved(vectors: np.ndarray) -> np.ndarray:
    """Vectors as they are stored: float16 of the same shape. Older versions stored bfloat16 as uint16."""
    if vectors.dtype == np.uint16:
        vectors = (vectors.astype(np.uint32) << 16).view(np.float32)
    return vectors.astype(np.float16, copy=False)


class Chosen:
    """The rows of a segment that a search may return: a mask (n,) of booleans, and their number."""

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask
        self.count = int(np.count_nonzero(mask))

    @cached_property
    def positions(self) -> np.ndarray:
        """Their positions, ascending."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bits(self) -> np.ndarray:
        """The mask as bits, the first row's the lowest of the first byte."""
        return np.packbits(self.mask, bitorder="little")


class Vectors:
    """Opened vectors of one segment. Threads may share them."""

    def __init__(self, matrix: np.ndarray, slots: np.ndarray | None = None, lists: Path | None = None) -> None:
        self._matrix = matrix  # (n, dim) float16; uint16 of older versions, in the order of `slots`
        self._slots = slots
        self._path = lists
        # Mapped now, as an update may remove the file before the first search.
        self._stored_lists = None if lists is None else np.memmap(lists, np.uint8, "r")
        self._read_lists: Any = None
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path, rows: int, dim: int, indexed: bool) -> Self:
        """Map the file, reading next to nothing. Raises UserError for another shape, OSError for a missing file."""
        path = folder / VECTORS_FILE
        for name in _OLD_FILES:
            if (folder / name).exists():
                return cls._open_old(folder / name, rows, dim)
        try:
            matrix = np.load(path, mmap_mode="r").view(np.ndarray)  # indexing a memmap is slower
            found = cls(matrix, lists=folder / LISTS_FILE if indexed else None)
        except (ValueError, EOFError) as error:
            raise UserError(f"{folder}: its vectors are damaged ({error}); build the index again") from error
        if matrix.shape != (rows, dim) or matrix.dtype != np.float16:
            raise UserError(f"{path}: damaged, it does not hold {rows:,} vectors of {dim} numbers; build it again")
        return found

    @classmethod
    def _open_old(cls, path: Path, rows: int, dim: int) -> Self:
        with path.open("rb") as file:
            head = np.frombuffer(file.read(_OLD_HEAD), np.uint32)
        if head.tolist() != [rows, 2 * dim] or path.stat().st_size < _OLD_HEAD + 2 * rows * dim:
            raise UserError(f"{path}: damaged, it does not hold {rows:,} vectors of {dim} numbers; build it again")
        matrix = np.memmap(path, np.uint16, "r", _OLD_HEAD, (rows, dim)).view(np.ndarray)
        slots = path.with_name(_OLD_SLOTS_FILE)
        return cls(matrix, np.load(slots, mmap_mode="r").view(np.ndarray) if slots.exists() else None)

    def __len__(self) -> int:
        return len(self._matrix)

    @property
    def has_lists(self) -> bool:
        """True where candidates come from lists, which may miss some."""
        return self._stored_lists is not None

    @property
    def is_old(self) -> bool:
        """True where an older version wrote them; a search looks at all of them."""
        return self._matrix.dtype == np.uint16

    def half(self, rows: np.ndarray | slice) -> np.ndarray:
        """The stored vectors of these rows: (m, dim) float16."""
        return halved(self._matrix[rows if self._slots is None else self._slots[rows]])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of these rows: (m, dim) float32."""
        return self.half(rows).astype(np.float32)

    def candidates(self, query: np.ndarray, count: int, chosen: Chosen | None = None) -> np.ndarray:
        """Rows (int64) near a query (dim,) of unit length, from the lists nearest to it, among all or the chosen.

        They are `count` or more where the lists have as many. Some of the nearest may be missing. Raises UserError
        where the lists are damaged.
        """
        faiss, lists = _faiss(), self._lists()
        wanted = self._wanted(count)
        faiss.omp_set_num_threads(1)  # of this Python thread: others search at the same time
        settings = faiss.SearchParametersIVF(
            nprobe=round(self._probes(wanted, chosen)), sel=chosen and faiss.IDSelectorBitmap(chosen.bits)
        )
        _, rows = lists.search(_matrix_of(query), wanted, params=settings)
        return np.sort(rows[0][rows[0] >= 0])  # in the order of the file, in which they are read next

    def are_few(self, count: int, chosen: Chosen) -> bool:
        """True where comparing all of the chosen takes no longer than looking for `count` of them in the lists."""
        return _CODES * chosen.count <= self._probes(self._wanted(count), chosen) * len(self) / _list_count(len(self))

    def _wanted(self, count: int) -> int:
        return min(max(CANDIDATES, 4 * count), len(self))

    def _probes(self, wanted: int, chosen: Chosen | None) -> float:
        """The number of lists to look at: enough for several times as many rows as wanted.

        The fewer rows are chosen, the farther off lie the nearest of them.
        """
        lists, rows = _list_count(len(self)), len(self) if chosen is None else chosen.count
        return min(max(PROBES * (len(self) / rows) ** 0.5, 4 * wanted * lists / rows), lists)

    def best(self, query: np.ndarray, count: int, rows: np.ndarray | None = None) -> np.ndarray:
        """The `count` rows (int64) with the largest product with a query (dim,), best first, among `rows` or all."""
        total = len(self) if rows is None else len(rows)
        best, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
        for some in blocks(total):
            here = np.arange(some.start, some.stop) if rows is None else rows[some]
            at, products = self._largest(self.half(some if rows is None else here), query, count)
            best, scores = np.concatenate([best, here[at]]), np.concatenate([scores, products])
            order = np.argsort(-scores, kind="stable")[:count]
            best, scores = best[order], scores[order]
        return best

    def _largest(self, vectors: np.ndarray, query: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and products of the `count` of some vectors (m, dim) float16 with the largest products."""
        count = min(count, len(vectors))
        if self.has_lists or len(self) > _FEW:  # in four tenths of the time, as numpy converts one number at a time
            faiss = _faiss()
            faiss.omp_set_num_threads(1)
            stored = faiss.IndexScalarQuantizer(len(query), faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
            stored.is_trained = True  # half precision has nothing to learn
            stored.add_sa_codes(np.ascontiguousarray(vectors).view(np.uint8))
            products, at = stored.search(_matrix_of(query), count)
            return at[0], products[0]
        scores = vectors.astype(np.float32) @ query
        # Of equal ones the first, so that the next page goes on where this one ends.
        largest = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
        largest = largest[np.argsort(-scores[largest], kind="stable")[:count]]
        return largest, scores[largest]

    def _lists(self) -> Any:
        """The lists, read by the first search: an eighth of the vectors' size."""
        with self._lock:
            if self._read_lists is None:
                try:
                    lists = _faiss().deserialize_index(self._stored_lists)
                except RuntimeError as error:
                    reason = str(error).strip().splitlines()[-1]
                    raise UserError(f"{self._path}: damaged ({reason}); run clip-italian index compact") from error
                if lists.ntotal != len(self):
                    raise UserError(f"{self._path}: damaged, vectors are missing; run clip-italian index compact")
                self._read_lists = lists
            return self._read_lists


def build(folder: Path, dim: int, vectors: Iterable[np.ndarray], indexed: bool) -> int:
    """Write vectors, given as blocks (m, dim) float16, with or without lists; return their number.

    Lists are made in memory (an eighth of the vectors' size, twice). Not atomic: pass a staged folder. Raises OSError
    on a full disk.
    """
    path = folder / VECTORS_FILE
    rows = 0
    with path.open("wb") as file:
        _write_head(file, 0, dim)
        start = file.tell()
        for block in vectors:
            file.write(np.ascontiguousarray(block, np.float16).tobytes())
            rows += len(block)
        file.seek(0)
        _write_head(file, rows, dim)
        assert file.tell() == start
    if indexed:
        lists = _trained(np.load(path, mmap_mode="r"))
        with (folder / LISTS_FILE).open("wb") as file:
            file.write(_faiss().serialize_index(lists).data)
    return rows


def _write_head(file: BinaryIO, rows: int, dim: int) -> None:
    """The head of `numpy.save`'s files. It has space for any number of rows, so that it can be written again."""
    np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": (rows, dim)})


def _list_count(rows: int) -> int:
    return min(max(1, 2 ** round(np.log2(_LISTS_PER_ROOT * rows**0.5))), rows)


def _trained(matrix: np.ndarray) -> Any:
    """Lists of all vectors of a matrix (n, dim), with centres and codes learnt from a sample."""
    faiss = _faiss()
    rows, dim = matrix.shape
    # With one thread OpenMP starts none, without which a forked process would wait for ever.
    threads = default_threads() if rows > _FEW else 1
    count = _list_count(rows)
    pairs = dim // 2 if dim % 2 == 0 else dim
    lists = faiss.IndexIVFPQFastScan(faiss.IndexFlatIP(dim), dim, count, pairs, _BITS, faiss.METRIC_INNER_PRODUCT)
    lists.cp.niter = lists.pq.cp.niter = _ITERATIONS
    lists.cp.min_points_per_centroid = lists.pq.cp.min_points_per_centroid = 1  # it would print a warning
    some = np.random.default_rng(0).choice(rows, min(rows, _TRAINED_ON * count), replace=False)
    sample = matrix[np.sort(some)].astype(np.float32)
    sample = np.resize(sample, (max(len(sample), 2**_BITS), dim))  # as many as there are codes at least
    faiss.omp_set_num_threads(threads)
    faiss.Clustering(dim, count, lists.cp).train(sample, lists.quantizer)
    # A code is of two numbers: so little work that threads would wait for each other, a minute beside other programs.
    faiss.omp_set_num_threads(1)
    lists.train(sample)
    faiss.omp_set_num_threads(threads)
    for block in blocks(rows):
        lists.add(matrix[block].astype(np.float32))
    return lists


def _matrix_of(query: np.ndarray) -> np.ndarray:
    """A query (dim,) as FAISS takes it: (1, dim) float32."""
    return np.ascontiguousarray(query[None], np.float32)


def _faiss() -> Any:
    """FAISS, loaded when it is first needed: that takes 0.06 s."""
    import faiss

    return faiss
