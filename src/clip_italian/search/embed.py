"""Reading and embedding pictures in parts that a kill cannot undo: the work of `index build` and `index add`.

A part is a folder with `rows.parquet` (`FOUND`), `vectors.npy` (m, dim) of bfloat16 in uint16, and what was left out.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from clip_italian.errors import UserError
from clip_italian.pictures.decoding import PictureError, ahead, decode_bytes, read_bytes
from clip_italian.pictures.phash import picture_hash
from clip_italian.pipeline.rejects import Reject, write_rejects
from clip_italian.search.rows import CONTENT, MOST_NS, pack_look
from clip_italian.search.vectors import to_bf16
from clip_italian.sources import embedded, sidecars

ROWS_FILE = "rows.parquet"
VECTORS_FILE = "vectors.npy"
LEFT_OUT_FILE = "left-out.jsonl"
_HASHED_SIDE = 256  # pixels that a hash is made of are enough; of large pictures it would take as long as decoding

# What is to be embedded: number in the scan, absolute path, part of the file, and what is known already.
TODO = pa.schema(
    [
        pa.field("n", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("place", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("look", pa.binary(14)),
    ]
)
# What came of it: where it stood, and what reading it told.
FOUND = pa.schema([TODO.field(name) for name in ("id", "place", "offset", "size", "mtime_ns")] + list(CONTENT))


class PictureEncoder(Protocol):
    """What embedding needs of a model; `DualEncoder` and `OnnxEncoder` are such."""

    @property
    def dim(self) -> int: ...

    @property
    def weights_hash(self) -> str: ...

    @property
    def at_least(self) -> int | None: ...

    @property
    def picture_batch(self) -> int: ...

    def preprocess(self, image: Image.Image) -> Any: ...

    def encode_pixels(self, pixels: Sequence[Any]) -> np.ndarray: ...


@dataclass(frozen=True)
class Embed:
    """Embeds part after part of `todo`, `size` rows each.

    `encoder` None: loaded by `model` where the work is done, on another machine, and checked against `weights_hash`.
    """

    todo: Path
    size: int
    model: str
    weights_hash: str
    encoder: PictureEncoder | None = None

    def __call__(self, number: int, folder: Path) -> None:
        encoder = self.encoder or _loaded(self.model, self.weights_hash)
        table = pq.read_table(self.todo, memory_map=True).slice(number * self.size, self.size)
        found, vectors, left_out = [], [np.zeros((0, encoder.dim), np.float32)], []
        for batch in ahead(table.to_pylist(), encoder.picture_batch, lambda row: _read(row, encoder)):
            good = []
            for row, result in batch:
                if isinstance(result, PictureError):
                    left_out.append(Reject(row["id"], "unreadable", row["place"], _without_place(result, row["place"])))
                else:
                    good.append((row, *result))
            if good:
                vectors.append(encoder.encode_pixels([pixels for _, _, pixels in good]))
                found += [{name: row[name] for name in FOUND.names if name in row} | told for row, told, _ in good]
        write_part(folder, pa.Table.from_pylist(found, FOUND), to_bf16(np.concatenate(vectors)), left_out)


def write_part(folder: Path, found: pa.Table, bits: np.ndarray, left_out: Sequence[Reject] = ()) -> None:
    """The files of a part, in a folder that is not there yet. Raises UserError for vectors that are no numbers."""
    if np.any((bits & 0x7F80) == 0x7F80):
        raise UserError("the model gave embeddings that are no numbers (NaN or infinite); it cannot be searched with")
    folder.mkdir()
    pq.write_table(found, folder / ROWS_FILE, compression="zstd")
    np.save(folder / VECTORS_FILE, bits)
    write_rejects(left_out, folder / LEFT_OUT_FILE)


def digest(place: str, part: tuple[int, int] | None) -> bytes:
    """sha256 of a picture file, or of a part of one; raises PictureError where it cannot be read."""
    return hashlib.sha256(read_bytes(Path(place), part)).digest()


def part_of(row: dict[str, Any]) -> tuple[int, int] | None:
    """First byte and length of a row's picture in its file, None for all of it."""
    return None if row["offset"] is None else (row["offset"], row["length"])


def _read(row: dict[str, Any], encoder: PictureEncoder) -> tuple[dict[str, Any], Any]:
    """What a picture tells (`CONTENT`), and its pixels for the model."""
    part = part_of(row)
    content = read_bytes(Path(row["place"]), part)
    name = row["place"] if part is None else f"{row['place']} at {part[0]}"
    side = encoder.at_least
    image = decode_bytes(content, name, None if side is None else max(side, 2 * _HASHED_SIDE))
    told = {
        "sha256": hashlib.sha256(content).digest(),
        "look": row["look"] or pack_look(look(image)),
        "taken": taken(content, Path(row["place"])) or _changed(row["mtime_ns"]) if part is None else taken(content),
    }
    return told, encoder.preprocess(image)


def look(image: Image.Image) -> str:
    """`identity.picture_hash`, of large pictures by a smaller copy."""
    factor = min(image.size) // _HASHED_SIDE
    return picture_hash(image.reduce(factor) if factor > 1 else image)


def taken(content: bytes, path: Path | None = None) -> datetime | None:
    """When a picture was taken, in wall time (see `clip_italian.pictures.dates`); None where nothing sensible is told.

    By its own account (`embedded.moments`), else by the sidecars beside `path`, else EXIF's date of change.
    """
    by_itself, changed = embedded.moments(content)
    return by_itself or (sidecars.taken(path) if path is not None else None) or changed


def _changed(mtime_ns: int | None) -> datetime | None:
    """A file's time of change on the clock of this machine, as the other dates; None where unknown or out of range.

    1970 to the nanosecond is unknown: programs that unpack archives or write images of disks set it.
    """
    if not mtime_ns or abs(mtime_ns) >= MOST_NS:
        return None
    return datetime.fromtimestamp(mtime_ns // 1_000_000_000)


def finished(room: Path) -> Iterator[Path]:
    """Parts of killed runs that hold embeddings."""
    parts = (path for path in sorted(room.glob("run-*/[0-9]*")) if (path / ROWS_FILE).is_file())
    return (path for path in parts if pq.read_metadata(path / ROWS_FILE).num_rows)


def _without_place(error: PictureError, place: str) -> str:
    text = str(error)
    return text.removeprefix(place).removeprefix(": ")


@lru_cache(maxsize=1)
def _loaded(model: str, weights_hash: str) -> PictureEncoder:
    from clip_italian.models.load import load

    encoder = load(model)
    if encoder.weights_hash != weights_hash:
        raise UserError(f"{model}: another model on this machine (hash {encoder.weights_hash}, not {weights_hash})")
    return encoder
