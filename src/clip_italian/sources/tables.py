"""Your own pairs: JSON lines, CSV or Parquet with a picture and a caption per row, or pairs files to merge.

Picture paths start at the folder of the file. A row without an id gets one derived from the URL or from the picture's
content, so that rows of one picture are merged, and equal file names in two folders are not.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian.errors import UserError
from clip_italian.files.names import as_stored
from clip_italian.pairs import Pair, split_name
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.text import Line, Row, decode, flaw, key_id, lines, one_line, place, rows

DELIMITERS = (",", ";", "\t")
_BATCH = 1_000
_OTHERS = ("id", "source", "split", "captions_original", "captions_en", "license", "page", "phash")


@dataclass(frozen=True)
class Columns:
    """Names of the columns with picture, caption(s) and id; None for those of a pairs file.

    `source` is the source of rows that name none; None for the file's name.
    """

    image: str | None = None
    caption: str | None = None
    id: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class JsonLines:
    """Reads one file of JSON lines: `{"image_path": …, "captions": […]}`, or with `image` and `caption`."""

    columns: Columns = Columns()

    def __call__(self, path: Path) -> Iterator[Pair | Reject]:
        for line in lines(path):
            yield from [line] if isinstance(line, Reject) else self._pair(line, path)

    def _pair(self, line: Line, path: Path) -> Iterator[Pair | Reject]:
        if not line.text.strip():
            return
        where = place(path, line.number)
        try:
            values = json.loads(line.text)
        except (ValueError, RecursionError) as error:
            yield Reject("", "not-json", line.text[:200], f"{where}: {error}")
            return
        if isinstance(values, dict):
            yield from_row(values, self.columns, path, where)
        else:
            yield Reject("", "no-object", line.text[:200], where)


@dataclass(frozen=True)
class Csv:
    """Reads one file with a header line.

    `delimiter` None: the one of comma, semicolon and tab with which the header has the columns. Raises UserError if
    there is none.
    """

    columns: Columns
    delimiter: str | None = None

    def __call__(self, path: Path) -> Iterator[Pair | Reject]:
        delimiter, header = self._header(path)
        is_header = True
        for row in rows(lines(path), delimiter) if header else ():
            if isinstance(row, Reject):
                yield row
            elif is_header:
                is_header = False
            elif len(row.fields) != len(header):
                detail = f"{place(path, row.number)}: {len(row.fields)} columns, not {len(header)}"
                yield Reject("", "wrong-columns", delimiter.join(row.fields)[:200], detail)
            else:
                yield from_row(dict(zip(header, row.fields, strict=True)), self.columns, path, place(path, row.number))

    def _header(self, path: Path) -> tuple[str, list[str]]:
        """The delimiter and the column names; no names for an empty file."""
        needed = {name for name in (self.columns.image, self.columns.caption, self.columns.id) if name}
        best: list[str] = []
        for delimiter in [self.delimiter] if self.delimiter else DELIMITERS:
            read = rows(lines(path), delimiter)
            found = next(([name.strip() for name in row.fields] for row in read if isinstance(row, Row)), [])
            if needed <= set(found) or not found:
                return delimiter, found
            best = max(best, found, key=len)
        raise UserError(
            f"{path}: no column {', '.join(sorted(needed - set(best)))} in its first line {', '.join(best)[:200]!r}; "
            "name columns with --image-column, --caption-column, --id-column, and set --delimiter if needed"
        )


@dataclass(frozen=True)
class Parquet:
    """Reads one Parquet file: a pairs file, or any table with the given columns."""

    columns: Columns = Columns()

    def __call__(self, path: Path) -> Iterator[Pair | Reject]:
        count = 0
        try:
            file = pq.ParquetFile(path)
            names = _chosen(file.schema_arrow, self.columns, path)
            for batch in file.iter_batches(batch_size=_BATCH, columns=names, use_threads=False):
                columns = [_values(batch.column(name)) for name in names]
                for values in zip(*columns, strict=True):
                    count += 1
                    row = dict(zip(names, values, strict=True))
                    yield from_row(row, self.columns, path, f"{path.name}, row {count}")
        except (pa.ArrowException, OSError) as error:
            what = f"damaged after row {count}" if count else "not a Parquet file"
            raise UserError(f"{path}: {what} ({error}); write or copy it again") from error


def _chosen(schema: pa.Schema, columns: Columns, path: Path) -> list[str]:
    names: list[str] = schema.names
    for what, some in (("image", _image_names(columns)), ("caption", _caption_names(columns)), ("id", (columns.id,))):
        if not any(name is None or name in names for name in some):
            raise UserError(f"{path}: no column {some[0]!r}; it has {', '.join(names)}; name it with --{what}-column")
    image = next(name for name in _image_names(columns) if name in names)
    if pa.types.is_struct(schema.field(image).type):
        raise UserError(f"{path}: column {image!r} holds picture contents; write them to files and give their paths")
    taken = {*_image_names(columns), *_caption_names(columns), columns.id, *_OTHERS}
    return [name for name in names if name in taken]


def _values(column: pa.Array) -> list[Any]:
    """Values as Python objects; text that is not UTF-8 is decoded as in text files."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        some = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
        return [_decoded(value) for value in column.cast(pa.list_(pa.binary()) if some else pa.binary()).to_pylist()]


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    return decode(value) if isinstance(value, bytes) else value


