"""Import and export of embeddings, in the layout of clip-retrieval or as one Parquet file.

FOLDER/img_emb/img_emb_0.npy           (n, dim) float16 or float32
FOLDER/metadata/metadata_0.parquet     image_path, and perhaps caption, url, id and more, in the same order
FILE.parquet                           such columns, and one of lists of numbers
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.models.encoder import SearchEncoder
from clip_italian.pictures.decoding import PictureError, open_picture
from clip_italian.pipeline.rejects import Reject
from clip_italian.search.commit import write_part
from clip_italian.search.index import Index
from clip_italian.search.inputs import Entry, Roots, root_of, vector_column
from clip_italian.search.schema import CONTENT, EMBEDDED, ROWS, absolute_path

VECTOR_COLUMN = "embedding"
_NUMBERED = re.compile(r"img_emb_(\d+)\.npy")
_BATCH = 65_536
# Pictures to embed again, to see whether the embeddings are this model's.
_CHECKED = 4
_SAME_MODEL = 0.98  # least cosine


def read(
    path: Path, roots: Roots, workspace: Path, encoder: SearchEncoder, pictures: Path | None = None
) -> Iterator[Entry | Reject]:
    """Entries of embeddings, whose vectors are written to parts in `workspace`; paths start from `pictures`.

    Raises UserError where vectors and rows do not match, or where pictures show that another model made them.
    """
    number = roots.add(pictures.resolve() if pictures else root_of(path))
    checked = 0
    for part, (table, vectors) in enumerate(_tables(path)):
        if vectors.shape[1] != encoder.dim:
            raise UserError(f"{path}: embeddings of {vectors.shape[1]} numbers, the model's have {encoder.dim}")
        lengths = np.linalg.norm(vectors, axis=1)
        good = np.isfinite(lengths) & (lengths > 1e-6)
        vectors = vectors / np.where(good, lengths, 1)[:, None]
        found, kept = [], []
        for row, values in enumerate(table.to_pylist()):
            entry = _entry(values, number, f"{path.stem}-{part}-{row}")
            if not good[row]:
                yield Reject(entry.id, "bad-vector", detail=f"{path}: zero or not finite")
                continue
            if checked < _CHECKED:
                checked += _check(Path(absolute_path(roots.paths, number, entry.path)), vectors[row], encoder, path)
            content = _content(values)
            where = absolute_path(roots.paths, number, entry.path)
            found.append({"id": entry.id, "place": where, "size": entry.size, "mtime_ns": entry.mtime_ns} | content)
            kept.append(row)
            yield entry
        write_part(workspace / f"vectors-{part:06d}", pa.Table.from_pylist(found, EMBEDDED), vectors[kept])


def parts_of(run: Path) -> list[Path]:
    """The parts that `read` wrote below a folder."""
    return sorted(run.glob("imported-*/vectors-*"))


def export(index: Index, output: Path) -> int:
    """Write rows and float16 vectors of an index as clip-retrieval's folder or one .parquet; return their number."""
    columns = ROWS.names
    count = 0
    with staged(output) as temporary:
        if output.suffix != ".parquet":
            (temporary / "img_emb").mkdir(parents=True)
            (temporary / "metadata").mkdir()
        writer: pq.ParquetWriter | None = None
        for number, (table, vectors) in enumerate(_gathered(index, columns)):
            rows = _exported(table, index.manifest.roots)
            count += len(rows)
            if output.suffix != ".parquet":
                np.save(temporary / "img_emb" / f"img_emb_{number:04d}.npy", vectors)
                pq.write_table(rows, temporary / "metadata" / f"metadata_{number:04d}.parquet", compression="zstd")
                continue
            flat = pa.array(vectors.astype(np.float32).ravel())
            rows = rows.append_column(VECTOR_COLUMN, pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
            writer = writer or pq.ParquetWriter(temporary, rows.schema, compression="zstd")
            writer.write_table(rows)
        if writer is not None:
            writer.close()
    return count


def _gathered(index: Index, columns: Sequence[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
    tables: list[pa.Table] = []
    vectors: list[np.ndarray] = []
    for table, some in index.store.content(columns):
        tables.append(table)
        vectors.append(some)
        if sum(map(len, tables)) >= _BATCH:
            yield pa.concat_tables(tables), np.concatenate(vectors)
            tables, vectors = [], []
    if tables:
        yield pa.concat_tables(tables), np.concatenate(vectors)


def _exported(table: pa.Table, roots: Sequence[str]) -> pa.Table:
    """Rows with absolute `image_path`; sha256 and look become text, and the stamp of the sidecars is left out."""
    rows = table.to_pylist()
    places = [absolute_path(roots, row["root"], row["path"]) for row in rows]
    table = table.drop_columns(["root", "path", "sidecars"]).add_column(0, "image_path", pa.array(places))
    for name in ("sha256", "look"):
        texts = pa.array([row[name].hex() if row[name] else None for row in rows], pa.string())
        table = table.set_column(table.column_names.index(name), name, texts)
    return table


def _tables(path: Path) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Rows and their vectors (m, dim) float32, some ten thousand at a time."""
    if path.is_file():
        yield from _parquet(path)
        return
    for file in sorted((path / "img_emb").glob("img_emb_*.npy")):
        match = _NUMBERED.fullmatch(file.name)
        rows = path / "metadata" / f"metadata_{match[1] if match else ''}.parquet"
        try:
            vectors = np.load(file, mmap_mode="r", allow_pickle=False)
            table = pq.read_table(rows)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise UserError(f"{file}: cannot be read together with {rows.name} ({error})") from error
        if vectors.ndim != 2 or len(vectors) != len(table):
            raise UserError(
                f"{file}: {vectors.shape} vectors for the {len(table):,} rows of {rows.name}; they belong together"
            )
        for start in range(0, len(table), _BATCH):
            yield table.slice(start, _BATCH), np.asarray(vectors[start : start + _BATCH], np.float32)


def _parquet(path: Path) -> Iterator[tuple[pa.Table, np.ndarray]]:
    file = pq.ParquetFile(path)
    column = vector_column(file.schema_arrow)
    assert column is not None
    for batch in file.iter_batches(batch_size=_BATCH):
        table = pa.Table.from_batches([batch])
        lists = table[column].combine_chunks()
        flat = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), np.float32)
        if lists.null_count or len(table) == 0 or len(flat) % len(table):
            raise UserError(f"{path}: {column} has lists of different lengths, or none in some row")
        yield table.drop_columns([column]), flat.reshape(len(table), -1)


def _entry(values: dict[str, Any], root: int, otherwise: str) -> Entry:
    def text(*names: str) -> str | None:
        return next((str(values[name]) for name in names if values.get(name) not in (None, "")), None)

    def number(name: str) -> int | None:
        return int(values[name]) if isinstance(values.get(name), int) else None

    path = text("image_path", "path", "image", "url", "key") or otherwise
    return Entry(
        text("id", "image_path", "path", "image", "key", "url") or otherwise, root, path, number("size"),
        number("mtime_ns"), number("offset"), number("length"), text("source"), text("license"), text("page", "url"),
        text("caption", "TEXT", "text"), _binary(values.get("look")),
    )  # fmt: skip


def _content(values: dict[str, Any]) -> dict[str, Any]:
    """The columns `schema.CONTENT` of a row as `export` writes it; null where other programs mean something else."""
    kinds = {"keywords": list, "latitude": float, "longitude": float, "taken": datetime}
    found = {name: values.get(name) for name in CONTENT.names}
    for name in ("sha256", "look"):
        found[name] = _binary(found[name])
    for name in CONTENT.names[2:]:
        if not isinstance(found[name], kinds.get(name, str)):
            found[name] = None
    if not all(isinstance(word, str) for word in found["keywords"] or ()):
        found["keywords"] = None
    return found


def _binary(value: Any) -> bytes | None:
    return bytes.fromhex(value) if isinstance(value, str) else None


def _check(picture: Path, vector: np.ndarray, encoder: SearchEncoder, path: Path) -> int:
    """1 where the picture could be embedded again and matches, 0 where it cannot be read.

    Raises UserError where it does not match.
    """
    try:
        image = open_picture(picture)
    except PictureError:
        return 0
    score = float(encoder.encode_pixels([encoder.preprocess(image)])[0] @ vector)
    if score < _SAME_MODEL:
        raise UserError(
            f"{path}: the model did not make these embeddings ({picture} has a cosine of {score:.3f} to its own)"
        )
    return 1
