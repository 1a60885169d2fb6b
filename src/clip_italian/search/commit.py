"""A new generation of an index folder: new segments and marks of deletion, then one replaced index.json.

Small segments are written anew together with what is added, so that their number stays small: each is at least twice
as large as all after it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian import console
from clip_italian.files import atomic
from clip_italian.files.atomic import staged
from clip_italian.search import embed, manifest, segment
from clip_italian.search.manifest import Manifest
from clip_italian.search.plan import EXISTING
from clip_italian.search.rows import SCHEMA
from clip_italian.search.segment import Segment, Stored
from clip_italian.search.vectors import blocks

# A graph is made in memory: so many vectors of 512 dimensions take 1.2 GB.
SEGMENT_ROWS = 1_000_000
_OPEN_PARTS = 64
# A segment without a graph is written anew when so much of it is deleted.
_DELETED_SHARE = 0.25


class Sources:
    """Where vectors lie: opened segments by their number, then parts."""

    def __init__(self, segments: Sequence[Segment], parts: Sequence[Path]) -> None:
        self._segments = segments
        self._parts = parts
        self._part = lru_cache(_OPEN_PARTS)(lambda path: np.load(path / embed.VECTORS_FILE, mmap_mode="r"))

    def bits(self, stores: np.ndarray, positions: np.ndarray, dim: int) -> np.ndarray:
        """Vectors (m, dim) uint16 of rows given by store and position."""
        found = np.empty((len(stores), dim), np.uint16)
        for store in np.unique(stores):
            here = stores == store
            if store < len(self._segments):
                found[here] = self._segments[store].vectors.bits(positions[here])
            else:
                found[here] = self._part(self._parts[store - len(self._segments)])[positions[here]]
        return found


class LocalBackend:
    """See `store.Backend`: the segments of an index folder."""

    def __init__(self, folder: Path, segments: Sequence[Segment]) -> None:
        self._folder = folder
        self._segments = segments

    @property
    def stores(self) -> int:
        return len(self._segments)

    def existing(self) -> Iterator[pa.Table]:
        for number, one in enumerate(self._segments):
            table = one.columns(SCHEMA.names)
            yield _located(table, np.full(len(table), number), one.positions()).select(EXISTING.names).cast(EXISTING)

    def commit(
        self, before: Manifest, parts: Sequence[Path], new: Path | None, gone: Mapping[int, Sequence[int]],
        everything: bool = False,
    ) -> Manifest:  # fmt: skip
        return commit(self._folder, before, self._segments, parts, new, gone, everything)


def commit(
    folder: Path, before: Manifest, segments: Sequence[Segment], parts: Sequence[Path], new: Path | None,
    gone: Mapping[int, Sequence[int]], everything: bool = False,
) -> Manifest:  # fmt: skip
    """Write the next generation into `folder` and return its manifest.

    `before` is the manifest as it should be but for generation, segments and counts; `new` a file of rows (`plan.NEW`)
    with vectors in `segments` and `parts`; `gone` positions that go, by segment; `everything`: write all anew.
    """
    generation = before.generation + 1
    deleted = [
        np.union1d(one.deleted, np.asarray(gone.get(number, ()), np.uint32)).astype(np.uint32)
        for number, one in enumerate(segments)
    ]
    table = pq.ParquetFile(new) if new else None
    added = table.metadata.num_rows if table else 0
    alive = [one.stored.rows - len(dead) for one, dead in zip(segments, deleted, strict=True)]
    total = sum(alive) + added
    merged = set(range(len(segments))) if everything else choose(before, segments, alive, added)
    kept = [
        _mark(folder, one.stored, dead, generation, number)
        for number, (one, dead) in enumerate(zip(segments, deleted, strict=True))
        if number not in merged and alive[number]
    ]
    sources = Sources(segments, parts)
    written: list[Stored] = []
    old = [
        (number, np.setdiff1d(np.arange(segments[number].stored.rows), deleted[number], assume_unique=True))
        for number in sorted(merged)
    ]
    for rows in _slices(segments, old, table, before.next_row):
        graph = before.wants_graph(len(rows), total)
        name = f"segment-{generation:06d}-{len(written)}"  # never used again: readers may still look for an old one
        content = _content(rows, sources, before.dim)
        with console.progress("vectors", len(rows)) as advance:
            in_archives = rows["offset"].null_count < len(rows)
            written.append(segment.write(folder, name, before.dim, graph, _watched(content, advance), in_archives))
    after = before.model_copy(
        update={
            "generation": generation,
            "next_row": before.next_row + added,
            "segments": [*kept, *written],
            "pictures": total,
        }
    )
    manifest.commit(folder, after)
    return after


def choose(settings: Manifest, segments: Sequence[Segment], alive: Sequence[int], added: int) -> set[int]:
    """Which segments are written anew when rows are added (or none, 0) and `alive` are what is left of each."""
    total = sum(alive) + added
    chosen = {
        number
        for number, (one, left) in enumerate(zip(segments, alive, strict=True))
        if not one.stored.graph
        and left
        and (settings.wants_graph(left, total) or one.stored.rows - left > _DELETED_SHARE * one.stored.rows)
    }
    room = added + sum(alive[number] for number in chosen)
    for number in reversed(range(len(segments))):
        if number in chosen or not alive[number]:
            continue
        # Making a graph takes time: larger ones are left alone.
        most = room if segments[number].stored.graph else 2 * room
        if alive[number] > most or alive[number] + room > SEGMENT_ROWS:
            break
        chosen.add(number)
        room += alive[number]
    return chosen


def _slices(
    segments: Sequence[Segment], old: Sequence[tuple[int, np.ndarray]], new: pq.ParquetFile | None, next_row: int
) -> Iterator[pa.Table]:
    """Rows of each segment to write: `rows.SCHEMA` with `store` and `pos`, in order of their numbers."""
    waiting: list[pa.Table] = []
    for table in _tables(segments, old, new, next_row):
        waiting.append(table)
        while sum(map(len, waiting)) >= SEGMENT_ROWS:
            joined = pa.concat_tables(waiting).sort_by("row")
            yield joined.slice(0, SEGMENT_ROWS)
            waiting = [joined.slice(SEGMENT_ROWS)]
    if sum(map(len, waiting)):
        yield pa.concat_tables(waiting).sort_by("row")


def _tables(
    segments: Sequence[Segment], old: Sequence[tuple[int, np.ndarray]], new: pq.ParquetFile | None, next_row: int
) -> Iterator[pa.Table]:
    """Rows of the old segments that stay, then new ones, which get their numbers."""
    for number, positions in old:
        table = segments[number].rows.columns(SCHEMA.names).take(pa.array(positions))
        yield _located(table, np.full(len(positions), number), positions)
    for batch in new.iter_batches(SEGMENT_ROWS) if new else ():
        table = pa.Table.from_batches([batch])
        numbers = pa.array(np.arange(next_row, next_row + len(table)), pa.uint64())
        next_row += len(table)
        columns = [numbers, *(table[name] for name in SCHEMA.names[1:])]
        stores, positions = table["store"].to_numpy(), table["pos"].to_numpy()
        yield _located(pa.table(columns, schema=SCHEMA), stores, positions)


def _located(table: pa.Table, stores: np.ndarray, positions: np.ndarray) -> pa.Table:
    located = table.append_column("store", pa.array(stores.astype(np.int64)))
    return located.append_column("pos", pa.array(positions.astype(np.int64)))


def _content(rows: pa.Table, sources: Sources, dim: int) -> Iterator[tuple[pa.Table, np.ndarray]]:
    names = rows.select(SCHEMA.names)
    stores, positions = rows["store"].to_numpy(), rows["pos"].to_numpy()
    for some in blocks(len(rows)):
        yield names.slice(some.start, some.stop - some.start), sources.bits(stores[some], positions[some], dim)


def _watched(
    content: Iterator[tuple[pa.Table, np.ndarray]], advance: Callable[[int], None]
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    for table, bits in content:
        yield table, bits
        advance(len(table))


def _mark(folder: Path, stored: Stored, deleted: np.ndarray, generation: int, number: int) -> Stored:
    """The segment with these rows deleted; written only where they are others than before."""
    if len(deleted) == stored.deleted:
        return stored
    path = folder / f"deleted-{generation:06d}-{number}.npy"
    with staged(path) as temporary:
        with temporary.open("wb") as file:
            np.save(file, deleted)
        atomic.fsync(temporary)
    return stored.model_copy(update={"deleted_file": path.name, "deleted": len(deleted)})
