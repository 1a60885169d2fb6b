"""A row of a pairs file: as a `Pair`, and as Arrow's rows, which go through the stages some thousand at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from clip_italian.errors import UserError

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image", pa.string(), nullable=False),
        pa.field("captions", pa.list_(pa.string()), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("split", pa.string()),
        pa.field("captions_original", pa.list_(pa.string())),
        pa.field("license", pa.string()),
        pa.field("page", pa.string()),
        pa.field("phash", pa.string()),
    ]
)

PART_ROWS = 10_000  # a row group, and what a stage takes at a time: some MB


@dataclass(frozen=True)
class Pair:
    """An image and its captions. `captions_original` are those before translation, if any."""

    id: str
    image: str
    captions: tuple[str, ...]
    source: str
    split: str | None = None
    captions_original: tuple[str, ...] | None = None
    license: str | None = None
    page: str | None = None
    phash: str | None = None


def split_name(text: str | None) -> str | None:
    """A split by the name that we use: the development or validation part of any data set is "val"."""
    return "val" if text in ("dev", "valid", "validation") else text or None


def to_batch(pairs: Sequence[Pair]) -> pa.RecordBatch:
    """Pairs as an Arrow record batch with `SCHEMA`."""
    columns = [pa.array([getattr(pair, field.name) for pair in pairs], field.type) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def as_batch(table: pa.Table) -> pa.RecordBatch:
    """A table of one or no chunk as a record batch with `SCHEMA`; columns that it lacks are null.

    Raises UserError where a column has another type, or nulls that it must not have.
    """
    columns = [
        _as_column(table[field.name], field) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in SCHEMA
    ]
    batches = pa.Table.from_arrays(columns, schema=SCHEMA).combine_chunks().to_batches()
    return batches[0] if batches else to_batch([])


def _as_column(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    try:
        cast = column.cast(field.type)
    except pa.ArrowException as error:
        raise UserError(f"pairs file: column {field.name} is {column.type}, not {field.type}; write it anew") from error
    if cast.null_count and not field.nullable:
        raise UserError(f"pairs file: column {field.name} has {cast.null_count} rows with nothing in it; remove them")
    return cast


def from_batch(batch: pa.RecordBatch) -> Iterator[Pair]:
    """The rows as pairs, as they are: captions may be empty."""
    columns = [batch.column(field.name).to_pylist() for field in SCHEMA]
    for id_, image, captions, source, split, original, license_, page, phash in zip(*columns, strict=True):
        yield Pair(
            id_, image, tuple(captions), source, split, tuple(original) if original else None, license_, page, phash
        )
