"""The pairs file: one row an image with its captions, as Parquet or the original project's JSON lines.

    id, image, captions, source, split, captions_original, license, page, phash

`image` is a path relative to the file (or absolute, or an URL). Stages of the pipeline are
functions from pairs to pairs; none changes its input file.
"""

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian.assets import staged
from clip_italian.errors import UsageError, UserError

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


def concept(caption: str) -> str:
    """A caption reduced to what two captions of one concept share: letters and digits, case folded."""
    return " ".join(unicodedata.normalize("NFKC", caption).casefold().translate(_LETTERS).split())


class _Letters(dict[int, int | str]):
    """For `str.translate`, in half the time of a loop: letters and digits stay, others become spaces."""

    def __missing__(self, code: int) -> int | str:
        self[code] = code if chr(code).isalnum() else " "
        return self[code]


_LETTERS = _Letters()


def split_name(text: str | None) -> str | None:
    """A split by the name that we use: the development or validation part of any data set is "val"."""
    return "val" if text in ("dev", "valid", "validation") else text or None


def write(pairs: Iterable[Pair], path: Path) -> int:
    """Write Parquet (`.parquet`) or JSON lines (`.jsonl`), in place at the end; return the row count."""
    with staged(path) as temporary:
        with Writer(temporary) as writer:
            for pair in pairs:
                writer.write(pair)
        return writer.rows


class Writer:
    """Writes pairs as they come, in row groups of `PART_ROWS`; the suffix of `path` decides the form.

    Not atomic: give it a staged path. `rows` is how many were written.
    """

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._waiting: list[pa.RecordBatch] = []
        self._pairs: list[Pair] = []
        self._lines = path.open("w", encoding="utf-8") if path.suffix == ".jsonl" else None
        self._table = None if self._lines else pq.ParquetWriter(path, SCHEMA, compression="zstd")

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush_pairs()
        self._flush(everything=True)
        for file in (self._lines, self._table):
            if file is not None:
                file.close()

    def write(self, pair: Pair) -> None:
        """One pair."""
        self._pairs.append(pair)
        if len(self._pairs) == 1_000:
            self._flush_pairs()

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Rows with `SCHEMA`."""
        self._flush_pairs()
        self._waiting.append(batch)
        self.rows += len(batch)
        self._flush()

    def _flush_pairs(self) -> None:
        if self._pairs:
            waiting, self._pairs = self._pairs, []
            self.write_batch(to_batch(waiting))

    def _flush(self, everything: bool = False) -> None:
        if not everything and sum(map(len, self._waiting)) < PART_ROWS:
            return
        table = pa.Table.from_batches(self._waiting, schema=SCHEMA)
        self._waiting = []
        if self._lines is not None:
            self._lines.writelines(_to_json_line(row) for row in table.to_pylist())
            return
        assert self._table is not None
        whole = len(table) if everything else len(table) - len(table) % PART_ROWS
        for start in range(0, whole, PART_ROWS):
            self._table.write_table(table.slice(start, min(PART_ROWS, whole - start)).combine_chunks())
        if whole < len(table):
            self._waiting = table.slice(whole).to_batches()


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


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a pairs file of either form, some thousand at a time, in constant memory."""
    if existing(path).suffix != ".jsonl":
        for batch in _open_parquet(path).iter_batches(batch_size=PART_ROWS, use_threads=False):
            yield as_batch(pa.Table.from_batches([batch]))
        return
    lines = _read_json_lines(path)
    while some := list(islice(lines, PART_ROWS)):
        yield to_batch(some)


def count(path: Path) -> int:
    """Rows of a pairs file of either form."""
    if existing(path).suffix != ".jsonl":
        return int(_open_parquet(path).metadata.num_rows)
    return sum(1 for _ in _read_json_lines(path))


def relocated(batch: pa.RecordBatch, old: Path, new: Path) -> pa.RecordBatch:
    """The rows of a pairs file in folder `old`, for a pairs file in folder `new`: both name the same pictures.

    Relative paths stay relative; absolute ones become so where the picture lies below `new`.
    """
    old, new = old.resolve(), new.resolve()

    def moved(image: str) -> str:
        if "://" in image or (old == new and not image.startswith("/")):
            return image
        picture = old / image
        inside = not Path(image).is_absolute() or picture.is_relative_to(new)
        return os.path.relpath(picture, new) if inside else image

    images = pa.array([moved(image) for image in batch.column("image").to_pylist()], pa.string())
    return batch.set_column(batch.schema.get_field_index("image"), batch.schema.field("image"), images)


def has_small_row_groups(path: Path) -> bool:
    """Whether a Parquet pairs file is divided as `Writer` divides it."""
    metadata = _open_parquet(path).metadata
    return all(metadata.row_group(i).num_rows <= PART_ROWS for i in range(metadata.num_row_groups))


