"""The vector engine, FAISS: `build` writes vectors to a folder, `Vectors` finds rows near a query in them.

Nothing else in `search` knows FAISS. Exact scores are up to the caller (`storage.nearest`).

Vectors are float16 in `vectors.npy`, in the order of the rows, and mapped into memory. A search looks at all of them,
or, where there is `lists.faiss`, at those in the lists nearest to the query. There FAISS keeps each vector's list and
its difference from the list's centre, in 4 bits for each two numbers (product quantisation; "fast scan" compares 32
vectors at once): an eighth of the vectors' size. A list is read into memory by the first search that looks in it, so
that the first searches read a few megabytes of any number of vectors.

Older versions wrote bfloat16 and usearch's graph; of these files only the vectors are read.
"""

import mmap
import threading
import time
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from clip_italian.errors import UserError
from clip_italian.models.runtimes import default_threads

VECTORS_FILE = "vectors.npy"
LISTS_FILE = "lists.faiss"  # centres and what codes mean
SIZES_FILE = "lists-sizes.npy"  # (lists,) uint32: the vectors of each list
BLOCKS_FILE = "lists-blocks.npy"  # list after list in blocks of 32 vectors: their rows, and codes as FAISS packs them

# Chosen by benchmarks/engines.py, on parts of photos asked for by captions.
PROBES = 96  # lists to look at
CANDIDATES = 400  # fewest that are compared exactly
_WIDER = 0.85  # power of the number of rows for each that is chosen, by which more lists are looked at
_LISTS_PER_ROOT = 2  # lists for each square root of the number of vectors
_TRAINED_ON = 64  # vectors for each list that centres and codes are learnt from
_ITERATIONS = 10
_BITS = 4  # of a code
_CODES = 17  # compared by FAISS, one after the other in memory, in the time of a vector read from anywhere in the file

