"""Read and write pairs files, Parquet or JSON lines: whole as pairs, or in batches of some thousand rows."""

import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian.errors import UsageError, UserError
from clip_italian.files.atomic import staged
from clip_italian.files.names import as_stored
from clip_italian.pairs import rows
from clip_italian.pairs.rows import SCHEMA, Pair, as_batch, to_batch


def read(path: Path) -> list[Pair]:
    """All pairs of a file of either format.

    Raises UserError with the place if the file is missing, empty or not a pairs file, or if a row lacks an image
    or has no caption or a blank one.
    """
    require_file(path)
    pairs = list(_read_json_lines(path) if path.suffix == ".jsonl" else _read_parquet(path))
    if not pairs:
        raise UserError(f"{path}: the pairs file is empty; collect some pairs first (clip-italian collect --help)")
    return pairs


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Rows of a pairs file of either format in batches of at most `rows.PART_ROWS`, in constant memory."""
    if require_file(path).suffix != ".jsonl":
        for batch in _open_parquet(path).iter_batches(batch_size=rows.PART_ROWS, use_threads=False):
            yield as_batch(pa.Table.from_batches([batch]))
        return
    lines = _read_json_lines(path)
    while some := list(islice(lines, rows.PART_ROWS)):
        yield to_batch(some)


def count(path: Path) -> int:
    """Number of rows of a pairs file of either format."""
    if require_file(path).suffix != ".jsonl":
        return int(_open_parquet(path).metadata.num_rows)
    return sum(1 for _ in _read_json_lines(path))


def has_small_row_groups(path: Path) -> bool:
    """True if no row group of a Parquet pairs file is larger than `Writer` makes them."""
    metadata = _open_parquet(path).metadata
    return all(metadata.row_group(i).num_rows <= rows.PART_ROWS for i in range(metadata.num_row_groups))


def require_file(path: Path) -> Path:
    """Return `path`; raise UserError if there is no such file."""
    if not path.is_file():
        raise UserError(f"{path}: no such pairs file; give a .parquet or .jsonl file that `clip-italian collect` wrote")
    return path


def refuse_overwrite(source: Path, output: Path) -> None:
    """Raise UsageError if a stage's output is its input: no stage changes what it reads."""
    if source.resolve() == output.resolve():
        raise UsageError(f"{output}: would replace its own input; choose another output")


def image_path(pair: Pair, pairs_file: Path) -> Path:
    """Path of a pair's picture; relative paths start at the folder of the pairs file.

    Raises UserError if the picture is a URL.
    """
    if "://" in pair.image:
        raise UserError(f"{pairs_file}: {pair.image} is not on this machine; download it with clip-italian fetch")
    return as_stored(pairs_file.parent / pair.image)


def relocated(batch: pa.RecordBatch, old: Path, new: Path) -> pa.RecordBatch:
    """Rows of a pairs file in folder `old`, rewritten to name the same pictures from a pairs file in folder `new`.

    Relative paths stay relative. Absolute paths become relative if the picture is below `new`.
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


def write(pairs: Iterable[Pair], path: Path) -> int:
    """Write Parquet (`.parquet`) or JSON lines (`.jsonl`) atomically; return the number of rows."""
    with staged(path) as temporary:
        with Writer(temporary) as writer:
            for pair in pairs:
                writer.write(pair)
        return writer.rows


class Writer:
    """Writes pairs as they come, in row groups of `rows.PART_ROWS`; the suffix of `path` decides the format.

    Not atomic: give it a staged path. `rows` is the number of rows written.
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
        """Write one pair."""
        self._pairs.append(pair)
        if len(self._pairs) == 1_000:
            self._flush_pairs()

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write rows with `SCHEMA`."""
        self._flush_pairs()
        self._waiting.append(batch)
        self.rows += len(batch)
        self._flush()

    def _flush_pairs(self) -> None:
        if self._pairs:
            waiting, self._pairs = self._pairs, []
            self.write_batch(to_batch(waiting))

    def _flush(self, everything: bool = False) -> None:
        if not everything and sum(map(len, self._waiting)) < rows.PART_ROWS:
            return
        table = pa.Table.from_batches(self._waiting, schema=SCHEMA)
        self._waiting = []
        if self._lines is not None:
            self._lines.writelines(_to_json_line(row) for row in table.to_pylist())
            return
        assert self._table is not None
        whole = len(table) if everything else len(table) - len(table) % rows.PART_ROWS
        for start in range(0, whole, rows.PART_ROWS):
            self._table.write_table(table.slice(start, min(rows.PART_ROWS, whole - start)).combine_chunks())
        if whole < len(table):
            self._waiting = table.slice(whole).to_batches()


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
                if b"\\u" in line:  # an unpaired surrogate ("\\ud83d") is valid JSON but cannot be encoded
                    json.dumps(row, ensure_ascii=False).encode()
            except UnicodeDecodeError as error:
                raise UserError(f"{place}: not UTF-8; convert it or read it with clip-italian collect") from error
            except UnicodeEncodeError as error:
                raise UserError(f"{place}: unpaired surrogate in the text; fix or remove the line") from error
            except (json.JSONDecodeError, RecursionError) as error:
                reason = getattr(error, "msg", "nested too deeply")
                raise UserError(f"{place}: not JSON ({reason}); fix or remove the line") from error
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
        raise UserError(f"{path}: not a pairs file, it lacks the columns {', '.join(sorted(missing))}")
    return file


def _to_pair(row: dict[str, Any], place: str) -> Pair:
    captions = _as_list(row["captions"])
    if not captions or not all(isinstance(c, str) and c.strip() for c in captions):
        raise UserError(f"{place}: image {row['image']!r} has an empty caption; remove it or the pair")
    original = row.get("captions_original")
    texts = [row.get(name) for name in ("source", "split", "license", "page", "phash")]
    if not all(text is None or isinstance(text, str) for text in [*texts, *_as_list(original)]):
        raise UserError(f"{place}: image {row['image']!r} has a number or a list where a text belongs; fix the row")
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
    """The list itself, an empty list for None, else a list of one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
