"""Inputs of an index: folders of pictures, pairs files, shards. Each gives entries, and rejects with the reason.

Of pictures only names and sizes are read here, of shards the headers, .json and .txt.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.files.names import as_stored
from clip_italian.pairs import Pair
from clip_italian.pictures.phash import packed
from clip_italian.pictures.shards import FURTHER_PICTURE, FURTHER_PICTURE_DETAIL, Sample, ShardError, samples
from clip_italian.pictures.walk import Choice, Skipped, holds_shards, require_pictures, walk
from clip_italian.pipeline.rejects import Reject
from clip_italian.search.schema import MAX_NS, SCANNED
from clip_italian.sources.folder import captions_of
from clip_italian.sources.sidecars import Stamps
from clip_italian.sources.text import decode as decode_text
from clip_italian.sources.text import flaw, one_line
from clip_italian.sources.webdataset import json_object


@dataclass(frozen=True)
class Entry:
    """A picture in an input; fields as in `schema.ENTRY`, and the packed perceptual hash `look` where it is known.

    A modification time beyond 64 bits (before 1677, after 2262) is clipped to -`MAX_NS` or `MAX_NS`.
    """

    id: str
    root: int
    path: str
    size: int | None
    mtime_ns: int | None
    offset: int | None = None
    length: int | None = None
    source: str | None = None
    license: str | None = None
    page: str | None = None
    caption: str | None = None
    look: bytes | None = None
    sidecars: int | None = None

    def __post_init__(self) -> None:
        if self.mtime_ns is not None and abs(self.mtime_ns) > MAX_NS:
            object.__setattr__(self, "mtime_ns", MAX_NS if self.mtime_ns > 0 else -MAX_NS)


def as_table(entries: Sequence[Entry]) -> pa.Table:
    """Entries as a table with `schema.SCANNED`."""
    columns = {name: [getattr(one, name) for one in entries] for name in SCANNED.names}
    return pa.table(columns, schema=SCANNED)


def kind(path: Path) -> str:
    """The kind of an input: "folder", "shards", "pairs" or "vectors" (existing embeddings). Raises UserError."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give pictures, a pairs file, shards or embeddings")
    if has_vectors(path):
        return "vectors"
    if path.is_dir():
        return "shards" if holds_shards(path) else "folder"
    if path.suffix == ".tar":
        return "shards"
    if path.suffix in (".parquet", ".jsonl"):
        return "pairs"
    raise UserError(f"{path}: give a folder, a pairs file (.parquet, .jsonl), shards (.tar) or embeddings (.parquet)")


def has_vectors(path: Path) -> bool:
    """True for embeddings: a folder of clip-retrieval, or Parquet with a column of lists of numbers."""
    if path.is_dir():
        return any((path / "img_emb").glob("img_emb_*.npy"))
    if path.suffix != ".parquet":
        return False
    try:
        return vector_column(pq.read_schema(path)) is not None
    except (pa.ArrowException, OSError):
        return False


def vector_column(schema: pa.Schema) -> str | None:
    """The name of the first column of lists of floats, None without one."""
    for field in schema:
        sort = field.type
        if (pa.types.is_fixed_size_list(sort) or pa.types.is_list(sort) or pa.types.is_large_list(sort)) and (
            pa.types.is_floating(sort.value_type)
        ):
            return str(field.name)
    return None


def root_of(path: Path) -> Path:
    """The folder that the paths of an input's pictures start from."""
    return path.resolve() if path.is_dir() else path.resolve().parent


class Roots:
    """The folders of an index. Ids of pictures in folders are paths; below a second folder they begin with its name."""

    def __init__(self, known: Sequence[str] = ()) -> None:
        self.paths = list(known)

    def add(self, folder: Path) -> int:
        """The number of the root that contains `folder`, a new one where none does."""
        for number, root in enumerate(self.paths):
            if folder.is_relative_to(root):
                return number
        self.paths.append(str(folder))
        return len(self.paths) - 1

    def prefix(self, number: int) -> str:
        """The prefix of the ids of pictures below this root."""
        if number == 0:
            return ""
        name = Path(self.paths[number]).name
        same = sum(Path(other).name == name for other in self.paths[1:number])
        return f"{name}~{same + 1}/" if same else f"{name}/"


def scan(
    path: Path, roots: Roots, choice: Choice | None = None, aside: Skipped | None = None
) -> Iterator[Entry | Reject]:
    """Entries of one input of any kind except "vectors". Raises UserError where it cannot be read.

    Of a folder, `choice` selects files; those that are no pictures are added to the counts in `aside`.
    """
    sort = kind(path)
    if sort == "folder":
        return _folder(path.resolve(), roots, choice, aside or Skipped())
    return _pairs(path, roots) if sort == "pairs" else _shards(path, roots)


