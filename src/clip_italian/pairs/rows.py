"""Rows of a pairs file: `Pair` objects and Arrow record batches, and keys made of their text."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
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

PART_ROWS = 10_000  # rows of a row group, and of a batch that a stage processes: a few MB


@dataclass(frozen=True)
class Pair:
    """An image and its captions. `captions_original` holds the captions before translation, if any."""

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
    """Canonical name of a split: "val" for the development or validation part of any data set, None if empty."""
    return "val" if text in ("dev", "valid", "validation") else text or None


def to_batch(pairs: Sequence[Pair]) -> pa.RecordBatch:
    """Pairs as an Arrow record batch with `SCHEMA`."""
    columns = [pa.array([getattr(pair, field.name) for pair in pairs], field.type) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def as_batch(table: pa.Table) -> pa.RecordBatch:
    """A table of at most one chunk as a record batch with `SCHEMA`; missing columns are null.

    Raises UserError if a column has another type, or nulls where `SCHEMA` allows none.
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
        raise UserError(
            f"pairs file: column {field.name} is {column.type}, not {field.type}; write the file again"
        ) from error
    if cast.null_count and not field.nullable:
        raise UserError(f"pairs file: column {field.name} has {cast.null_count} rows with nothing in it; remove them")
    return cast


def from_batch(batch: pa.RecordBatch) -> Iterator[Pair]:
    """The rows as pairs, unchecked: captions may be empty."""
    columns = [batch.column(field.name).to_pylist() for field in SCHEMA]
    for id_, image, captions, source, split, original, license_, page, phash in zip(*columns, strict=True):
        yield Pair(
            id_, image, tuple(captions), source, split, tuple(original) if original else None, license_, page, phash
        )


def concept(caption: str) -> str:
    """Comparison key of a caption: its letters and digits, NFKC-normalised and case-folded, words joined by spaces.

    Captions with the same key count as the same concept.
    """
    return " ".join(unicodedata.normalize("NFKC", caption).casefold().translate(_LETTERS).split())


class _Letters(dict[int, int | str]):
    """Translation table that keeps letters and digits and replaces the rest by spaces; twice as fast as a loop."""

    def __missing__(self, code: int) -> int | str:
        self[code] = code if chr(code).isalnum() else " "
        return self[code]


_LETTERS = _Letters()


def fingerprint(pairs: Sequence[Pair]) -> str:
    """Hex digest of ids, captions and splits in order; identifies the data a model was trained or measured on."""
    return fingerprint_of((pair.id, pair.captions, pair.split) for pair in pairs)


def fingerprint_of(rows: Iterable[tuple[str, Sequence[str], str | None]]) -> str:
    """`fingerprint` of rows given as (id, captions, split)."""
    digest = hashlib.sha256()
    encode = json.JSONEncoder(ensure_ascii=False).encode  # created once: there may be millions of rows
    for row in rows:
        digest.update(encode(row).encode())
    return digest.hexdigest()[:16]
