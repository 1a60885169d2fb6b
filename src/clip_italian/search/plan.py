"""The plan of an update: which pictures of the inputs are indexed, moved or new. DuckDB decides it, for any number.

A picture keeps its vector where its id, size and modification time match a row, or else where its sha256 does. Parts
of killed runs count like rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian.pictures.decoding import PictureError, prefetch
from clip_italian.pipeline.rejects import Reject
from clip_italian.search import embed
from clip_italian.search.commit import PART_ROWS_FILE
from clip_italian.search.inputs import Entry, as_table
from clip_italian.search.schema import ENTRY, EXISTING, SCANNED, TO_EMBED, absolute_path
from clip_italian.search.selection import is_gone

_BATCH = 10_000

_DESCRIPTION = [name for name in ENTRY.names if name not in ("size", "mtime_ns")]
_UNCHANGED = " AND ".join(f's."{name}" IS NOT DISTINCT FROM e."{name}"' for name in _DESCRIPTION)
_PLACE = "CASE WHEN starts_with(t.path, '/') THEN t.path ELSE r.folder || '/' || t.path END"


class Plan:
    """Tables in an empty database: `scan` (the pictures of the inputs), `existing` rows, `pending` parts, and `source`:
    where the vector of a scanned picture lies, as far as that is known.

    `roots` are the folders that paths of the scan start from.
    """

    def __init__(
        self, base: duckdb.DuckDBPyConnection, scanned: Path, existing: Path, parts: Sequence[Path],
        roots: Sequence[str], first_part: int,
    ) -> None:  # fmt: skip
        self._base = base
        self._first_part = first_part
        self._parts = 0
        base.register("roots", pa.table({"number": pa.array(range(len(roots)), pa.uint16()), "folder": list(roots)}))
        base.execute(
            f"CREATE TABLE everything AS SELECT t.*, {_PLACE} AS place FROM ("
            f"SELECT * EXCLUDE file_row_number, file_row_number AS n FROM read_parquet('{_quoted(scanned)}', "
            "file_row_number = true)) t LEFT JOIN roots r ON r.number = t.root"
        )
        base.execute(
            "CREATE TABLE scan AS SELECT * FROM everything QUALIFY row_number() OVER (PARTITION BY id ORDER BY n) = 1"
        )
        base.execute(f"CREATE TABLE existing AS SELECT * FROM read_parquet('{_quoted(existing)}')")
        base.execute(
            'CREATE TABLE pending (id TEXT, place TEXT, "offset" BIGINT, size BIGINT, mtime_ns BIGINT,'
            " sha256 BLOB, look BLOB, taken TIMESTAMP_MS, store INTEGER, pos BIGINT)"
        )
        base.execute(
            "CREATE TABLE source (n BIGINT, store INTEGER, pos BIGINT, sha256 BLOB, look BLOB, taken TIMESTAMP_MS,"
            " stays BOOLEAN)"
        )
        base.execute(
            f"INSERT INTO source SELECT s.n, e.store, e.pos, e.sha256, coalesce(s.look, e.look), e.taken, {_UNCHANGED}"
            " FROM scan s JOIN existing e ON s.id = e.id AND s.size = e.size AND s.mtime_ns = e.mtime_ns"
        )
        self.use_parts(parts)

    def use_parts(self, parts: Sequence[Path]) -> None:
        """Add parts as the source of vectors for pictures that have not changed since."""
        for part in parts:
            self._base.execute(
                'INSERT INTO pending SELECT id, place, "offset", size, mtime_ns, sha256, look, taken,'
                f" {self._first_part + self._parts}, file_row_number"
                f" FROM read_parquet('{_quoted(part / PART_ROWS_FILE)}', file_row_number = true)"
            )
            self._parts += 1
        self._base.execute(
            "INSERT INTO source SELECT s.n, p.store, p.pos, p.sha256, coalesce(s.look, p.look), p.taken, false"
            " FROM scan s JOIN pending p ON s.id = p.id AND s.place = p.place AND s.size IS NOT DISTINCT FROM p.size"
            ' AND s.mtime_ns IS NOT DISTINCT FROM p.mtime_ns AND s."offset" IS NOT DISTINCT FROM p."offset"'
            " WHERE s.n NOT IN (SELECT n FROM source)"
            " QUALIFY row_number() OVER (PARTITION BY s.n ORDER BY p.store DESC) = 1"
        )

    def find_moved(self) -> None:
        """Find files that moved or were only touched: compare the sha256 of those with the size of a known one."""
        rows = self._base.sql(
            'SELECT n, place, "offset", "length" FROM scan WHERE n NOT IN (SELECT n FROM source) AND size IN'
            " (SELECT size FROM existing WHERE sha256 IS NOT NULL UNION SELECT size FROM pending"
            " WHERE sha256 IS NOT NULL) ORDER BY n"
        ).to_arrow_table()
        read = prefetch(rows.to_pylist(), 64, lambda row: embed.digest(row["place"], embed.part_of(row)))
        known = [(row["n"], found) for batch in read for row, found in batch if not isinstance(found, PictureError)]
        if not known:
            return
        numbers, digests = zip(*known, strict=True)
        self._base.register("digests", pa.table({"n": numbers, "sha256": pa.array(digests, pa.binary())}))
        self._base.execute(
            "INSERT INTO source SELECT d.n, k.store, k.pos, k.sha256, coalesce(s.look, k.look), k.taken, false"
            " FROM digests d JOIN scan s USING (n) JOIN (SELECT store, pos, sha256, look, taken FROM existing"
            " UNION ALL SELECT store, pos, sha256, look, taken FROM pending) k ON k.sha256 = d.sha256"
            " QUALIFY row_number() OVER (PARTITION BY d.n ORDER BY k.store, k.pos) = 1"
        )

    def write_todo(self, path: Path) -> int:
        """List the pictures to embed (`schema.TO_EMBED`), in the order of the scan; return their number."""
        columns = ", ".join(f'"{name}"' for name in TO_EMBED.names)
        found = self._base.sql(
            f"SELECT {columns} FROM scan WHERE n NOT IN (SELECT n FROM source) AND size IS NOT NULL ORDER BY n"
        )
        return _write(found, TO_EMBED, path)

    def write_new(self, path: Path) -> int:
        """Write the new rows (`schema.EXISTING`), in the order of the scan; return their number."""
        entry = ", ".join(f's."{name}"' for name in ENTRY.names)
        found = self._base.sql(
            f"SELECT {entry}, o.sha256, o.look, o.taken, o.store, o.pos FROM source o JOIN scan s USING (n)"
            " WHERE NOT o.stays ORDER BY n"
        )
        return _write(found, EXISTING, path)

    def gone(self, everything: bool) -> dict[int, list[int]]:
        """Positions of rows to delete, by store: those replaced, and with `everything` those that were not scanned."""
        where = "true" if everything else "id IN (SELECT id FROM scan)"
        found = self._base.sql(
            f"SELECT store, pos FROM existing WHERE {where} AND (store, pos) NOT IN"
            " (SELECT (store, pos) FROM source WHERE stays) ORDER BY store, pos"
        )
        gone: dict[int, list[int]] = {}
        for batch in found.to_arrow_reader(_BATCH):
            for store, position in zip(batch["store"].to_pylist(), batch["pos"].to_pylist(), strict=True):
                gone.setdefault(store, []).append(position)
        return gone

    def missing(self, before: Sequence[str], now: Sequence[str]) -> dict[str, list[tuple[int, int, int]]]:
        """Store, position and root of rows that were not scanned and whose file is gone, by the file's path.

        `before` are the folders of the rows, `now` those of the inputs; only files below the latter count. Pictures
        that moved and rows that never had a file are left out.
        """
        found = self._base.sql(
            "SELECT store, pos, root, path FROM existing WHERE id NOT IN (SELECT id FROM scan) AND size IS NOT NULL"
            " AND (sha256 IS NULL OR sha256 NOT IN (SELECT sha256 FROM source WHERE sha256 IS NOT NULL))"
            " ORDER BY store, pos"
        )
        missing: dict[str, list[tuple[int, int, int]]] = {}
        for batch in found.to_arrow_reader(_BATCH):
            for store, position, root, path in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                where = absolute_path(before, root, path)
                if any(where.startswith(f"{one}/") for one in now) and is_gone(where):
                    missing.setdefault(where, []).append((store, position, root))
        return missing

    def folders_with_pictures(self) -> set[str]:
        """Folders in which the scan found pictures."""
        found = self._base.sql("SELECT DISTINCT regexp_replace(place, '/[^/]*$', '') FROM scan")
        return {folder for (folder,) in found.fetchall()}

    def duplicate_ids(self) -> list[Reject]:
        """Rejects for entries whose id an earlier picture has."""
        found = self._base.sql(
            "SELECT a.id, a.place FROM everything a JOIN scan s USING (id) WHERE a.n <> s.n AND"
            ' (a.place <> s.place OR a."offset" IS DISTINCT FROM s."offset") ORDER BY a.n'
        )
        return [Reject(id_, "same-id", detail=place) for id_, place in found.fetchall()]

    def count_sources(self) -> int:
        """The number of scanned pictures that have a vector."""
        return int(self._base.sql("SELECT count(*) FROM source").fetchall()[0][0])

    def scanned_ids(self) -> set[str]:
        """The ids of the scanned pictures."""
        return {id_ for (id_,) in self._base.sql("SELECT id FROM scan").fetchall()}


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


def _write(found: duckdb.DuckDBPyRelation, schema: pa.Schema, path: Path) -> int:
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in found.to_arrow_reader(_BATCH):
            table = pa.Table.from_batches([batch])
            writer.write_table(pa.table([table[field.name].cast(field.type) for field in schema], schema=schema))
            rows += len(batch)
    return rows


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
