"""The shapes of an index: columns of its tables, and the content of index.json (format 3)."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from clip_italian import languages
from clip_italian.models.precision import Identity

FORMAT = 3
# Formats that can be searched. Rows of format 2 lack all columns from `title` on; `commit.FolderWriter` adds them.
READABLE = (2, FORMAT)
# Largest modification time that a row holds, and negative the smallest: nanoseconds since 1970 in 64 bits.
MAX_NS = (1 << 63) - 1
_EPOCH = datetime(1970, 1, 1)

_LOOK = pa.field("look", pa.binary(14))  # perceptual hash, see `pictures.phash.packed`

# Columns from the inputs.
ENTRY = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("root", pa.uint16(), nullable=False),  # number of the folder that `path` starts from
        pa.field("path", pa.string(), nullable=False),
        pa.field("offset", pa.int64()),  # first byte of the picture in the file, for a member of a tar file
        pa.field("length", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("source", pa.string()),
        pa.field("license", pa.string()),
        pa.field("page", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("sidecars", pa.int64()),  # see `sidecars.Stamps`; null without any
    ]
)
# Columns from reading the picture, see `metadata.read`.
CONTENT = pa.schema(
    [
        pa.field("sha256", pa.binary(32)),
        _LOOK,
        pa.field("taken", pa.timestamp("ms")),  # local time
        pa.field("title", pa.string()),
        pa.field("description", pa.string()),
        pa.field("keywords", pa.list_(pa.string())),  # null where the metadata was never read
        pa.field("location", pa.string()),  # as the file calls it
        pa.field("latitude", pa.float64()),  # degrees
        pa.field("longitude", pa.float64()),
        pa.field("camera", pa.string()),
    ]
)
# A row of an index. `row` is its permanent number.
ROWS = pa.schema([pa.field("row", pa.uint64(), nullable=False), *ENTRY, *CONTENT])
# An entry as the scan of the inputs writes it; `look` where the input knows it.
SCANNED = pa.schema([*ENTRY, _LOOK])
# A picture to embed: number in the scan, absolute path, part of the file.
TO_EMBED = pa.schema(
    [
        pa.field("n", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("place", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("sidecars", pa.int64()),
        _LOOK,
    ]
)
# An embedded picture: where it lay, and what reading it gave.
EMBEDDED = pa.schema(
    [*(TO_EMBED.field(name) for name in ("id", "place", "offset", "size", "mtime_ns", "sidecars")), *CONTENT]
)
# A row and where its vector lies: number of the store (a segment, or a part), and position in it.
EXISTING = pa.schema([*ENTRY, *CONTENT, pa.field("store", pa.int32()), pa.field("pos", pa.int64())])


class Row(NamedTuple):
    """The part of a row that a hit shows: permanent number, id, location of the picture, packed perceptual hash.

    Also when and where it was taken: local time, and degrees.
    """

    number: int
    id: str
    root: int
    path: str
    offset: int | None
    length: int | None
    look: bytes | None
    taken: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None


def moment(milliseconds: int | None) -> datetime | None:
    """The value of `taken` that is stored as milliseconds since 1970, None where there is none."""
    return None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds)


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the columns of `schema`; those that an older version did not write are null."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def absolute_path(roots: Sequence[str], root: int, path: str) -> str:
    """The file of a row: `path` below the index's folder number `root`, unless it is absolute."""
    return path if path.startswith("/") or root >= len(roots) else f"{roots[root]}/{path}"


class Calibration(BaseModel):
    """Probability = 1 / (1 + exp(-(slope * score + intercept))), fitted on the hits of `captions` captions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slope: float
    intercept: float
    captions: int
    brier: float

    def probability(self, score: float) -> float:
        """The probability that a hit with this cosine is right."""
        return 1 / (1 + math.exp(-(self.slope * score + self.intercept)))


class StoredSegment(BaseModel):
    """A segment as index.json lists it: folder, rows, size and sha256 of each file.

    `graph` is True where it has lists (`engine`), or in older versions a graph, which is no longer read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    rows: int
    graph: bool
    files: dict[str, tuple[int, str]]
    deleted_file: str | None = None
    deleted: int = 0

    @property
    def alive(self) -> int:
        """The number of rows that are not deleted."""
        return self.rows - self.deleted


class Manifest(BaseModel):
    """The content of index.json.

    `model`, `source` and `agreement` are those of `precision.Identity`, `precisions` are those of the vectors.
    `next_row` is the lowest row number that no picture has had. `language` is that of the rows' words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    generation: int = 0
    model: str
    source: str | None = None
    precisions: list[str] = []
    agreement: float = 1.0
    model_name: str
    dim: int
    exact: bool = False
    roots: list[str] = []
    inputs: list[str] = []
    next_row: int = 0
    segments: list[StoredSegment] = []
    left_out_file: str | None = None
    left_out: int = 0
    store: str | None = None
    pictures: int = 0
    calibration: Calibration | None = None
    exclude: list[str] = []
    hidden: bool = False
    language: str = languages.DEFAULT

    @property
    def identity(self) -> Identity:
        """The model that made the vectors."""
        return Identity(self.model, self.source or self.model, "+".join(self.precisions) or "float32", self.agreement)

    def with_precision(self, made_by: Identity) -> Self:
        """This manifest with vectors of another precision of its model among its own."""
        precisions = sorted({*(self.precisions or ["float32"]), made_by.precision})
        return self.model_copy(update={"precisions": precisions, "agreement": min(self.agreement, made_by.agreement)})