def _folder(folder: Path, roots: Roots, choice: Choice | None, aside: Skipped) -> Iterator[Entry | Reject]:
    number = roots.add(folder)
    prefix = roots.prefix(number)
    found = require_pictures(walk(folder, choice), folder)
    aside.add(found.skipped)
    source = Path(roots.paths[number]).name
    stamps = Stamps()
    starts: dict[str, str] = {}  # of the paths in a folder: a relative path for each picture would take long
    for path in found.pictures:
        above, name = os.path.split(path)
        if above not in starts:
            start = Path(above).relative_to(roots.paths[number]).as_posix()
            starts[above] = "" if start == "." else f"{start}/"
        inside = starts[above] + name
        try:
            inside.encode()
            status = path.stat()
        except OSError as error:
            yield Reject(_readable(inside), "unreadable", detail=error.strerror or str(error))
        except UnicodeEncodeError:
            yield Reject(_readable(inside), "broken-name", detail="its name is not UTF-8; rename it")
        else:
            yield Entry(
                prefix + inside, number, inside, status.st_size, status.st_mtime_ns, source=source,
                sidecars=stamps.of(path, above),
            )  # fmt: skip
    for path, reason in found.unreadable:
        inside = _readable(os.path.relpath(path, roots.paths[number]))
        yield Reject(prefix + inside, "unreadable", detail=reason)


def _readable(path: str) -> str:
    """A path with "?" for what is no Unicode."""
    return path.encode(errors="replace").decode()


def _pairs(path: Path, roots: Roots) -> Iterator[Entry | Reject]:
    folder = root_of(path)
    number = roots.add(folder)
    stamps = Stamps()
    for batch in pairs.batches(path):
        for pair in pairs.from_batch(batch):
            yield _paired(pair, folder, number, roots, stamps)


def _paired(pair: Pair, folder: Path, number: int, roots: Roots, stamps: Stamps) -> Entry | Reject:
    if "://" in pair.image:
        return Reject(pair.id, "no-file", pair.image, "an address; get the pictures by clip-italian fetch")
    picture = as_stored(folder / pair.image)
    absolute = Path(pair.image).is_absolute()
    inside = str(picture) if absolute else os.path.relpath(picture, roots.paths[number])
    try:
        status = picture.stat()
    except (OSError, ValueError) as error:
        return Reject(pair.id, "unreadable", pair.image, getattr(error, "strerror", None) or str(error))
    return Entry(
        pair.id, number, Path(inside).as_posix(), status.st_size, status.st_mtime_ns, source=pair.source,
        license=pair.license, page=pair.page, caption=pair.captions[0] if pair.captions else None,
        look=packed(pair.phash), sidecars=stamps.of(picture, str(picture.parent)),
    )  # fmt: skip


def _shards(path: Path, roots: Roots) -> Iterator[Entry | Reject]:
    shards = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    number = roots.add(root_of(path))
    for shard in shards:
        yield from _shard(shard.resolve(), number, Path(roots.paths[number]))


def _shard(shard: Path, number: int, root: Path) -> Iterator[Entry | Reject]:
    """Samples of an uncompressed shard; damage ends it with a reject, the samples before it are kept."""
    inside = shard.relative_to(root).as_posix()
    try:
        status = shard.stat()
        for sample in samples(shard):
            name = _readable(f"{shard.stem}/{sample.key}")
            picture = sample.picture
            if picture is None:
                yield Reject(name, "no-picture", detail=f"no picture in this sample of {inside}")
            elif sample.is_further:
                yield Reject(name, FURTHER_PICTURE, detail=FURTHER_PICTURE_DETAIL)
            else:
                fields = _fields(sample)
                yield Entry(
                    fields.pop("id", None) or name, number, inside, picture.size, status.st_mtime_ns,
                    picture.offset, picture.size, **fields,
                )  # fmt: skip
    except (OSError, ShardError) as error:
        yield Reject(inside, "damaged-tar", detail=f"{error}; write or copy it again, uncompressed")


def _fields(sample: Sample) -> dict[str, Any]:
    """What a sample's .json and .txt say, as far as they can be read."""
    values = json_object(sample.text(".json"))
    fields = {} if isinstance(values, str) else values
    found = {name: fields[name] for name in ("id", "source", "license", "page") if isinstance(fields.get(name), str)}
    if "page" not in found and isinstance(fields.get("url"), str):
        found["page"] = fields["url"]
    lines = map(one_line, decode_text(sample.text(".txt") or b"").splitlines())
    if caption := next(iter(captions_of(fields)), None) or next(filter(None, lines), None):
        found["caption"] = caption
    if isinstance(phash := fields.get("phash"), str):
        found["look"] = packed(phash)
    return {name: value for name, value in found.items() if not isinstance(value, str) or flaw(value) is None}