def existing(path: Path) -> Path:
    """The path; raises UserError where no file is there."""
    if not path.is_file():
        raise UserError(f"{path}: no such pairs file; give a .parquet or .jsonl file that `clip-italian collect` wrote")
    return path


def apart(source: Path, output: Path) -> None:
    """Raise UsageError where the output of a stage is its input: no stage changes what it reads."""
    if source.resolve() == output.resolve():
        raise UsageError(f"{output}: would replace its own input; choose another output")


def read(path: Path) -> list[Pair]:
    """Read a pairs file of either form.

    Raises UserError with the place where the file is missing, empty, no pairs file, or has a
    row without an image or without a caption that says something.
    """
    existing(path)
    pairs = list(_read_json_lines(path) if path.suffix == ".jsonl" else _read_parquet(path))
    if not pairs:
        raise UserError(f"{path}: the pairs file is empty; collect some pairs first (clip-italian collect --help)")
    return pairs


def image_path(pair: Pair, pairs_file: Path) -> Path:
    """Where the picture lies: relative paths start at the folder of the pairs file.

    Raises UserError where it is still behind an address.
    """
    if "://" in pair.image:
        raise UserError(f"{pairs_file}: {pair.image} is not on this machine; get the pictures by clip-italian fetch")
    return pairs_file.parent / pair.image


def fingerprint(pairs: Sequence[Pair]) -> str:
    """Hex digest over ids, captions and splits in order: names the data a model was trained or measured on."""
    return fingerprint_of((pair.id, pair.captions, pair.split) for pair in pairs)


def fingerprint_of(rows: Iterable[tuple[str, Sequence[str], str | None]]) -> str:
    """The same of (id, captions, split) of each row."""
    digest = hashlib.sha256()
    encode = json.JSONEncoder(ensure_ascii=False).encode  # made once: millions of rows
    for row in rows:
        digest.update(encode(row).encode())
    return digest.hexdigest()[:16]


def _to_json_line(row: dict[str, Any]) -> str:
    kept = {"image_path": row.pop("image"), "captions": row.pop("captions")}
    kept.update({key: value for key, value in row.items() if value is not None})
    return json.dumps(kept, ensure_ascii=False) + "\n"


def _read_json_lines(path: Path) -> Iterator[Pair]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                row = json.loads(line.decode("utf-8-sig"))
                if b"\\u" in line:  # half a character ("\\ud83d" alone) is JSON, but no text that can be written
                    json.dumps(row, ensure_ascii=False).encode()
            except UnicodeDecodeError as error:
                raise UserError(f"{place}: not UTF-8; convert the file, or read it by clip-italian collect") from error
            except UnicodeEncodeError as error:
                raise UserError(f"{place}: half a character in its text; mend or remove the line") from error
            except (json.JSONDecodeError, RecursionError) as error:
                reason = getattr(error, "msg", "too deep")
                raise UserError(f"{place}: not JSON ({reason}); mend or remove the line") from error
            if not isinstance(row, dict) or not isinstance(row.get("image_path"), str) or "captions" not in row:
                raise UserError(f'{place}: no pair; expected {{"image_path": …, "captions": […]}}')
            row.setdefault("captions_original", row.get("captions_en"))
            row.setdefault("id", Path(row["image_path"]).stem)
            row.setdefault("source", path.stem)
            yield _to_pair(row | {"image": row["image_path"]}, place)


def _read_parquet(path: Path) -> Iterator[Pair]:
    table = _open_parquet(path).read()
    for number, row in enumerate(table.to_pylist(), start=1):
        yield _to_pair(row, f"{path}, row {number}")


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a Parquet file ({error}); write it again with `clip-italian collect`") from error
    missing = {"id", "image", "captions", "source"} - set(file.schema_arrow.names)
    if missing:
        raise UserError(f"{path}: no pairs file, it lacks the columns {', '.join(sorted(missing))}")
    return file


def _to_pair(row: dict[str, Any], place: str) -> Pair:
    captions = _as_list(row["captions"])
    if not captions or not all(isinstance(c, str) and c.strip() for c in captions):
        raise UserError(f"{place}: image {row['image']!r} has an empty caption; remove it or the pair")
    original = row.get("captions_original")
    texts = [row.get(name) for name in ("source", "split", "license", "page", "phash")]
    if not all(text is None or isinstance(text, str) for text in [*texts, *_as_list(original)]):
        raise UserError(f"{place}: image {row['image']!r} has a number or a list where a text belongs; mend the row")
    return Pair(
        id=str(row["id"]),
        image=row["image"],
        captions=tuple(captions),
        source=row["source"],
        split=row.get("split"),
        captions_original=tuple(_as_list(original)) or None,
        license=row.get("license"),
        page=row.get("page"),
        phash=row.get("phash"),
    )


def _as_list(value: Any) -> list[Any]:
    """A list as it is, nothing as an empty one, else a list of one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
