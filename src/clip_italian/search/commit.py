"""The next generation of an index: new segments and deletions, then index.json replaced in one step.

Embeddings wait for it in parts. A part is a folder with `rows.parquet` (`schema.EMBEDDED`), `vectors.npy` (m, dim) of
float16, and the pictures that could not be read.

Small segments are merged with the added rows, so that their number stays small: each is at least twice as large as all
after it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.files.atomic import fsync, staged
from clip_italian.pipeline.rejects import Reject, write_rejects
from clip_italian.search import metadata
from clip_italian.search.engine import blocks, halved
from clip_italian.search.schema import EXISTING, ROWS, Manifest, StoredSegment
from clip_italian.search.storage import Segment, names_types, write_manifest, write_segment

PART_ROWS_FILE = "rows.parquet"
PART_VECTORS_FILE = "vectors.npy"
PART_LEFT_OUT_FILE = "left-out.jsonl"

# Lists are made in memory: of so many vectors of 512 dimensions they take 0.15 GB.
SEGMENT_ROWS = 1_000_000
# A smaller index has no lists: each search looks at every vector.
EXACT_BELOW = 20_000
# Nor has a smaller segment: looking at every vector is as fast.
LISTS_FROM = 4_096
# A segment without lists is rewritten when more than this share of it is deleted.
_DELETED_SHARE = 0.25
_OPEN_PARTS = 64


def write_part(folder: Path, rows: pa.Table, vectors: np.ndarray, left_out: Sequence[Reject] = ()) -> None:
    """Write vectors (m, dim) and their rows as a part to a new folder. Raises UserError where one is not finite."""
    half = halved(vectors)
    if not np.isfinite(half).all():
        raise UserError("the model gave embeddings that are no numbers (NaN or infinite); it cannot be searched with")
    folder.mkdir()
    pq.write_table(rows, folder / PART_ROWS_FILE, compression="zstd")
    np.save(folder / PART_VECTORS_FILE, half)
    write_rejects(left_out, folder / PART_LEFT_OUT_FILE)


def finished_parts(workspace: Path) -> Iterator[Path]:
    """The parts of killed runs that hold embeddings."""
    return (path for path in sorted(workspace.glob("run-*/[0-9]*")) if part_rows(path))


def part_rows(part: Path) -> int:
    """The number of embeddings in a part, 0 for an unfinished one."""
    path = part / PART_ROWS_FILE
    return int(pq.read_metadata(path).num_rows) if path.is_file() else 0


class VectorSource:
    """Vectors by store and position: first the segments, then the parts."""

    def __init__(self, segments: Sequence[Segment], parts: Sequence[Path]) -> None:
        self._segments = segments
        self._parts = parts
        self._part = lru_cache(_OPEN_PARTS)(lambda path: np.load(path / PART_VECTORS_FILE, mmap_mode="r"))

    def half(self, stores: np.ndarray, positions: np.ndarray, dim: int) -> np.ndarray:
        """The vectors (m, dim) float16 at these stores and positions."""
        found = np.empty((len(stores), dim), np.float16)
        for store in np.unique(stores):
            here = stores == store
            if store < len(self._segments):
                found[here] = self._segments[store].vectors.half(positions[here])
            else:
                found[here] = halved(self._part(self._parts[store - len(self._segments)])[positions[here]])
        return found


class StoreWriter(ABC):
    """The rows of an index that is being changed. Vectors lie in stores numbered from 0, `stores` of them."""

    @property
    @abstractmethod
    def stores(self) -> int:
        """The number of stores, before the parts."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns of `schema.ROWS` that it keeps."""
        return ROWS.names

    @abstractmethod
    def existing(self, names: Sequence[str] = EXISTING.names) -> Iterator[pa.Table]:
        """All rows, as tables with these columns of `schema.EXISTING`."""

    @abstractmethod
    def commit(
        self, before: Manifest, parts: Sequence[Path], new: Path | None, gone: Mapping[int, Sequence[int]],
        everything: bool = False,
    ) -> Manifest:  # fmt: skip
        """Write the next generation and return its manifest.

        `before` is the manifest to write, apart from generation, segments and counts. `new` is a file of rows
        (`schema.EXISTING`) whose vectors lie in the stores or `parts`, `gone` are positions to delete, by store.
        `everything` rewrites all segments.
        """


