"""WebDataset shards, read without unpacking, by an index of each picture's first byte.

A shard's index is made from its headers, captions and data, once; it stays in the cache as long as the shard does not
change.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.files import atomic, cache
from clip_italian.pictures.decoding import PictureError, decode
from clip_italian.pictures.shards import FURTHER_PICTURE, Member, Sample, ShardError, samples
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.webdataset import describe
from clip_italian.train.pictures import Pictures

_INDEX = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("image", pa.string()),
        pa.field("captions", pa.list_(pa.string())),
        pa.field("split", pa.string()),
        pa.field("captions_original", pa.list_(pa.string())),
        pa.field("source", pa.string()),
        pa.field("license", pa.string()),
        pa.field("start", pa.int64()),
        pa.field("size", pa.int64()),
    ]
)
_LEFT_OUT = b"left_out"  # in the index's metadata: counts by reason
# Part of an index's name: raise it when indexes change.
_VERSION = 3


class ShardPictures(Pictures):
    """Members of uncompressed tar files: `shards`, and each picture's (n,) shard, first byte, size and name."""

    def __init__(
        self, shards: list[Path], shard: torch.Tensor, start: torch.Tensor, size: torch.Tensor, names: pa.Array
    ) -> None:
        self._shards = shards
        self._shard, self._start, self._size, self._names = shard, start, size, names

    def __len__(self) -> int:
        return len(self._names)

    def name(self, row: int) -> str:
        """Shard and member."""
        return f"{self._shards[self._shard[row]]}/{self._names[row].as_py()}"

    def bytes(self, row: int) -> bytes:
        size = int(self._size[row])
        try:
            with self._shards[self._shard[row]].open("rb") as file:
                file.seek(int(self._start[row]))
                content = file.read(size)
        except OSError as error:
            raise PictureError(f"{self.name(row)}: the shard cannot be read ({error.strerror})") from None
        if len(content) < size:
            raise PictureError(f"{self.name(row)}: the shard is shorter than it was; restore it")
        return content

    def open(self, row: int, at_least: int | None = None) -> Image.Image:
        return decode(io.BytesIO(self.bytes(row)), self.name(row), at_least=at_least)

    def state(self, row: int) -> tuple[str, int, int]:
        """Shard and first byte, the member's size, and the time of the shard's last change."""
        shard = self._shards[self._shard[row]]
        try:
            changed = shard.stat().st_mtime_ns
        except OSError as error:
            raise PictureError(f"{shard}: the shard cannot be read ({error.strerror})") from None
        return f"{shard}:{int(self._start[row])}", int(self._size[row]), changed

    def subset(self, rows: torch.Tensor) -> Self:
        names = self._names.take(pa.array(rows.numpy()))
        return type(self)(self._shards, self._shard[rows], self._start[rows], self._size[rows], names)


def read_shards(folder: Path) -> tuple[pa.Table, ShardPictures]:
    """Rows (id, image, captions, split, captions_original, source, license) and pictures of all .tar files in a folder.

    Samples without a caption or a picture are left out and counted in a notice. Raises UserError naming a
    shard that is missing, shortened or damaged.
    """
    shards = sorted(folder.glob("*.tar"))
    for statistics in sorted(folder.glob("[0-9]*_stats.json")):
        shard = folder / f"{statistics.name.removesuffix('_stats.json')}.tar"
        if not shard.is_file():
            raise UserError(f"{shard}: this shard is missing, though {statistics.name} is there; restore it")
    if not shards:
        raise UserError(f"{folder}: no shards in it (.tar); get some by clip-italian fetch")
    indexes = []
    left_out: Counter[str] = Counter()
    with console.progress("shards", len(shards)) as advance:
        for shard in shards:
            index = _index(shard)
            left_out.update(json.loads(index.schema.metadata[_LEFT_OUT]))
            indexes.append(index.replace_schema_metadata())
            advance(1)
    if left_out:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in left_out.most_common())
        console.notice(f"{folder}: {sum(left_out.values()):,} samples are left out ({reasons})")
    rows = pa.concat_tables(indexes)
    if not len(rows):
        raise UserError(f"{folder}: none of its samples can be used; see clip-italian collect webdataset for the rules")
    owners = torch.repeat_interleave(
        torch.arange(len(shards), dtype=torch.int32), torch.tensor([len(index) for index in indexes])
    )
    start, size = (torch.from_numpy(rows[name].to_numpy().copy()) for name in ("start", "size"))
    names = rows["image"].cast(pa.large_string()).combine_chunks()
    # Members of one name in two shards are two pictures.
    unique = pa.array([f"{owner}/{name}" for owner, name in zip(owners.tolist(), names.to_pylist(), strict=True)])
    rows = rows.drop_columns(["start", "size"]).set_column(1, "image", unique.cast(pa.large_string()))
    return rows, ShardPictures([shard.resolve() for shard in shards], owners, start, size, names)


def _index(shard: Path) -> pa.Table:
    """The shard's index, from the cache if it is there."""
    try:
        state = shard.stat()
    except OSError as error:
        raise UserError(f"{shard}: the shard cannot be read ({error.strerror})") from None
    described = json.dumps([_VERSION, str(shard.resolve()), state.st_size, state.st_mtime_ns])
    cached = cache.cache_dir() / "shards" / f"{hashlib.sha256(described.encode()).hexdigest()[:24]}.parquet"
    if not cached.is_file():
        table = _make_index(shard)
        with atomic.staged(cached) as temporary:
            pq.write_table(table, temporary, compression="zstd")
    return pq.read_table(cached)


def _make_index(shard: Path) -> pa.Table:
    rows = []
    left_out: Counter[str] = Counter()
    for row in _samples(shard):
        if isinstance(row, Reject):
            left_out[row.reason] += 1
        else:
            rows.append(row)
    table = pa.Table.from_pylist(rows, schema=_INDEX)
    return table.replace_schema_metadata({_LEFT_OUT: json.dumps(left_out).encode()})


def _samples(shard: Path) -> Iterator[dict | Reject]:
    """Rows of `_INDEX`, or a reject for each sample that cannot be used."""
    try:
        for sample in samples(shard):
            if sample.is_further:
                yield Reject("", FURTHER_PICTURE, detail=f"{shard.name}: {sample.key}")
            else:
                yield _sample(shard, sample)
    except ShardError as error:
        raise UserError(f"{shard}: the shard is damaged or cut off ({error}); write or copy it again") from None


def _sample(shard: Path, sample: Sample) -> dict | Reject:
    place = f"{shard.name}: {sample.key}"
    picture = sample.picture
    if picture is None:
        return Reject("", "no-picture", detail=place)
    if large := sample.too_large:
        return Reject("", "member-too-large", detail=f"{place}{large.suffix}")
    pair = describe(
        sample.text(".json"), sample.text(".txt"), lambda: _content(shard, picture), picture.name, shard.stem, place
    )
    if isinstance(pair, Reject):
        return pair
    return {
        "id": pair.id, "image": picture.name, "captions": pair.captions, "split": pair.split,
        "captions_original": pair.captions_original, "source": pair.source, "license": pair.license,
        "start": picture.offset, "size": picture.size,
    }  # fmt: skip


def _content(shard: Path, picture: Member) -> bytes:
    with shard.open("rb") as file:
        file.seek(picture.offset)
        return file.read(picture.size)
