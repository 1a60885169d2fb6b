"""The rows of a segment: all of them in Parquet, and what a hit shows once more where it can be read in microseconds.

`rows.parquet` is for filters, updates and other programs. Parquet gives one row in milliseconds, a search wants ten in
less than one: `names.arrow` holds number, id, place and look uncompressed, memory-mapped, in batches of equal length.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clip_italian.errors import UserError
from clip_italian.pictures.phash import is_hash

ROWS_FILE = "rows.parquet"
NAMES_FILE = "names.arrow"
BATCH = 65_536  # rows of a batch in NAMES_FILE and of a row group in ROWS_FILE
# The latest time of change that a row tells, and the earliest, negative: nanoseconds since 1970 in 64 bits.
MOST_NS = (1 << 63) - 1
_LOOK = 14  # bytes of a picture hash: outline, and colour of both halves

# What an input tells of a picture.
ENTRY = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("root", pa.uint16(), nullable=False),  # number of the folder that `path` starts at
        pa.field("path", pa.string(), nullable=False),
        pa.field("offset", pa.int64()),  # where the picture starts in the file, for a member of a tar file
        pa.field("length", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("source", pa.string()),
        pa.field("license", pa.string()),
        pa.field("page", pa.string()),
        pa.field("caption", pa.string()),
    ]
)
# What is found out by reading it.
CONTENT = pa.schema(
    [
        pa.field("sha256", pa.binary(32)),
        pa.field("look", pa.binary(_LOOK)),
        pa.field("taken", pa.timestamp("ms")),  # wall time, see embed.taken; else when the file was changed
    ]
)
SCHEMA = pa.schema([pa.field("row", pa.uint64(), nullable=False), *ENTRY, *CONTENT])
FIELDS = tuple(SCHEMA.names)
_NAMES = ("row", "id", "root", "path", "offset", "length", "look")


def pack_look(phash: str | None) -> bytes | None:
    """A picture hash (`identity.picture_hash`) in 14 bytes; None for what is none."""
    return bytes.fromhex(phash.replace("-", "")) if phash and is_hash(phash) else None


def unpack_look(look: bytes) -> str:
    """The other way."""
    return f"{look[:8].hex()}-{look[8:].hex()}"


def place(roots: Sequence[str], root: int, path: str) -> str:
    """Where a row's file lies: `path` starts at a folder of the index, unless it is absolute."""
    return path if path.startswith("/") or root >= len(roots) else f"{roots[root]}/{path}"


class Name(NamedTuple):
    """What a hit shows: the permanent row number, id, place, and look if known."""

    row: int
    id: str
    root: int
    path: str
    offset: int | None
    length: int | None
    look: bytes | None


class Rows:
    """Opened rows of one segment; nothing is read before it is asked for."""

    def __init__(self, names: pa.RecordBatchFileReader, table: pq.ParquetFile) -> None:
        self._names = names
        self._table = table
        self._batches: dict[int, dict[str, pa.Array]] = {}

    @classmethod
    def open(cls, folder: Path, rows: int) -> Self:
        """Both files stay open, so that they can be read when an update has removed them.

        Raises UserError where they hold another number of rows, OSError where they are not there.
        """
        try:
            names = pa.ipc.open_file(pa.memory_map(str(folder / NAMES_FILE)))
            table = pq.ParquetFile(folder / ROWS_FILE, memory_map=True)
        except pa.ArrowInvalid as error:
            raise UserError(f"{folder}: its rows are damaged ({error}); build the index again") from error
        if table.metadata.num_rows != rows or names.num_record_batches != -(-rows // BATCH):
            raise UserError(f"{folder}: its rows are damaged, there are not {rows:,}; build the index again")
        return cls(names, table)

    def name(self, position: int) -> Name:
        """The row at a position."""
        columns, at = self._batch(position // BATCH), position % BATCH
        values: list[Any] = [columns[name][at].as_py() if name in columns else None for name in _NAMES]
        row, id_, root, path, offset, length, look = values
        return Name(row, path if id_ is None else id_, root, path, offset, length, look)

    def find(self, row: int) -> int | None:
        """The position of a row number, which ascend within a segment."""
        low, high = 0, self._table.metadata.num_rows
        while low < high:
            middle = (low + high) // 2
            if self._batch(middle // BATCH)["row"][middle % BATCH].as_py() < row:
                low = middle + 1
            else:
                high = middle
        there = low < self._table.metadata.num_rows and self._batch(low // BATCH)["row"][low % BATCH].as_py() == row
        return low if there else None

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Some columns of all rows."""
        return self._table.read(columns=list(names))

    def _batch(self, number: int) -> dict[str, pa.Array]:
        if number not in self._batches:
            batch = self._names.get_batch(number)
            columns = {name: batch.column(name) for name in _NAMES}
            # Without those in which there is nothing: a search asks for every column of ten rows, a microsecond each.
            self._batches[number] = {name: one for name, one in columns.items() if one.null_count < len(one)}
        return self._batches[number]


class Writer:
    """Writes the rows of a segment, in batches of `BATCH`. Not atomic: give it a staged folder."""

    def __init__(self, folder: Path, in_archives: bool) -> None:
        self.rows = 0
        self._waiting: list[pa.Table] = []
        self._table = pq.ParquetWriter(
            folder / ROWS_FILE, SCHEMA, compression="zstd", use_dictionary=["root", "source", "license"]
        )
        # Offsets take no room where all pictures are files of their own.
        place = pa.int64() if in_archives else pa.null()
        fields = [SCHEMA.field(name) for name in _NAMES]
        schema = pa.schema([f.with_type(place) if f.name in ("offset", "length") else f for f in fields])
        self._names_schema = schema.set(1, pa.field("id", pa.string()))  # null where it is the path
        self._names = pa.ipc.new_file(str(folder / NAMES_FILE), self._names_schema)

    def write(self, table: pa.Table) -> None:
        """Some more rows with `SCHEMA`."""
        self._waiting.append(table)
        self.rows += len(table)
        if sum(map(len, self._waiting)) >= BATCH:
            self._flush(everything=False)

    def close(self) -> None:
        """Write what is left and finish the files."""
        self._flush(everything=True)
        self._table.close()
        self._names.close()

    def _flush(self, everything: bool) -> None:
        table = pa.concat_tables(self._waiting) if self._waiting else SCHEMA.empty_table()
        start = 0
        while len(table) - start >= (1 if everything else BATCH):
            some = table.slice(start, BATCH).combine_chunks()
            start += len(some)
            self._table.write_table(some)
            self._names.write_batch(self._named(some))
        self._waiting = [table.slice(start)]

    def _named(self, table: pa.Table) -> pa.RecordBatch:
        schema = self._names_schema
        same = pc.equal(table["id"], table["path"])
        columns: dict[str, Any] = {name: table[name] for name in _NAMES}
        columns["id"] = pc.if_else(same, pa.scalar(None, pa.string()), table["id"])
        arrays = [
            pa.nulls(len(table)) if pa.types.is_null(field.type) else columns[field.name].combine_chunks()
            for field in schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)