class FolderWriter(StoreWriter):
    """The segments of an index folder."""

    def __init__(self, folder: Path, segments: Sequence[Segment]) -> None:
        self._folder = folder
        self._segments = segments

    @property
    def stores(self) -> int:
        return len(self._segments)

    def existing(self, names: Sequence[str] = EXISTING.names) -> Iterator[pa.Table]:
        schema = pa.schema([EXISTING.field(name) for name in names])
        for number, one in enumerate(self._segments):
            table = one.columns([name for name in names if name in ROWS.names])
            yield _located(table, np.full(len(table), number), one.positions()).select(names).cast(schema)

    def commit(
        self, before: Manifest, parts: Sequence[Path], new: Path | None, gone: Mapping[int, Sequence[int]],
        everything: bool = False,
    ) -> Manifest:  # fmt: skip
        generation, segments = before.generation + 1, self._segments
        deleted = [
            np.union1d(one.deleted, np.asarray(gone.get(number, ()), np.uint32)).astype(np.uint32)
            for number, one in enumerate(segments)
        ]
        table = pq.ParquetFile(new) if new else None
        added = table.metadata.num_rows if table else 0
        alive = [one.stored.rows - len(dead) for one, dead in zip(segments, deleted, strict=True)]
        total = sum(alive) + added
        merged = set(range(len(segments))) if everything else _to_merge(before, segments, alive, added)
        kept = [
            self._with_deleted(one.stored, dead, generation, number)
            for number, (one, dead) in enumerate(zip(segments, deleted, strict=True))
            if number not in merged and alive[number]
        ]
        source = VectorSource(segments, parts)
        old = [
            (number, np.setdiff1d(np.arange(segments[number].stored.rows), deleted[number], assume_unique=True))
            for number in sorted(merged)
        ]
        written: list[StoredSegment] = []
        for some in self._slices(old, table, before.next_row):
            rows = metadata.completed(some, before.roots)
            indexed = _wants_lists(before, len(rows), total)
            # This name is never used again: readers may still look for an old segment.
            name = f"segment-{generation:06d}-{len(written)}"
            with console.progress("vectors", len(rows)) as advance:
                content = _content(rows, source, before.dim, advance)
                types = names_types(rows)
                written.append(write_segment(self._folder, name, before.dim, indexed, content, types, before.language))
        after = before.model_copy(
            update={
                "generation": generation,
                "next_row": before.next_row + added,
                "segments": [*kept, *written],
                "pictures": total,
            }
        )
        write_manifest(self._folder, after)
        return after

    def _slices(
        self, old: Sequence[tuple[int, np.ndarray]], new: pq.ParquetFile | None, next_row: int
    ) -> Iterator[pa.Table]:
        """Rows of each segment to write: `schema.ROWS` with `store` and `pos`, ordered by row number."""
        waiting: list[pa.Table] = []
        for table in self._tables(old, new, next_row):
            waiting.append(table)
            while sum(map(len, waiting)) >= SEGMENT_ROWS:
                joined = pa.concat_tables(waiting).sort_by("row")
                yield joined.slice(0, SEGMENT_ROWS)
                waiting = [joined.slice(SEGMENT_ROWS)]
        if sum(map(len, waiting)):
            yield pa.concat_tables(waiting).sort_by("row")

    def _tables(
        self, old: Sequence[tuple[int, np.ndarray]], new: pq.ParquetFile | None, next_row: int
    ) -> Iterator[pa.Table]:
        """Remaining rows of the merged segments, then the new rows, which get their numbers here."""
        for number, positions in old:
            table = self._segments[number].rows.columns(ROWS.names).take(pa.array(positions))
            yield _located(table, np.full(len(positions), number), positions)
        for batch in new.iter_batches(SEGMENT_ROWS) if new else ():
            table = pa.Table.from_batches([batch])
            numbers = pa.array(np.arange(next_row, next_row + len(table)), pa.uint64())
            next_row += len(table)
            columns = [numbers, *(table[name] for name in ROWS.names[1:])]
            stores, positions = table["store"].to_numpy(), table["pos"].to_numpy()
            yield _located(pa.table(columns, schema=ROWS), stores, positions)

    def _with_deleted(self, stored: StoredSegment, deleted: np.ndarray, generation: int, number: int) -> StoredSegment:
        """The segment with these rows deleted; writes a file only where something changed."""
        if len(deleted) == stored.deleted:
            return stored
        path = self._folder / f"deleted-{generation:06d}-{number}.npy"
        with staged(path) as temporary:
            with temporary.open("wb") as file:
                np.save(file, deleted)
            fsync(temporary)
        return stored.model_copy(update={"deleted_file": path.name, "deleted": len(deleted)})


def _wants_lists(manifest: Manifest, rows: int, total: int) -> bool:
    """True where a segment of `rows` rows gets lists, in an index of `total`."""
    return not manifest.exact and total >= EXACT_BELOW and rows >= LISTS_FROM


def _to_merge(manifest: Manifest, segments: Sequence[Segment], alive: Sequence[int], added: int) -> set[int]:
    """The segments to rewrite when `added` rows join those that are `alive` in each."""
    total = sum(alive) + added
    chosen = {
        number
        for number, (one, left) in enumerate(zip(segments, alive, strict=True))
        if not one.stored.graph
        and left
        and (_wants_lists(manifest, left, total) or one.stored.rows - left > _DELETED_SHARE * one.stored.rows)
    }
    size = added + sum(alive[number] for number in chosen)
    for number in reversed(range(len(segments))):
        if number in chosen or not alive[number]:
            continue
        # Making lists takes time: larger ones stay.
        most = size if segments[number].stored.graph else 2 * size
        if alive[number] > most or alive[number] + size > SEGMENT_ROWS:
            break
        chosen.add(number)
        size += alive[number]
    return chosen


def _located(table: pa.Table, stores: np.ndarray, positions: np.ndarray) -> pa.Table:
    """Rows with the columns `store` and `pos`."""
    located = table.append_column("store", pa.array(stores.astype(np.int64)))
    return located.append_column("pos", pa.array(positions.astype(np.int64)))


def _content(
    rows: pa.Table, source: VectorSource, dim: int, advance: Callable[[int], None]
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Blocks of rows with their vectors."""
    names = rows.select(ROWS.names)
    stores, positions = rows["store"].to_numpy(), rows["pos"].to_numpy()
    for some in blocks(len(rows)):
        count = some.stop - some.start
        yield names.slice(some.start, count), source.half(stores[some], positions[some], dim)
        advance(count)