def _image_names(columns: Columns) -> tuple[str, ...]:
    return (columns.image,) if columns.image else ("image", "image_path", "url")


def _caption_names(columns: Columns) -> tuple[str, ...]:
    return (columns.caption,) if columns.caption else ("captions", "caption")


def from_row(values: Mapping[str, Any], columns: Columns, path: Path, where: str) -> Pair | Reject:
    """A row as a pair. Its `id` is used only if the column is named, or if the row is from a pairs file."""
    image = next((values[name] for name in _image_names(columns) if values.get(name)), None)
    if not isinstance(image, str) or not image.strip():
        return Reject("", "no-image", detail=where)
    named = values.get(columns.id) if columns.id else values.get("id") if values.get("source") else None
    given = "" if named is None else str(named)
    captions, originals = _captions(values, columns)
    split, source, *rest = (_text(values.get(name)) for name in ("split", "source", "license", "page", "phash"))
    texts = (image, given, *captions, *originals, split, source, *rest)
    reason = next(filter(None, (flaw(text) for text in texts if text)), None)
    if reason:
        return Reject("", reason, detail=where)
    target = image.strip() if "://" in image else os.path.normpath(as_stored(path.parent / image.strip()))
    try:
        id_ = given or id_of(target)
        if "://" not in image and not Path(target).is_file():
            return Reject(given, "missing-image", image, where)
    except OSError as error:
        return Reject(given, "missing-image", image, f"{where}: {error.strerror}")
    if not captions:
        return Reject(id_, "no-caption", detail=where)
    name = source or columns.source or path.stem
    return Pair(id_, target, captions, name, split_name(split), originals or None, *rest)


def _captions(values: Mapping[str, Any], columns: Columns) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Non-empty captions and the texts they were translated from, aligned if both lists have the same length."""
    found = next((values[name] for name in _caption_names(columns) if values.get(name)), ())
    captions = [one_line(_text(text) or "") for text in (found if isinstance(found, list) else [found])]
    beside = values.get("captions_original") or values.get("captions_en") or ()
    originals = [_text(text) or "" for text in beside] if isinstance(beside, list) else []
    if len(originals) == len(captions):
        originals = [original for original, caption in zip(originals, captions, strict=True) if caption]
    return tuple(filter(None, captions)), tuple(originals)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


@lru_cache(maxsize=256)  # rows of one picture are often adjacent
def id_of(image: str) -> str:
    """An id derived from a URL, or from the content of a picture file."""
    return made_id(image if "://" in image else None, lambda: Path(image).read_bytes())


def made_id(url: str | None, content: Callable[[], bytes]) -> str:
    """An id derived from the URL if there is one, else from the picture's content."""
    return key_id("url", url) if url and "://" in url else f"img-{hashlib.sha256(content()).hexdigest()[:16]}"
