"""Metadata columns of a row: what a picture file and the sidecars beside it say.

Descriptions and titles are taken from sidecars first, as for captions, since people write there later. Dates,
coordinates, places and cameras are taken from the picture first. Keywords of all are joined.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from clip_italian import console
from clip_italian.pictures.decoding import PictureError, prefetch, read_bytes
from clip_italian.search.schema import CONTENT, MAX_NS, absolute_path
from clip_italian.sources import embedded, sidecars

COLUMNS = tuple(name for name in CONTENT.names if name not in ("sha256", "look"))
# Most characters of a text that is kept, and most keywords: Milvus stores no more than 64 KB of each.
_LONGEST = {"title": 1_000, "description": 10_000, "location": 1_000, "camera": 200}
_MOST_KEYWORDS, _LONGEST_KEYWORD = 100, 100
_BATCH = 1_024  # pictures read ahead


def read(source: bytes | Path, path: Path | None = None, mtime_ns: int | None = None) -> dict[str, Any]:
    """The columns `COLUMNS` of a picture, given its content or its file.

    `path` is the picture's file, beside which sidecars may lie, None for a part of a file; `mtime_ns` its modification
    time. `taken` is the date of the picture's own metadata, else of a sidecar, else EXIF's date of change, else the
    modification time, in local time (see `clip_italian.pictures.dates`); None where no date makes sense.
    """
    name = path.name if path is not None else ""
    own = embedded.read(source, name)
    beside = sidecars.facts(path) if path is not None else []
    some = [own, *beside]
    titles = embedded.meaningful([text for one in beside for text in one.titles], name) + own.titles
    texts = embedded.meaningful([text for one in beside for text in one.descriptions], name) + own.descriptions
    keywords: dict[str, str] = {}
    for word in embedded.labels([word for one in some for word in one.keywords]):
        if len(word) <= _LONGEST_KEYWORD:
            keywords.setdefault(word.casefold(), word)
    taken = next((one.taken for one in some if one.taken), None) or own.changed or _modified(mtime_ns)
    point = next((one.point for one in some if one.point), None)
    candidates = {
        "title": titles,
        "description": texts,
        "location": embedded.labels([one.place for one in some]),
        "camera": embedded.labels([one.camera for one in some]),
    }
    columns: dict[str, Any] = {
        column: found[0][: _LONGEST[column]] if found else None for column, found in candidates.items()
    }
    return columns | {
        "taken": taken,
        "keywords": list(keywords.values())[:_MOST_KEYWORDS],
        "latitude": point.latitude if point else None,
        "longitude": point.longitude if point else None,
    }


def completed(rows: pa.Table, roots: Sequence[str]) -> pa.Table:
    """Rows (with `schema.ROWS`, and perhaps more columns) in which metadata that was never read is filled in.

    Rows of an older format and of imported embeddings have null keywords. Only files that exist with the size and
    modification time of their row are read; other rows stay as they are.
    """
    unread = rows["keywords"].is_null().to_numpy() & rows["size"].is_valid().to_numpy()
    if not unread.any():
        return rows
    fields = ["root", "path", "offset", "length", "size", "mtime_ns"]
    todo = rows.select(fields).filter(pa.array(unread)).to_pylist()
    with console.progress("metadata", len(todo)) as advance:
        found: list[dict[str, Any] | None] = []
        for batch in prefetch(todo, _BATCH, lambda row: _read_again(row, roots)):
            found += [None if isinstance(result, PictureError) else result for _, result in batch]
            advance(len(batch))
    numbers = iter(found)
    filled = [next(numbers) if one else None for one in unread.tolist()]
    for name in COLUMNS:
        field = CONTENT.field(name)
        old = rows[name].to_pylist()
        values = [before if one is None else one[name] for before, one in zip(old, filled, strict=True)]
        rows = rows.set_column(rows.column_names.index(name), field, pa.array(values, field.type))
    return rows


def _read_again(row: dict[str, Any], roots: Sequence[str]) -> dict[str, Any] | None:
    """`read` of a row's file; None where it is gone or another one. Raises PictureError where it cannot be read."""
    path = Path(absolute_path(roots, row["root"], row["path"]))
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    if status.st_mtime_ns != row["mtime_ns"]:
        return None
    if row["offset"] is not None:
        return read(read_bytes(path, (row["offset"], row["length"])))
    return read(path, path, row["mtime_ns"]) if status.st_size == row["size"] else None


def _modified(mtime_ns: int | None) -> datetime | None:
    """A modification time on this machine's clock, as the other dates; None where unknown or out of range.

    1970 to the nanosecond is unknown: programs that unpack archives or write disk images set it.
    """
    if not mtime_ns or abs(mtime_ns) >= MAX_NS:
        return None
    return datetime.fromtimestamp(mtime_ns // 1_000_000_000)