BLOCK = 8_192  # vectors loaded into memory at a time
# So few vectors are compared by numpy in less time than FAISS takes to load.
_FEW = 20_000
_FROM_MEMORY = 5e-6  # seconds that a vector takes at most that need not be read from the disk: 0.25 µs on average
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

    def __init__(
        self, matrix: np.ndarray, slots: np.ndarray | None = None, lists: "_Lists | None" = None, is_old: bool = False
    ) -> None:
        self._mapped = matrix  # (n, dim) float16; uint16 of older versions, in the order of `slots`
        self._matrix = matrix.view(np.ndarray)  # indexing a memmap is slower
        self._slots = slots
        self._lists = lists
        self._waits = True  # for the disk
        # An older version wrote them, without lists: a search looks at all of them.
        self.is_old = is_old

    @classmethod
    def open(cls, folder: Path, rows: int, dim: int, indexed: bool) -> Self:
        """Map the files, reading next to nothing. Raises UserError for another shape, OSError for a missing file."""
        path = folder / VECTORS_FILE
        for name in _OLD_FILES:
            if (folder / name).exists():
                return cls._open_old(folder / name, rows, dim)
        try:
            matrix = np.load(path, mmap_mode="r")
            has_lists = indexed and (folder / SIZES_FILE).exists()
            lists = _Lists(folder, rows) if has_lists else None
        except (ValueError, EOFError) as error:
            raise UserError(f"{folder}: its vectors are damaged ({error}); build the index again") from error
        if matrix.shape != (rows, dim) or matrix.dtype != np.float16:
            raise UserError(f"{path}: damaged, it does not hold {rows:,} vectors of {dim} numbers; build it again")
        return cls(matrix, lists=lists, is_old=indexed and not has_lists)

    @classmethod
    def _open_old(cls, path: Path, rows: int, dim: int) -> Self:
        with path.open("rb") as file:
            head = np.frombuffer(file.read(_OLD_HEAD), np.uint32)
        if head.tolist() != [rows, 2 * dim] or path.stat().st_size < _OLD_HEAD + 2 * rows * dim:
            raise UserError(f"{path}: damaged, it does not hold {rows:,} vectors of {dim} numbers; build it again")
        matrix = np.memmap(path, np.uint16, "r", _OLD_HEAD, (rows, dim))
        slots = path.with_name(_OLD_SLOTS_FILE)
        order = np.load(slots, mmap_mode="r").view(np.ndarray) if slots.exists() else None
        return cls(matrix, order, is_old=True)

    def __len__(self) -> int:
        return len(self._matrix)

    @property
    def has_lists(self) -> bool:
        """True where candidates come from lists, which may miss some."""
        return self._lists is not None

    def half(self, rows: np.ndarray | slice) -> np.ndarray:
        """The stored vectors of these rows: (m, dim) float16."""
        return halved(self._matrix[rows if self._slots is None else self._slots[rows]])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of these rows: (m, dim) float32."""
        return self.half(rows).astype(np.float32)

    def candidates(self, query: np.ndarray, count: int, chosen: Chosen | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Rows (m,) int64 near a query (dim,) of unit length, ascending, and roughly their products (m,) with it.

        They are from the lists nearest to the query, among all or the chosen; `count` or more where the lists have as
        many. Some of the nearest may be missing. Raises UserError where the lists are damaged.
        """
        assert self._lists is not None
        wanted = self._wanted(count)
        rows, products = self._lists.search(query, wanted, round(self._probes(wanted, chosen)), chosen)
        there = np.flatnonzero(rows >= 0)
        order = there[np.argsort(rows[there])]  # that of the file, in which they are read next
        return rows[order], products[order]

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
        return min(max(PROBES * (len(self) / rows) ** _WIDER, 4 * wanted * lists / rows), lists)

    def best(self, query: np.ndarray, count: int, rows: np.ndarray | None = None) -> np.ndarray:
        """The `count` rows (int64) with the largest product with a query (dim,), best first, among `rows` or all."""
        total = len(self) if rows is None else len(rows)
        best, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
        for some in blocks(total):
            here = np.arange(some.start, some.stop) if rows is None else rows[some]
            at, products = self._largest(self.half(some) if rows is None else self._scattered(here), query, count)
            best, scores = np.concatenate([best, here[at]]), np.concatenate([scores, products])
            order = np.argsort(-scores, kind="stable")[:count]
            best, scores = best[order], scores[order]
        return best

    def _scattered(self, rows: np.ndarray) -> np.ndarray:
        """`half` of rows from anywhere in the file, asked for at once as long as they have to be read from the disk."""
        if self._waits:
            _read_ahead(self._mapped, rows, rows + 1)
        started = time.perf_counter()
        found = self.half(rows)
        self._waits = time.perf_counter() - started > _FROM_MEMORY * len(rows)
        return found

    def _largest(self, vectors: np.ndarray, query: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and products of the `count` of some vectors (m, dim) float16 with the largest products."""
        count = min(count, len(vectors))
        if self.has_lists or len(self) > _FEW:  # in four tenths of the time, as numpy converts one number at a time
            faiss = _faiss()
            faiss.omp_set_num_threads(1)
            stored = _half_index(len(query))
            stored.add_sa_codes(np.ascontiguousarray(vectors).view(np.uint8))
            products, at = stored.search(_matrix_of(query), count)
            return at[0], products[0]
        scores = vectors.astype(np.float32) @ query
        # Of equal ones the first, so that the next page goes on where this one ends.
        largest = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
        largest = largest[np.argsort(-scores[largest], kind="stable")[:count]]
        return largest, scores[largest]


class _Lists:
    """FAISS's lists of one segment, read from their files when a search first looks in them."""

    def __init__(self, folder: Path, rows: int) -> None:
        # Mapped now, as an update may remove the files before the first search.
        self._path = folder / LISTS_FILE
        self._rows = rows
        self._stored = np.memmap(self._path, np.uint8, "r")
        self._sizes = np.load(folder / SIZES_FILE)
        self._blocks = np.load(folder / BLOCKS_FILE, mmap_mode="r")
        self._index: Any = None
        self._lock = threading.Lock()

    def search(
        self, query: np.ndarray, count: int, probes: int, chosen: Chosen | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows (count,) int64 near a query (dim,) in the `probes` lists nearest to it, and roughly their products.

        Rows are -1 where there are fewer. Raises UserError where a file is damaged.
        """
        faiss = _faiss()
        if self._index is None:
            self._open()
        faiss.omp_set_num_threads(1)  # of this Python thread: others search at the same time
        question = _matrix_of(query)
        centres, numbers = self._index.quantizer.search(question, probes)
        missing = numbers[0][~self._is_read[numbers[0]]]
        if len(missing):
            self._read(missing)
        settings = faiss.SearchParametersIVF(nprobe=probes, sel=chosen and faiss.IDSelectorBitmap(chosen.bits))
        products, rows = np.empty((1, count), np.float32), np.empty((1, count), np.int64)
        pointers = [faiss.swig_ptr(one) for one in (numbers, centres, products, rows)]
        # FAISS's own wrapper for Python takes no settings.
        self._index.search_preassigned_c(1, faiss.swig_ptr(question), count, *pointers, False, settings)
        return rows[0], products[0]

    def _open(self) -> None:
        """Read the centres, and what codes mean."""
        with self._lock:
            if self._index is not None:
                return
            faiss = _faiss()
            try:
                index = faiss.deserialize_index(self._stored)
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[-1]
                raise self._damaged(reason) from error
            self._kept = faiss.downcast_InvertedLists(index.invlists)
            self._starts = np.concatenate([[0], np.cumsum(_block_counts(self._sizes, self._kept))])
            shapes = (self._sizes.shape, int(self._sizes.sum()), self._blocks.shape, self._blocks.dtype)
            there = ((index.nlist,), self._rows, (self._starts[-1],), _block_type(self._kept))
            if shapes != there:
                raise self._damaged("vectors are missing")
            self._is_read = self._sizes == 0
            self._index = index

    def _read(self, numbers: np.ndarray) -> None:
        """Read these lists into memory."""
        faiss = _faiss()
        with self._lock:
            numbers = numbers[~self._is_read[numbers]]
            _read_ahead(self._blocks, self._starts[numbers], self._starts[numbers + 1])
            for number, size in zip(numbers.tolist(), self._sizes[numbers].tolist(), strict=True):
                blocks = self._blocks[self._starts[number] : self._starts[number + 1]]
                self._kept.resize(number, size)
                faiss.rev_swig_ptr(self._kept.get_ids(number), size)[:] = blocks["rows"].ravel()[:size]
                codes = blocks["codes"].ravel()
                faiss.rev_swig_ptr(self._kept.get_codes(number), len(codes))[:] = codes
                self._is_read[number] = True

    def _damaged(self, reason: str) -> UserError:
        return UserError(f"{self._path}: damaged ({reason}); run clip-italian index compact")


def _block_type(kept: Any) -> np.dtype:
    """One element of `BLOCKS_FILE` for FAISS's inverted lists."""
    return np.dtype([("rows", "<u4", (kept.n_per_block,)), ("codes", "u1", (kept.block_size,))])


def _block_counts(sizes: np.ndarray, kept: Any) -> np.ndarray:
    """The number of blocks (lists,) int64 of lists with so many vectors."""
    return np.asarray(-(-sizes.astype(np.int64) // kept.n_per_block))


def _read_ahead(mapped: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> None:
    """Ask the system for elements of a mapped file all at once, where touching them waits for one after the other."""
    if not isinstance(mapped, np.memmap) or not hasattr(mmap, "MADV_WILLNEED"):
        return
    pages = mapped.base
    assert isinstance(pages, mmap.mmap)
    size = mapped.strides[0]
    firsts, ends = mapped.offset + starts * size, mapped.offset + stops * size
    firsts -= firsts % mmap.PAGESIZE
    for first, length in zip(firsts.tolist(), (ends - firsts).tolist(), strict=True):
        pages.madvise(mmap.MADV_WILLNEED, first, length)


def build(folder: Path, dim: int, vectors: Iterable[np.ndarray], indexed: bool) -> int:
    """Write vectors, given as blocks (m, dim) float16, with or without lists; return their number.

    Lists are made in memory (an eighth of the vectors' size). Not atomic: pass a staged folder. Raises OSError on a
    full disk.
    """
    path = folder / VECTORS_FILE
    rows = 0
    with path.open("wb") as file:
        _write_head(file, np.dtype("<f2"), (0, dim))
        start = file.tell()
        for block in vectors:
            file.write(np.ascontiguousarray(block, np.float16).tobytes())
            rows += len(block)
        file.seek(0)
        _write_head(file, np.dtype("<f2"), (rows, dim))
        assert file.tell() == start
    if indexed:
        _write_lists(folder, _trained(np.load(path, mmap_mode="r")))
    return rows


def _write_head(file: BinaryIO, kind: np.dtype, shape: tuple[int, ...]) -> None:
    """The head of `numpy.save`'s files. It has space for any number of rows, so that it can be written again."""
    head = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)


def _write_lists(folder: Path, lists: Any) -> None:
    """Write FAISS's lists to the three files, and empty them."""
    faiss = _faiss()
    # In half precision they are compared in half the time. Only filling lists is faster in float32, by BLAS.
    centres = _half_index(lists.d)
    centres.add(lists.quantizer.reconstruct_n(0, lists.nlist))
    lists.quantizer = centres
    kept = faiss.downcast_InvertedLists(lists.invlists)
    kind = _block_type(kept)
    sizes = np.array([kept.list_size(number) for number in range(lists.nlist)], np.uint32)
    blocks = _block_counts(sizes, kept)
    np.save(folder / SIZES_FILE, sizes)
    with (folder / BLOCKS_FILE).open("wb") as file:
        _write_head(file, kind, (int(blocks.sum()),))
        for number in np.flatnonzero(sizes).tolist():
            some = np.zeros(blocks[number], kind)
            rows = np.zeros(some["rows"].size, np.uint32)
            rows[: sizes[number]] = faiss.rev_swig_ptr(kept.get_ids(number), int(sizes[number]))
            some["rows"] = rows.reshape(some["rows"].shape)
            some["codes"] = faiss.rev_swig_ptr(kept.get_codes(number), some["codes"].size).reshape(some["codes"].shape)
            file.write(some.tobytes())
    lists.reset()
    with (folder / LISTS_FILE).open("wb") as file:
        file.write(faiss.serialize_index(lists).data)


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


def _half_index(dim: int) -> Any:
    """An empty index of FAISS's that compares a query with all vectors, in half precision, by product."""
    faiss = _faiss()
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True  # half precision has nothing to learn
    return index


def _faiss() -> Any:
    """FAISS, loaded when it is first needed: that takes 0.06 s."""
    import faiss

    return faiss
