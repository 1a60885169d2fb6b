"""WebDataset shards: tar files with KEY.jpg, KEY.txt and KEY.json, as `clip-italian fetch` and img2dataset write them.

The pictures are unpacked into a folder, since a pairs file names files. Nothing in a shard decides where a
file is written: its name is made from shard and key.
"""

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from clip_italian.images import SUFFIXES
from clip_italian.pairs import Pair, split_name
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.folder import captions_of
from clip_italian.sources.tables import made_id
from clip_italian.sources.text import decode, flaw, one_line

# Largest members that are read.
MOST_BYTES = {".txt": 1 << 20, ".json": 1 << 24, ".cls": 1 << 10}
MOST_PICTURE_BYTES = 100_000_000
_BLOCK = 512  # bytes, of a tar file
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass
class Sample:
    """The members of one key: picture with its suffix, caption file, data, class (`.cls`)."""

    key: str
    picture: tuple[str, bytes] | None = None
    text: bytes | None = None
    data: bytes | None = None
    label: bytes | None = None
    too_large: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class WebDataset:
    """Reads one shard; its pictures go to a folder of its own in `pictures`. `source` is for samples that name none."""

    pictures: Path
    source: str = "webdataset"

    def __call__(self, shard: Path) -> Iterator[Pair | Reject]:
        # Shards of one name in two folders stay apart; the same shard again writes the same files.
        where = hashlib.sha256(str(shard.resolve().parent).encode()).hexdigest()[:8]
        folder = self.pictures / f"{shard.stem}-{where}"
        for sample in samples(shard):
            yield sample if isinstance(sample, Reject) else self._pair(sample, shard, folder)

    def _pair(self, sample: Sample, shard: Path, folder: Path) -> Pair | Reject:
        place = f"{shard.name}: {sample.key}".encode(errors="replace").decode()
        if sample.too_large:
            return Reject("", "member-too-large", detail=f"{place}{sample.too_large[0]}")
        if sample.picture is None:
            return Reject("", "no-picture", detail=place)
        path = _target(sample.key, sample.picture[0], folder)
        content = sample.picture[1]
        pair = describe(sample.data, sample.text, lambda: content, str(path), self.source, place)
        if isinstance(pair, Pair):
            _write(content, path)
        return pair


def describe(
    data: bytes | None, text: bytes | None, content: Callable[[], bytes], image: str, source: str, place: str
) -> Pair | Reject:
    """The pair that a sample's .json and .txt make of its picture: its content, where asked for, and name `image`.

    `place` is for the reject's detail.
    """
    values = json_object(data)
    if isinstance(values, str):
        return Reject("", values, detail=place)
    captions = captions_of(values)
    if not captions and text is not None:
        captions = list(filter(None, map(one_line, decode(text).splitlines())))
    if not captions:
        return Reject("", "no-caption", detail=place)
    originals = captions_of({"captions": values.get("captions_original")})
    texts = {name: value for name, value in values.items() if isinstance(value, str) and value}
    reason = next(filter(None, map(flaw, [*captions, *originals, *texts.values()])), None)
    if reason:
        return Reject("", reason, detail=place)
    return Pair(
        id=texts.get("id") or made_id(texts.get("url"), content),
        image=image,
        captions=tuple(captions),
        source=texts.get("source") or source,
        split=split_name(texts.get("split")),
        captions_original=tuple(originals) if len(originals) == len(captions) else None,
        license=texts.get("license"),
        page=texts.get("page") or texts.get("url"),
    )


def samples(shard: Path) -> Iterator[Sample | Reject]:
    """Members with one key, which stand together; damage ends the shard with a reject."""
    try:
        with tarfile.open(shard, "r|*") as archive:
            members = (member for member in archive if member.isfile())
            for key, some in groupby(members, key=lambda member: divide(member.name)[0]):
                yield _read(archive, key, some)
        if is_cut(shard):
            raise tarfile.ReadError("its end is missing")
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        yield Reject("", "damaged-tar", detail=f"{shard.name}: {error}; write or copy it again")


def is_cut(shard: Path) -> bool:
    """Whether an uncompressed shard lacks the empty block at its end, which tarfile does not mind."""
    with shard.open("rb") as file:
        if file.read(2) in (b"\x1f\x8b", b"BZ", b"\xfd7"):
            return False  # the compression has an end of its own
        file.seek(-_BLOCK, os.SEEK_END)
        return file.tell() % _BLOCK != 0 or any(file.read())


def divide(name: str) -> tuple[str, str]:
    """Key and suffix, at the first dot of the file's name."""
    folder, _, file = name.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return f"{folder}/{stem}" if folder else stem, f"{dot}{suffix}".lower()


def _read(archive: tarfile.TarFile, key: str, members: Iterator[tarfile.TarInfo]) -> Sample:
    sample = Sample(key)
    for member in members:
        suffix = divide(member.name)[1]
        if suffix not in SUFFIXES and suffix not in MOST_BYTES:
            continue
        if member.size > MOST_BYTES.get(suffix, MOST_PICTURE_BYTES):
            sample.too_large.append(suffix)
            continue
        file = archive.extractfile(member)
        content = file.read() if file else b""
        if len(content) < member.size:
            raise tarfile.ReadError(f"{key}{suffix} is cut off")
        if suffix == ".txt":
            sample.text = content
        elif suffix == ".json":
            sample.data = content
        elif suffix == ".cls":
            sample.label = content
        else:
            sample.picture = suffix, content
    return sample


def json_object(raw: bytes | None) -> dict[str, Any] | str:
    """The sample's data, or why there is none."""
    try:
        data = json.loads(decode(raw)) if raw is not None else {}
    except (ValueError, RecursionError):
        return "not-json"
    return data if isinstance(data, dict) else "no-object"


def _target(key: str, suffix: str, folder: Path) -> Path:
    name = key if _PLAIN.fullmatch(key) else hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:24]
    return (folder / f"{name}{suffix}").resolve()


def _write(content: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
