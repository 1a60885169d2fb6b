"""Reading and embedding pictures, part by part: the work of `index build` and `index add` that survives a kill."""

import hashlib
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from clip_italian.errors import UserError
from clip_italian.models.encoder import SearchEncoder
from clip_italian.models.load import load
from clip_italian.models.precision import Identity
from clip_italian.pictures.decoding import PictureError, decode_bytes, prefetch, read_bytes
from clip_italian.pictures.phash import packed, picture_hash
from clip_italian.pipeline.rejects import Reject
from clip_italian.search import metadata
from clip_italian.search.commit import write_part
from clip_italian.search.schema import EMBEDDED

_HASHED_SIDE = 256  # a hash needs no more pixels; of a large picture it would take as long as decoding


@dataclass(frozen=True)
class Embed:
    """Embeds a part of the table `todo` (`schema.TO_EMBED`), `size` rows each.

    Without `encoder`, `model` is loaded where the work runs, on another machine, and checked against `identity`.
    """

    todo: Path
    size: int
    model: str
    identity: Identity
    encoder: SearchEncoder | None = None

    def __call__(self, number: int, folder: Path) -> None:
        encoder = self.encoder or _loaded(self.model, self.identity)
        table = pq.read_table(self.todo, memory_map=True).slice(number * self.size, self.size)
        rows, vectors, left_out = [], [np.zeros((0, encoder.dim), np.float32)], []
        for batch in prefetch(table.to_pylist(), encoder.picture_batch, lambda row: _read(row, encoder)):
            good = []
            for row, result in batch:
                if isinstance(result, PictureError):
                    left_out.append(Reject(row["id"], "unreadable", row["place"], _reason(result, row["place"])))
                else:
                    good.append((row, *result))
            if good:
                vectors.append(encoder.encode_pixels([pixels for _, _, pixels in good]))
                rows += [{name: row[name] for name in EMBEDDED.names if name in row} | read for row, read, _ in good]
        write_part(folder, pa.Table.from_pylist(rows, EMBEDDED), np.concatenate(vectors), left_out)


@dataclass(frozen=True)
class Todo:
    """The `count` pictures of a table `schema.TO_EMBED`, and the model that will embed them."""

    table: Path
    count: int
    encoder: SearchEncoder

    def estimate(self, sample: int = 24) -> float:
        """The seconds that embedding all of them will take, from a sample across the table; unreadable ones count 0."""
        rows = pq.read_table(self.table, memory_map=True)
        some = rows.take(
            np.unique(np.linspace(0, self.count - 1, min(sample, self.count)).astype(np.int64))
        ).to_pylist()
        start = time.perf_counter()
        for batch in prefetch(some, self.encoder.picture_batch, lambda row: _read(row, self.encoder)):
            if pixels := [result[1] for _, result in batch if not isinstance(result, PictureError)]:
                self.encoder.encode_pixels(pixels)
        return (time.perf_counter() - start) / len(some) * self.count


def digest(place: str, part: tuple[int, int] | None) -> bytes:
    """sha256 of a picture file, or of a part of one; raises PictureError where it cannot be read."""
    return hashlib.sha256(read_bytes(Path(place), part)).digest()


def part_of(row: dict[str, Any]) -> tuple[int, int] | None:
    """First byte and length of a row's picture in its file, None for the whole file."""
    return None if row["offset"] is None else (row["offset"], row["length"])


def _read(row: dict[str, Any], encoder: SearchEncoder) -> tuple[dict[str, Any], Any]:
    """The columns `schema.CONTENT` of a picture, and its pixels for the model."""
    part = part_of(row)
    content = read_bytes(Path(row["place"]), part)
    name = row["place"] if part is None else f"{row['place']} at {part[0]}"
    side = encoder.at_least
    image = decode_bytes(content, name, None if side is None else max(side, 2 * _HASHED_SIDE))
    columns = {"sha256": hashlib.sha256(content).digest(), "look": row["look"] or packed(_hash(image))}
    path, changed = (Path(row["place"]), row["mtime_ns"]) if part is None else (None, None)
    return columns | metadata.read(content, path, changed), encoder.preprocess(image)


def _hash(image: Image.Image) -> str:
    """`phash.picture_hash`, of a large picture by a smaller copy."""
    factor = min(image.size) // _HASHED_SIDE
    return picture_hash(image.reduce(factor) if factor > 1 else image)


def _reason(error: PictureError, place: str) -> str:
    return str(error).removeprefix(place).removeprefix(": ")


@lru_cache(maxsize=1)
def _loaded(model: str, identity: Identity) -> SearchEncoder:
    encoder = load(model)
    if not identity.shares_index_with(encoder.identity):
        raise UserError(f"{model}: another model on this machine ({encoder.identity}, not {identity})")
    return encoder
