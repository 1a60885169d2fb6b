"""The files of an index folder, and the search in them.

    index.json               model, folders, and the segments of this generation
    segment-000005-0/ …      segments: rows.parquet, names.arrow, words.arrow, vectors.npy, in large ones
                             lists.faiss, lists-sizes.npy and lists-blocks.npy
    deleted-000005-1.npy     deleted rows of a segment
    left-out-000005.jsonl    pictures that could not be indexed, with the reason

Only index.json is ever replaced, atomically; all other files are written once. An update writes new files beside the
old ones, then replaces index.json, then removes the files that it does not name. A reader that opened the index earlier
keeps the files that it mapped; one that opens it while files are removed reads index.json again.
"""

import errno
import json
import re
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Self

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from clip_italian.errors import UserError
from clip_italian.files.atomic import fsync, staged
from clip_italian.files.digests import sha256_of
from clip_italian.files.mapped import open_arrow
from clip_italian.pipeline.rejects import Reject, read_rejects, write_rejects
from clip_italian.search import engine
from clip_italian.search.engine import Chosen, Vectors, blocks
from clip_italian.search.filters import Filter
from clip_italian.search.schema import FORMAT, READABLE, ROWS, Manifest, Row, StoredSegment, conformed, moment
from clip_italian.search.words import WORDS_FILE, Words, WordsWriter, shares, weights

if TYPE_CHECKING:
    import pyarrow.parquet as pq

MANIFEST_FILE = "index.json"
ROWS_FILE = "rows.parquet"
NAMES_FILE = "names.arrow"
ROW_BATCH = 65_536  # rows of a batch in NAMES_FILE and of a row group in ROWS_FILE

_OURS = re.compile(
    r"\.?(vectors\.usearch|rows\.parquet|segment-\d{6,}-\d+|deleted-\d{6,}-\d+\.npy|left-out-\d{6,}\.jsonl|index\.json)(-\w+)?"
)
_NAMES = ("row", "id", "root", "path", "offset", "length", "look", "taken", "latitude", "longitude")
_SLOW_FROM = 20_000  # vectors of an older version, which has no lists
_MARGIN = 32  # further rows by product: their order by cosine differs a little, as rounding changes lengths
_FILTERS_KEPT = 8
_TRIES = 20


