"""WebDataset shards: tar files with KEY.jpg, KEY.txt and KEY.json, as `clip-italian fetch` and img2dataset write them.

The pictures are unpacked into a folder, since a pairs file names files. Nothing in a shard decides where a
file is written: its name is made from shard and key.
"""

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from clip_italian.pairs import Pair, split_name
from clip_italian.pictures.decoding import SUFFIXES
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.folder import captions_of
from clip_italian.sources.tables import made_id
from clip_italian.sources.text import decode, flaw, one_line

# Largest members that are read.
MOST_BYTES = {".txt": 1 << 20, ".json": 1 << 24, ".cls": 1 << 10}
MOST_PICTURE_BYTES = 100_000_000
_BLOCK = 512  # bytes, of a tar file
_OPEN = 3  # samples with one beginning of their names, whose members may be mixed
EXTRA = "further-picture"
EXTRA_DETAIL = "a further picture of a sample, without a caption; give it a key of its own"
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
    extra: bool = False  # a further picture of another sample

    @property
    def suffixes(self) -> list[str]:
        """Of the data that is there."""
        told = {".txt": self.text, ".json": self.data, ".cls": self.label}
        return [suffix for suffix, content in told.items() if content is not None]


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
        if sample.extra:
            return Reject("", EXTRA, detail=f"{place}: {EXTRA_DETAIL}")
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
            for stem, some in groupby(members, key=lambda member: _divide(member.name)[0]):
                yield from _read(archive, stem, some)
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


def grouped(members: Iterable[tarfile.TarInfo]) -> Iterator[tuple[str, dict[str, tarfile.TarInfo], bool]]:
    """Key, members by suffix, and `is_extra`, of each sample of a shard.

    A key ends at the first dot of the file's name, as in WebDataset; but names that go on with dots (foto.1.jpg,
    foto.2.jpg) are keys of their own, unless they are only further parts of a sample (000.seg.png beside 000.jpg).
    """
    for stem, some in groupby(members, key=lambda member: _divide(member.name)[0]):
        found: dict[str, dict[str, tarfile.TarInfo]] = {}
        for member in some:
            key, suffix = divide(member.name)
            found.setdefault(key, {})[suffix] = member
        with_picture = {key for key, by_suffix in found.items() if not SUFFIXES.isdisjoint(by_suffix)}
        if not with_picture:
            yield stem, found.get(stem, {}), False
            continue
        for key in found:  # data without a picture beside other samples' are further parts, and of no use
            if key in with_picture or (key == stem and _is_told(found[key])):
                yield key, found[key], key != stem and stem in with_picture and _is_extra(key, stem, found[key])


def _is_extra(key: str, stem: str, suffixes: Collection[str]) -> bool:
    """Whether a picture beside another with the key `stem` is no sample: no number, and nothing is said of it."""
    return not key.removeprefix(stem).lstrip(".").isdecimal() and not _is_told(suffixes)


def _is_told(suffixes: Collection[str]) -> bool:
    return not MOST_BYTES.keys().isdisjoint(suffixes)


def divide(name: str) -> tuple[str, str]:
    """Key and suffix: at the last dot of the file's name before a suffix that is known, else at the first."""
    folder, _, file = name.rpartition("/")
    stem, dot, suffix = file.rpartition(".")
    ending = f"{dot}{suffix}".lower()
    if stem.startswith(".") or not stem or (ending not in SUFFIXES and ending not in MOST_BYTES):
        return _divide(name)
    return f"{folder}/{stem}" if folder else stem, ending


def _divide(name: str) -> tuple[str, str]:
    folder, _, file = name.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return f"{folder}/{stem}" if folder else stem, f"{dot}{suffix}".lower()


def _read(archive: tarfile.TarFile, stem: str, members: Iterator[tarfile.TarInfo]) -> Iterator[Sample]:
    """Samples of members whose names begin alike, as in `grouped`, few of them in memory at once."""
    waiting: dict[str, Sample] = {}
    plain = gone = False  # whether there is a picture of KEY itself; whether others came before
    for member in members:
        key, suffix = divide(member.name)
        sample = waiting.setdefault(key, Sample(key))
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
            plain = plain or key == stem
        dotted = [key for key in waiting if key != stem]
        if len(dotted) > _OPEN:
            first = waiting.pop(dotted[0])
            gone = gone or first.picture is not None
            yield from _wanted(first, stem, plain, True)
    with_picture = gone or any(sample.picture or sample.too_large for sample in waiting.values())
    if not with_picture:
        yield waiting.get(stem, Sample(stem))
        return
    for sample in waiting.values():
        yield from _wanted(sample, stem, plain, with_picture)


def _wanted(sample: Sample, stem: str, plain: bool, with_picture: bool) -> Iterator[Sample]:
    has_picture = sample.picture is not None or bool(sample.too_large)
    sample.extra = sample.key != stem and plain and _is_extra(sample.key, stem, sample.suffixes)
    if has_picture or not with_picture or (sample.key == stem and sample.suffixes):
        yield sample


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
