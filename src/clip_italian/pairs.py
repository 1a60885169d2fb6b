"""The pairs file: one row an image with its captions, as Parquet or the original project's JSON lines.

    id, image, captions, source, split, captions_original, license, page, phash

`image` is a path relative to the file (or absolute, or an URL). Stages of the pipeline are
functions from pairs to pairs; none changes its input file.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian.assets import staged
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
    text = unicodedata.normalize("NFKC", caption).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in text).split())


def write(pairs: Iterable[Pair], path: Path) -> int:
    """Write Parquet (`.parquet`) or JSON lines (`.jsonl`), in place at the end; return the row count."""
    rows = [asdict(pair) for pair in pairs]
    with staged(path) as temporary:
        if path.suffix == ".jsonl":
            temporary.write_text("".join(_to_json_line(row) for row in rows), encoding="utf-8")
        else:
            pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
    return len(rows)


def read(path: Path) -> list[Pair]:
    """Read a pairs file of either form.

    Raises UserError with the place where the file is missing, empty, no pairs file, or has a
    row without an image or without a caption that says something.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such pairs file; give a .parquet or .jsonl file that `clip-italian collect` wrote")
    pairs = list(_read_json_lines(path) if path.suffix == ".jsonl" else _read_parquet(path))
    if not pairs:
        raise UserError(f"{path}: the pairs file is empty; collect some pairs first (clip-italian collect --help)")
    return pairs


def image_path(pair: Pair, pairs_file: Path) -> Path:
    """Where the picture lies: relative paths start at the folder of the pairs file."""
    return pairs_file.parent / pair.image


def fingerprint(pairs: Sequence[Pair]) -> str:
    """Hex digest over ids, captions and splits in order: names the data a model was trained on."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(json.dumps([pair.id, pair.captions, pair.split], ensure_ascii=False).encode())
    return digest.hexdigest()[:16]


def _to_json_line(row: dict[str, Any]) -> str:
    kept = {"image_path": row.pop("image"), "captions": row.pop("captions")}
    kept.update({key: value for key, value in row.items() if value is not None})
    return json.dumps(kept, ensure_ascii=False) + "\n"


def _read_json_lines(path: Path) -> Iterator[Pair]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{place}: not JSON ({error.msg}); mend or remove the line") from error
            if not isinstance(row, dict) or "image_path" not in row or "captions" not in row:
                raise UserError(f'{place}: no pair; expected {{"image_path": …, "captions": […]}}')
            row.setdefault("captions_original", row.get("captions_en"))
            row.setdefault("id", Path(row["image_path"]).stem)
            row.setdefault("source", path.stem)
            yield _to_pair(row | {"image": row["image_path"]}, place)


def _read_parquet(path: Path) -> Iterator[Pair]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a Parquet file ({error}); write it again with `clip-italian collect`") from error
    missing = {"id", "image", "captions", "source"} - set(table.column_names)
    if missing:
        raise UserError(f"{path}: no pairs file, it lacks the columns {', '.join(sorted(missing))}")
    for number, row in enumerate(table.to_pylist(), start=1):
        yield _to_pair(row, f"{path}, row {number}")


def _to_pair(row: dict[str, Any], place: str) -> Pair:
    captions = row["captions"] if isinstance(row["captions"], list) else [row["captions"]]
    if not captions or not all(isinstance(c, str) and c.strip() for c in captions):
        raise UserError(f"{place}: image {row['image']!r} has an empty caption; remove it or the pair")
    original = row.get("captions_original")
    return Pair(
        id=str(row["id"]),
        image=row["image"],
        captions=tuple(captions),
        source=row["source"],
        split=row.get("split"),
        captions_original=tuple(original) if original else None,
        license=row.get("license"),
        page=row.get("page"),
        phash=row.get("phash"),
    )