def read_manifest(folder: Path) -> Manifest:
    """The current index.json. Raises UserError where the folder is no index, or one of an older version."""
    path = folder / MANIFEST_FILE
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder}: no index here; make one with `clip-italian index build`") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); change who may read it") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged, no JSON; build the index again with `clip-italian index build`") from error
    if not isinstance(data, dict) or data.get("format") not in READABLE:
        found = data.get("format") if isinstance(data, dict) else None
        raise UserError(
            f"{path}: an index of format {found}, not {FORMAT}; build it again with `clip-italian index build`"
        )
    try:
        return Manifest(**data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: damaged at {place} ({first['msg']}); build the index again") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace index.json atomically, then remove the files that it does not name."""
    folder.mkdir(parents=True, exist_ok=True)
    with staged(folder / MANIFEST_FILE) as temporary:
        text = manifest.model_dump_json(indent=2, exclude_none=True)
        temporary.write_text(text + "\n", encoding="utf-8")
        fsync(temporary)
    fsync(folder)
    _remove_unnamed(folder, manifest)


def _remove_unnamed(folder: Path, manifest: Manifest) -> None:
    """Remove files of other generations, and half-written ones of killed runs."""
    kept = {MANIFEST_FILE, manifest.left_out_file}
    for stored in manifest.segments:
        kept |= {stored.name, stored.deleted_file}
    for path in folder.iterdir():
        if path.name not in kept and is_index_file(path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def is_index_file(name: str) -> bool:
    """True for the name of a file or folder of an index, also of older formats."""
    return bool(_OURS.fullmatch(name))


def write_left_out(folder: Path, generation: int, rejects: Sequence[Reject]) -> str | None:
    """List the pictures that could not be indexed; return the file's name, None without any."""
    if not rejects:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"left-out-{generation:06d}.jsonl"
    with staged(path) as temporary:
        write_rejects(rejects, temporary)
        fsync(temporary)
    return path.name


def read_left_out(folder: Path, manifest: Manifest) -> list[Reject]:
    """The pictures that could not be indexed, with the reason."""
    return list(read_rejects(folder / manifest.left_out_file)) if manifest.left_out_file else []


class Rows:
    """Opened rows of one segment. Nothing is read in advance.

    `rows.parquet` holds every column, for filters, updates and other programs. Reading one row of Parquet takes
    milliseconds; a search wants ten in less than one. So `names.arrow` repeats the columns of `schema.Row`,
    uncompressed and memory-mapped, in batches of equal length.
    """

    def __init__(self, folder: Path, rows: int, names: pa.RecordBatchFileReader, file: BinaryIO) -> None:
        self._folder = folder
        self._rows = rows
        self._names = names
        self._file = file
        self._batches: dict[int, dict[str, pa.Array]] = {}

    @classmethod
    def open(cls, folder: Path, rows: int) -> Self:
        """Open both files and keep them open, since an update may remove them.

        Raises UserError where they hold another number of rows, OSError where they are missing.
        """
        try:
            names = open_arrow(folder / NAMES_FILE, scattered=True)
            file = (folder / ROWS_FILE).open("rb")
        except pa.ArrowInvalid as error:
            raise UserError(f"{folder}: its rows are damaged ({error}); build the index again") from error
        if names.num_record_batches != -(-rows // ROW_BATCH):
            raise UserError(f"{folder}: its rows are damaged, there are not {rows:,}; build the index again")
        return cls(folder, rows, names, file)

    @cached_property
    def _table(self) -> "pq.ParquetFile":
        """`rows.parquet`, read when its columns are first needed: most searches need none."""
        import pyarrow.parquet as pq

        try:
            # By its descriptor, as the name may be gone.
            table = pq.ParquetFile(f"/dev/fd/{self._file.fileno()}", memory_map=True)
        except pa.ArrowInvalid as error:
            raise UserError(f"{self._folder}: its rows are damaged ({error}); build the index again") from error
        if table.metadata.num_rows != self._rows:
            raise UserError(
                f"{self._folder}: its rows are damaged, there are not {self._rows:,}; build the index again"
            )
        return table

    def __getitem__(self, position: int) -> Row:
        columns, at = self._batch(position // ROW_BATCH), position % ROW_BATCH
        values: list[Any] = [_value(columns[name][at]) if name in columns else None for name in _NAMES]
        number, id_, root, path, *others = values
        return Row(number, path if id_ is None else id_, root, path, *others)

    def position(self, number: int) -> int | None:
        """The position of a row number, by bisection: they ascend within a segment."""
        low, high = 0, self._rows
        while low < high:
            middle = (low + high) // 2
            if self._batch(middle // ROW_BATCH)["row"][middle % ROW_BATCH].as_py() < number:
                low = middle + 1
            else:
                high = middle
        there = low < self._rows and self._batch(low // ROW_BATCH)["row"][low % ROW_BATCH].as_py() == number
        return low if there else None

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Some columns of all rows; those that an older version did not write are null."""
        schema = pa.schema([ROWS.field(name) for name in names])
        there = [name for name in names if name in self._table.schema_arrow.names]
        if not there:
            return pa.table([pa.nulls(self._rows, field.type) for field in schema], schema=schema)
        return conformed(self._table.read(columns=there), schema)

    def fields(self, position: int, names: Sequence[str]) -> dict[str, Any]:
        """Some columns of one row; those that an older version did not write are None."""
        group = self._table.read_row_group(position // ROW_BATCH, columns=list(names))
        return dict.fromkeys(names) | group.slice(position % ROW_BATCH, 1).to_pylist()[0]

    def _batch(self, number: int) -> dict[str, pa.Array]:
        if number not in self._batches:
            batch = self._names.get_batch(number)
            columns = {name: batch.column(name) for name in _NAMES if name in batch.schema.names}
            # Without empty columns: a search reads every column of ten rows, a microsecond each.
            self._batches[number] = {name: one for name, one in columns.items() if one.null_count < len(one)}
        return self._batches[number]


def _value(scalar: pa.Scalar) -> Any:
    """The Python value of a scalar. To convert a moment, pyarrow itself loads pandas if it can, which takes 0.2 s."""
    if isinstance(scalar, pa.TimestampScalar):
        return moment(scalar.value)
    return scalar.as_py()


class RowsWriter:
    """Writes the rows of a segment, in batches of `ROW_BATCH`. Not atomic: pass a staged folder.

    `types` are those of `names_types`.
    """

    def __init__(self, folder: Path, types: Mapping[str, pa.DataType]) -> None:
        import pyarrow.parquet as pq

        self._waiting: list[pa.Table] = []
        repeated = ["root", "source", "license", "location", "camera", "keywords.list.element"]
        self._table = pq.ParquetWriter(folder / ROWS_FILE, ROWS, compression="zstd", use_dictionary=repeated)
        # Without `nullable=False`: an id is null where it equals the path.
        self._names_schema = pa.schema([pa.field(name, types.get(name, ROWS.field(name).type)) for name in _NAMES])
        self._names = pa.ipc.new_file(str(folder / NAMES_FILE), self._names_schema)

    def write(self, table: pa.Table) -> None:
        """Add rows with the columns `schema.ROWS`."""
        self._waiting.append(table)
        if sum(map(len, self._waiting)) >= ROW_BATCH:
            self._flush(everything=False)

    def close(self) -> None:
        """Write the rest and finish the files."""
        self._flush(everything=True)
        self._table.close()
        self._names.close()

    def _flush(self, everything: bool) -> None:
        table = pa.concat_tables(self._waiting) if self._waiting else ROWS.empty_table()
        start = 0
        while len(table) - start >= (1 if everything else ROW_BATCH):
            some = table.slice(start, ROW_BATCH).combine_chunks()
            start += len(some)
            self._table.write_table(some)
            self._names.write_batch(self._named(some.to_batches()[0]))
        self._waiting = [table.slice(start)]

    def _named(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        import pyarrow.compute as pc

        schema = self._names_schema
        columns: dict[str, Any] = {name: rows[name] for name in _NAMES}
        other = pc.not_equal(rows["id"], rows["path"])
        columns["id"] = pc.replace_with_mask(pa.nulls(len(rows), pa.string()), other, rows["id"].filter(other))
        arrays = [
            pa.nulls(len(rows)) if pa.types.is_null(field.type) else columns[field.name].cast(field.type)
            for field in schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def names_types(rows: pa.Table) -> dict[str, pa.DataType]:
    """Types of columns in `names.arrow` that take less space than those of `schema.ROWS`, for these rows.

    Columns in which all rows are null take none, nor do ids that are the paths.
    """
    import pyarrow.compute as pc

    types = {name: pa.null() for name in _NAMES if rows[name].null_count == len(rows)}
    if pc.all(pc.equal(rows["id"], rows["path"])).as_py():
        types["id"] = pa.null()
    if (pc.max(rows["row"]).as_py() or 0) < 1 << 32:
        types["row"] = pa.uint32()
    return types


def nearest(
    vectors: Vectors, query: np.ndarray, k: int, chosen: Chosen | None = None, exact: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and cosines of the k vectors nearest to a query (dim,) of unit length, best first, among the chosen.

    Cosines are those of the float32 query with the stored vectors, however these were found. `exact` looks at all
    vectors.
    """
    _, positions, cosines = nearest_in([(vectors, chosen)], query, k, exact)
    return positions, cosines


def nearest_in(
    parts: Sequence[tuple[Vectors, Chosen | None]], query: np.ndarray, k: int, exact: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`nearest` in several segments: for each of the k found its segment's number in `parts`, position, and cosine."""
    listed: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    compared: dict[int, np.ndarray | None] = {}  # positions by segment; None for all
    for number, (vectors, chosen) in enumerate(parts):
        wanted = min(k, len(vectors) if chosen is None else chosen.count)
        if wanted and vectors.has_lists and not exact and not (chosen and vectors.are_few(wanted, chosen)):
            found = vectors.candidates(query, wanted, chosen)
            if len(found[0]) >= wanted:
                listed[number] = found
                continue
        if wanted:
            compared[number] = None if chosen is None else chosen.positions
    if listed:
        # Of all segments together as many as of one: each of them may have to be read from the disk.
        most = max(len(rows) for rows, _ in listed.values())
        least = _kth_largest(np.concatenate([products for _, products in listed.values()]), most)
        compared |= {number: rows[products >= least] for number, (rows, products) in listed.items()}
    best = {number: _ranked(parts[number][0], query, k, rows) for number, rows in compared.items()}
    numbers = np.repeat(np.array(list(best), np.int64), [len(rows) for rows, _ in best.values()])
    positions = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in best.values())])
    cosines = np.concatenate([np.zeros(0, np.float32), *(scores for _, scores in best.values())])
    order = np.lexsort((positions, numbers, -cosines))[:k]
    return numbers[order], positions[order], cosines[order]


def _kth_largest(values: np.ndarray, k: int) -> float:
    """The k-th largest of some numbers; the least, or 1, where there are fewer."""
    return float(np.partition(values, -k)[-k]) if len(values) > k else float(values.min(initial=1.0))


def _ordered(vectors: Vectors, query: np.ndarray | None, k: int, chosen: Chosen) -> tuple[np.ndarray, np.ndarray]:
    """`nearest`, or without a query the first k of the chosen, whose cosines are then NaN."""
    if query is not None:
        return nearest(vectors, query, k, chosen)
    return chosen.positions[:k], np.full(min(k, chosen.count), np.nan, np.float32)


def _ranked(vectors: Vectors, query: np.ndarray, k: int, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The k of some rows, or of all, with the largest cosines, best first."""
    best = vectors.best(query, k + _MARGIN, rows)
    scores = cosines_of(vectors.take(best), query)
    order = np.lexsort((best, -scores))[:k]
    return best[order], scores[order]


def cosines_of(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Cosines of vectors (m, dim) with a query of unit length."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return np.asarray(vectors @ query / np.maximum(lengths, 1e-12), dtype=np.float32)


class Segment:
    """Opened rows and vectors in a folder that never changes; `deleted` are positions that an update removed."""

    def __init__(
        self, stored: StoredSegment, rows: Rows, vectors: Vectors, deleted: np.ndarray, words: BinaryIO | None
    ) -> None:
        self.stored = stored
        self.rows = rows
        self.vectors = vectors
        self.deleted = deleted
        self._words_file = words  # open, since an update may remove it before the first search for words

    @classmethod
    def open(cls, root: Path, stored: StoredSegment, dim: int) -> Self:
        """Raises OSError where a file is missing, UserError where one is damaged."""
        folder = root / stored.name
        for name, (size, _) in stored.files.items():
            if (folder / name).stat().st_size != size:
                raise UserError(f"{folder / name}: damaged, it does not have {size:,} bytes; build the index again")
        vectors = Vectors.open(folder, stored.rows, dim, stored.graph)
        deleted = np.load(root / stored.deleted_file) if stored.deleted_file else np.zeros(0, np.uint32)
        words = (folder / WORDS_FILE).open("rb") if WORDS_FILE in stored.files else None
        return cls(stored, Rows.open(folder, stored.rows), vectors, deleted, words)

    @cached_property
    def words(self) -> Words | None:
        """The words of its rows, opened by the first search for words; None where an older version wrote none."""
        return None if self._words_file is None else Words.open(f"/dev/fd/{self._words_file.fileno()}")

    @cached_property
    def alive(self) -> Chosen | None:
        """The rows that are not deleted; None for all."""
        if not len(self.deleted):
            return None
        mask = np.ones(self.stored.rows, bool)
        mask[self.deleted] = False
        return Chosen(mask)

    def positions(self) -> np.ndarray:
        """Positions of the rows that are not deleted, ascending."""
        return np.arange(self.stored.rows) if self.alive is None else self.alive.positions

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Some columns of the rows that are not deleted."""
        table = self.rows.columns(names)
        return table if self.alive is None else table.take(pa.array(self.alive.positions))


def write_segment(
    root: Path, name: str, dim: int, indexed: bool, content: Iterable[tuple[pa.Table, np.ndarray]],
    types: Mapping[str, pa.DataType], language: str,
) -> StoredSegment:  # fmt: skip
    """Write the segment `name` below `root`, of tables with `schema.ROWS` and vectors (m, dim) float16.

    `types` are those of `names_types`, `language` is that of the rows' words. When this returns, the segment is
    complete and flushed to the disk.
    """
    with staged(root / name) as temporary:
        temporary.mkdir()
        rows, words = RowsWriter(temporary, types), WordsWriter(temporary, language)

        def vectors() -> Iterator[np.ndarray]:
            for table, some in content:
                rows.write(table)
                words.write(table)
                yield some

        count = engine.build(temporary, dim, vectors(), indexed)
        rows.close()
        words.close()
        files = {path.name: (path.stat().st_size, sha256_of(path)) for path in sorted(temporary.iterdir())}
        for path in temporary.iterdir():
            fsync(path)
        fsync(temporary)
    fsync(root)
    return StoredSegment(name=name, rows=count, graph=indexed, files=files)


class LackingError(UserError):
    """An index does not hold what a search needs; `reason` is the message without the place of the index."""

    def __init__(self, place: Path | str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.reason = reason


class Match(NamedTuple):
    """A row near a query, and the cosine."""

    row: Row
    score: float


class NamedMatch(NamedTuple):
    """A row that has some of the words that are looked for: the share of their weight, and the cosine with a query."""

    match: Match
    share: float


class Store(ABC):
    """Rows with vectors to search in: the segments of a folder, or a Milvus collection. Threads may share it."""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    def old_rows(self) -> int:
        """The number of rows in large segments of older versions, whose vectors every search compares one by one."""
        return 0

    @abstractmethod
    def nearest(self, query: np.ndarray, k: int, where: Filter | None = None, exact: bool = False) -> list[Match]:
        """The k rows nearest to a query (dim,) of unit length, best first, among those that pass `where`."""

    @property
    @abstractmethod
    def has_words(self) -> bool:
        """True where `matching` finds words."""

    @abstractmethod
    def matching(
        self, words: Sequence[str], query: np.ndarray | None, k: int, where: Filter | None = None
    ) -> list[NamedMatch]:
        """The k rows that have most of the words (see `words.Reader`), by weight, among those that pass `where`.

        Rows with equal shares are ordered by their cosine with a query (dim,), or else by row; the cosine is then NaN.
        """

    @abstractmethod
    def row(self, number: int) -> Row | None:
        """The row with this number, None where there is none."""

    @abstractmethod
    def vector(self, number: int) -> np.ndarray | None:
        """The vector (dim,) float32 of the row with this number, None where there is none."""

    @abstractmethod
    def fields(self, number: int, columns: Sequence[str]) -> dict[str, Any] | None:
        """Columns of `schema.ROWS` of the row with this number, by name; None where there is none."""

    @abstractmethod
    def content(self, columns: Sequence[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """All rows, some thousand at a time: columns of `schema.ROWS`, and vectors (m, dim) float16."""

    @abstractmethod
    def sample(self, count: int) -> np.ndarray:
        """At most `count` vectors (m, dim) float32 from all over the index, always the same."""


class FolderStore(Store):
    """The segments of an index folder, opened together."""

    def __init__(self, manifest: Manifest, segments: Sequence[Segment]) -> None:
        self.manifest = manifest
        self.segments = list(segments)
        self._chosen: dict[Filter, list[Chosen | None]] = {}
        self._lock = threading.Lock()  # two threads cannot read one Parquet file at once

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the current generation; read index.json again where an update removes files in between.

        Raises UserError where there is no index or files are missing.
        """
        for attempt in range(_TRIES):
            manifest = read_manifest(folder)
            try:
                return cls(manifest, [Segment.open(folder, one, manifest.dim) for one in manifest.segments])
            except OSError as error:
                if attempt == _TRIES - 1 or read_manifest(folder).generation == manifest.generation:
                    place = error.filename or folder
                    what = "change who may read it" if error.errno == errno.EACCES else "build the index again"
                    raise UserError(f"{place}: missing or unreadable ({error.strerror}); {what}") from error
        raise AssertionError("unreachable")

    def __len__(self) -> int:
        return sum(segment.stored.alive for segment in self.segments)

    @property
    def old_rows(self) -> int:
        return sum(one.stored.rows for one in self.segments if one.vectors.is_old and one.stored.rows > _SLOW_FROM)

    def nearest(self, query: np.ndarray, k: int, where: Filter | None = None, exact: bool = False) -> list[Match]:
        chosen = self._passing(where) if where is not None else [segment.alive for segment in self.segments]
        parts = [(segment.vectors, some) for segment, some in zip(self.segments, chosen, strict=True)]
        found = nearest_in(parts, query, k, exact)
        return [
            Match(self.segments[number].rows[position], score)
            for number, position, score in zip(*(some.tolist() for some in found), strict=True)
        ]

    @property
    def has_words(self) -> bool:
        return all(WORDS_FILE in segment.stored.files for segment in self.segments)

    def matching(
        self, words: Sequence[str], query: np.ndarray | None, k: int, where: Filter | None = None
    ) -> list[NamedMatch]:
        words = list(dict.fromkeys(words))
        opened = [(number, one, one.words) for number, one in enumerate(self.segments) if one.words is not None]
        counts = [sum(len(found.rows(word)) for _, _, found in opened) for word in words]
        if not any(counts):
            return []
        weight = weights(counts, sum(one.stored.rows for one in self.segments))
        chosen = self._passing(where) if where is not None else [segment.alive for segment in self.segments]
        parts = []
        for number, segment, found in opened:
            share = shares(found, words, weight, segment.stored.rows)
            if (some := chosen[number]) is not None:
                share[~some.mask] = 0
            parts.append((segment, share))
        least = _kth_largest(np.concatenate([share[share > 0] for _, share in parts]), k)
        rows: list[NamedMatch] = []
        for segment, share in parts:
            for mask in (share > least, share == least):
                positions, cosines = _ordered(segment.vectors, query, k, Chosen(mask))
                rows += [
                    NamedMatch(Match(segment.rows[at], cosine), float(share[at]))
                    for at, cosine in zip(positions.tolist(), cosines.tolist(), strict=True)
                ]
        rows.sort(key=lambda one: (-one.share, -one.match.score if query is not None else 0.0))
        return rows[:k]

    def row(self, number: int) -> Row | None:
        place = self._place(number)
        return None if place is None else place[0].rows[place[1]]

    def vector(self, number: int) -> np.ndarray | None:
        place = self._place(number)
        return None if place is None else place[0].vectors.take(np.array([place[1]]))[0]

    def fields(self, number: int, columns: Sequence[str]) -> dict[str, Any] | None:
        place = self._place(number)
        if place is None:
            return None
        with self._lock:
            return place[0].rows.fields(place[1], columns)

    def _place(self, number: int) -> tuple[Segment, int] | None:
        """The segment of a row that is not deleted, and its position there."""
        for segment in self.segments:
            position = segment.rows.position(number)
            if position is not None and (segment.alive is None or segment.alive.mask[position]):
                return segment, position
        return None

    def content(self, columns: Sequence[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
        for segment in self.segments:
            table, positions = segment.columns(columns), segment.positions()
            for some in blocks(len(positions)):
                yield table.slice(some.start, some.stop - some.start), segment.vectors.half(positions[some])

    def sample(self, count: int) -> np.ndarray:
        total = len(self)
        parts = []
        for segment in self.segments:
            positions = segment.positions()
            share = -(-count * len(positions) // total) if total else 0
            chosen = np.linspace(0, len(positions) - 1, min(share, len(positions))).astype(np.int64)
            parts.append(segment.vectors.take(positions[chosen]))
        return np.concatenate(parts)[:count] if parts else np.zeros((0, 0), np.float32)

    def _passing(self, where: Filter) -> list[Chosen | None]:
        """The rows that pass a filter, cached for the next page of the same search."""
        with self._lock:
            if where not in self._chosen:
                if len(self._chosen) >= _FILTERS_KEPT:
                    self._chosen.pop(next(iter(self._chosen)))
                self._chosen[where] = [self._choose(segment, where) for segment in self.segments]
            return self._chosen[where]

    def _choose(self, segment: Segment, where: Filter) -> Chosen | None:
        if not where.columns:
            return segment.alive
        mask = where.mask(segment.rows.columns(where.columns), self.manifest.roots)
        return Chosen(mask if segment.alive is None else mask & segment.alive.mask)
