"""Pairs files are read and checked: whole as pairs, or some thousand rows at a time."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian.errors import UserError
from clip_italian.pairs import rows
from clip_italian.pairs.rows import Pair, as_batch, to_batch


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a pairs file of either form, some thousand at a time, in constant memory."""
    if existing(path).suffix != ".jsonl":
        for batch in _open_parquet(path).iter_batches(batch_size=rows.PART_ROWS, use_threads=False):
            yield as_batch(pa.Table.from_batches([batch]))
        return
    lines = _read_json_lines(path)
    while some := list(islice(lines, rows.PART_ROWS)):
        yield to_batch(some)


def count(path: Path) -> int:
    """Rows of a pairs file of either form."""
    if existing(path).suffix != ".jsonl":
        return int(_open_parquet(path).metadata.num_rows)
    return sum(1 for _ in _read_json_lines(path))


def has_small_row_groups(path: Path) -> bool:
    """Whether a Parquet pairs file is divided as `Writer` divides it."""
    metadata = _open_parquet(path).metadata
    return all(metadata.row_group(i).num_rows <= rows.PART_ROWS for i in range(metadata.num_row_groups))


def existing(path: Path) -> Path:
    """The path; raises UserError where no file is there."""
    if not path.is_file():
        raise UserError(f"{path}: no such pairs file; give a .parquet or .jsonl file that `clip-italian collect` wrote")
    return path


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
