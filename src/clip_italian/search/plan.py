"""The plan of an update: which pictures of the inputs are indexed, moved or new.

A picture keeps its vector where its id, size and modification time match a row, or else where its sha256 does. Parts
of killed runs count like rows.

Columns are compared as a whole, and read when they are needed, so that a plan for millions of rows fits into memory.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clip_italian.pictures.decoding import PictureError, prefetch
from clip_italian.pipeline.rejects import Reject
from clip_italian.search import embed
from clip_italian.search.commit import PART_ROWS_FILE
from clip_italian.search.inputs import Entry, as_table
from clip_italian.search.schema import (
    CONTENT,
    EMBEDDED,
    ENTRY,
    EXISTING,
    ROWS,
    SCANNED,
    TO_EMBED,
    absolute_path,
    conformed,
)
from clip_italian.search.selection import is_gone

_BATCH = 10_000

_DESCRIPTION = [name for name in ENTRY.names if name not in ("id", "size", "mtime_ns")]
_KNOWN = ["size", "sidecars", *CONTENT.names, "store", "pos"]


class Plan:
    """Compares the scanned pictures with existing rows and with parts that wait.

    A picture is a row `n` of the scan. Its source, where its vector lies, is a row of `_known`: first come the existing
    rows, then those of the parts. `roots` are the folders that paths of the scan start from, `columns` those that the
    store of the existing rows has.
    """

    def __init__(
        self, scanned: Path, existing: Path, parts: Sequence[Path], roots: Sequence[str], first_part: int,
        columns: Collection[str] = ROWS.names,
    ) -> None:  # fmt: skip
        self._scanned = scanned
        self._existing = existing
        self._description = [name for name in _DESCRIPTION if name in columns]
        self._roots = pa.array(roots, pa.large_string())
        self._next_store = first_part
        ids = _column(scanned, "id")
        codes = ids.dictionary_encode().indices.to_numpy()
        new = _first_seen(codes)
        self._pictures = np.flatnonzero(new)
        self._repeats = np.flatnonzero(~new)
        self._repeated = self._pictures[codes[self._repeats]]
        self._ids = ids.take(pa.array(self._pictures)) if len(self._repeats) else ids
        self._known = _table(existing, _KNOWN)
        self._existing_rows = len(self._known)
        self._has_source = np.zeros(len(ids), bool)
        self._source_n = np.zeros(0, np.int64)
        self._source_row = np.zeros(0, np.int64)
        self._source_stays = np.zeros(0, bool)  # where the existing row needs no change
        self._use_existing()
        self.use_parts(parts)

    def _use_existing(self) -> None:
        """Take existing rows as the source of vectors for pictures that have not changed since."""
        n = self._find(_column(self._existing, "id"))
        self._is_scanned = n >= 0
        rows = np.flatnonzero(self._is_scanned)
        n = n[rows]
        for name in ("size", "mtime_ns"):
            same = _equal(_column(self._scanned, name, n), _column(self._existing, name, rows))
            n, rows = n[same], rows[same]
        stays = np.ones(len(n), bool)
        for name in self._description:
            stays &= _equal(_column(self._scanned, name, n), _column(self._existing, name, rows), nulls=True)
        self._add_sources(n, rows, stays)

    def use_parts(self, parts: Sequence[Path]) -> None:
        """Add parts as the source of vectors for pictures that have not changed since."""
        if not parts:
            return
        table = pa.concat_tables(map(self._part, parts)).combine_chunks()
        first = len(self._known)
        self._known = pa.concat_tables([self._known, table.select(_KNOWN)]).combine_chunks()
        n = self._find(_one(table["id"]))
        rows = np.flatnonzero(n >= 0)
        rows = rows[~self._has_source[n[rows]]]
        n, table = n[rows], table.take(pa.array(rows))
        same = _equal(self._places(n), _one(table["place"]))
        for name in ("offset", "size", "mtime_ns"):
            same &= _equal(_column(self._scanned, name, n), _one(table[name]), nulls=True)
        n, rows, stores = n[same], rows[same], table["store"].to_numpy()[same]
        order = np.lexsort((rows, -stores, n))  # the latest part first
        n, best = np.unique(n[order], return_index=True)
        self._add_sources(n, first + rows[order][best])

    def _part(self, part: Path) -> pa.Table:
        """The rows of a part, which becomes the next store."""
        with pq.ParquetFile(part / PART_ROWS_FILE) as file:
            table = conformed(file.read(), EMBEDDED).combine_chunks()
        table = table.append_column("store", pa.array(np.full(len(table), self._next_store, np.int32)))
        self._next_store += 1
        return table.append_column("pos", pa.array(np.arange(len(table))))

    def find_moved(self) -> None:
        """Find files that moved or were only touched: compare the sha256 of those with the size of a known one."""
        contents = _one(self._known["sha256"])
        sizes = _one(self._known["size"]).filter(contents.is_valid()).unique().drop_null()
        alike = pc.is_in(_column(self._scanned, "size"), value_set=sizes).to_numpy(zero_copy_only=False)
        rows = (row for table in self._rows(self._without_source(alike)) for row in table.to_pylist())
        read = prefetch(rows, 64, lambda row: embed.digest(row["place"], embed.part_of(row)))
        found = [(row["n"], one) for batch in read for row, one in batch if not isinstance(one, PictureError)]
        n = np.array([number for number, _ in found], np.int64)
        digests = pa.array([digest for _, digest in found], contents.type)
        known = np.flatnonzero(pc.is_in(contents, value_set=digests).to_numpy(zero_copy_only=False))
        known = self._by_position(known)
        encoded = contents.take(pa.array(known)).dictionary_encode()
        firsts = known[_first_seen(encoded.indices.to_numpy())]
        at = _index(digests, encoded.dictionary)
        self._add_sources(n[at >= 0], firsts[at[at >= 0]])

    def write_todo(self, path: Path) -> int:
        """List the pictures to embed (`schema.TO_EMBED`), in the order of the scan; return their number."""
        has_file = _column(self._scanned, "size").is_valid().to_numpy(zero_copy_only=False)
        return _write(self._rows(self._without_source(has_file)), TO_EMBED, path)

    def write_new(self, path: Path) -> int:
        """Write the new rows (`schema.EXISTING`), in the order of the scan; return their number.

        Where the sidecars are others than those of the source, keywords are null, so that the metadata is read again
        (`metadata.completed`).
        """
        chosen = np.flatnonzero(~self._source_stays)
        chosen = chosen[np.argsort(self._source_n[chosen], kind="stable")]
        n, known = self._source_n[chosen], self._source_row[chosen]

        def rows() -> Iterator[pa.Table]:
            done = 0
            for table in self._rows(n):
                source = self._known.take(pa.array(known[done : done + len(table)]))
                done += len(table)
                columns = {name: source[name] for name in _KNOWN} | {name: table[name] for name in ENTRY.names}
                same = pa.array(_equal(_one(source["sidecars"]), _one(table["sidecars"]), nulls=True))
                keywords = pc.if_else(same, source["keywords"], pa.scalar(None, source["keywords"].type))
                yield pa.table(columns | {"look": pc.coalesce(table["look"], source["look"]), "keywords": keywords})

        return _write(rows(), EXISTING, path)

    def gone(self, everything: bool) -> dict[int, list[int]]:
        """Positions of rows to delete, by store: those replaced, and with `everything` those that were not scanned."""
        doomed = np.ones(self._existing_rows, bool) if everything else self._is_scanned.copy()
        doomed[self._source_row[self._source_stays]] = False
        rows = self._by_position(np.flatnonzero(doomed))
        stores, positions = (self._known[name].to_numpy()[rows] for name in ("store", "pos"))
        return {store: positions[stores == store].tolist() for store in np.unique(stores).tolist()}

    def missing(
        self, before: Sequence[str], now: Sequence[str], test: Callable[[str], bool] | None = None
    ) -> dict[str, list[tuple[int, int, int]]]:
        """Store, position and root of rows that were not scanned and whose file is gone, by the file's path.

        `before` are the folders of the rows, `now` those of the inputs; only files below the latter count. Pictures
        that moved and rows that never had a file are left out. `test` of a path, if given, replaces the question
        whether the file is gone.
        """
        lost = test or is_gone
        rows = np.flatnonzero(~self._is_scanned)
        contents = _one(self._known["sha256"])
        used = contents.take(pa.array(self._source_row)).drop_null() if len(rows) else contents.slice(0, 0)
        table = self._known.take(pa.array(rows))
        elsewhere = pc.is_in(table["sha256"], value_set=used)
        rows = self._by_position(rows[pc.and_not(table["size"].is_valid(), elsewhere).to_numpy()])
        table = self._known.select(["store", "pos"]).take(pa.array(rows))
        for name in ("root", "path"):
            table = table.append_column(name, _column(self._existing, name, rows))
        missing: dict[str, list[tuple[int, int, int]]] = {}
        for batch in table.to_batches(_BATCH):
            for store, position, root, path in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                where = absolute_path(before, root, path)
                if any(where.startswith(f"{one}/") for one in now) and lost(where):
                    missing.setdefault(where, []).append((store, position, root))
        return missing

    def folders_with_pictures(self) -> set[str]:
        """Folders in which the scan found pictures."""
        return set(pc.replace_substring_regex(self._places(self._pictures), "/[^/]*$", "").unique().to_pylist())

    def duplicate_ids(self) -> list[Reject]:
        """Rejects for entries whose id an earlier picture has."""
        here, first = self._repeats, self._repeated
        if not len(here):
            return []
        same = _equal(self._places(here), self._places(first))
        same &= _equal(_column(self._scanned, "offset", here), _column(self._scanned, "offset", first), nulls=True)
        others = here[~same]
        found = zip(_column(self._scanned, "id", others).to_pylist(), self._places(others).to_pylist(), strict=True)
        return [Reject(id_, "same-id", detail=place) for id_, place in found]

    def count_sources(self) -> int:
        """The number of scanned pictures that have a vector."""
        return len(self._source_n)

    def scanned_ids(self) -> set[str]:
        """The ids of the scanned pictures."""
        return set(self._ids.to_pylist())

    def _add_sources(self, n: np.ndarray, rows: np.ndarray, stays: np.ndarray | None = None) -> None:
        """Let pictures `n` have the vectors of known rows; without `stays`, none of these rows can stay as it is."""
        self._has_source[n] = True
        self._source_n = np.concatenate([self._source_n, n])
        self._source_row = np.concatenate([self._source_row, rows])
        self._source_stays = np.concatenate([self._source_stays, np.zeros(len(n), bool) if stays is None else stays])

    def _find(self, ids: pa.Array) -> np.ndarray:
        """The pictures with these ids, -1 for those that were not scanned."""
        found = _index(ids, self._ids)
        return np.append(self._pictures, -1)[found]  # -1 is found at the end

    def _without_source(self, chosen: np.ndarray) -> np.ndarray:
        """The pictures without a source, of the rows that the mask `chosen` selects."""
        n = self._pictures
        return n[chosen[n] & ~self._has_source[n]]

    def _by_position(self, rows: np.ndarray) -> np.ndarray:
        """Known rows ordered by store and position."""
        stores, positions = (self._known[name].to_numpy()[rows] for name in ("store", "pos"))
        return rows[np.lexsort((positions, stores))]

    def _places(self, n: np.ndarray) -> pa.Array:
        """The absolute paths of rows of the scan."""
        return self._joined(_column(self._scanned, "root", n), _column(self._scanned, "path", n))

    def _joined(self, roots: pa.Array, paths: pa.Array) -> pa.Array:
        """`schema.absolute_path`, of many."""
        below = pc.binary_join_element_wise(self._roots.take(roots), paths, pa.scalar("/", pa.large_string()))
        return pc.if_else(pc.starts_with(paths, "/"), paths, below)

    def _rows(self, n: np.ndarray) -> Iterator[pa.Table]:
        """Rows of the scan in ascending order, which may repeat: all columns, `n`, and the absolute path `place`."""
        with pq.ParquetFile(self._scanned) as file:
            end = 0
            for group in range(file.num_row_groups):
                start, end = end, end + file.metadata.row_group(group).num_rows
                low, high = np.searchsorted(n, [start, end])
                for first in range(low, high, _BATCH):
                    some = n[first : min(first + _BATCH, high)]
                    table = file.read_row_group(group).take(pa.array(some - start))
                    place = self._joined(_one(table["root"]), _one(table["path"]))
                    yield table.append_column("n", pa.array(some)).append_column("place", place)


def write_scan(entries: Iterable[Entry | Reject], path: Path) -> list[Reject]:
    """Write the entries of all inputs (`schema.SCANNED`) as they arrive; return the rejects."""
    rejects: list[Reject] = []

    def good() -> Iterator[Entry]:
        for one in entries:
            if isinstance(one, Reject):
                rejects.append(one)
            else:
                yield one

    rest = good()
    with pq.ParquetWriter(path, SCANNED, compression="zstd") as writer:
        while some := list(islice(rest, _BATCH)):
            writer.write_table(as_table(some))
    return rejects


def _write(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> int:
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(pa.table([table[field.name].cast(field.type) for field in schema], schema=schema))
            rows += len(table)
    return rows


def _table(path: Path, names: Sequence[str]) -> pa.Table:
    """Some columns of a Parquet file, which is closed again."""
    with pq.ParquetFile(path) as file:
        return file.read(list(names)).combine_chunks()


def _column(path: Path, name: str, rows: np.ndarray | None = None) -> pa.Array:
    """A column of a Parquet file, or some rows of it."""
    column = _one(_table(path, [name])[name])
    if rows is None or (len(rows) == len(column) and np.array_equal(rows, np.arange(len(rows)))):
        return column  # nothing changed since the last update: all rows, in the same order
    return column.take(pa.array(rows))


def _one(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece. Text gets 64-bit offsets: that of millions of rows may exceed 2 GB."""
    return (column.cast(pa.large_string()) if pa.types.is_string(column.type) else column).combine_chunks()


def _equal(some: pa.Array, others: pa.Array, nulls: bool = False) -> np.ndarray:
    """Where two columns are equal; with `nulls`, null equals null, otherwise it equals nothing."""
    same = pc.fill_null(pc.equal(some, others), False)
    if nulls:
        same = pc.or_(same, pc.and_(some.is_null(), others.is_null()))
    return np.asarray(same.to_numpy(zero_copy_only=False))


def _index(values: pa.Array, distinct: pa.Array) -> np.ndarray:
    """The index of each value in `distinct`, -1 where it is not there."""
    return np.asarray(pc.index_in(values, value_set=distinct).fill_null(-1).to_numpy())


def _first_seen(codes: np.ndarray) -> np.ndarray:
    """Where each code of a dictionary appears first. Codes count up, so a new one is the highest so far."""
    return np.diff(np.maximum.accumulate(codes), prepend=-1) > 0
