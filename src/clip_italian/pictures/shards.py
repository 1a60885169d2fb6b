"""Read WebDataset shards: tar files whose members KEY.jpg, KEY.txt and KEY.json make a sample.

A key ends at the first dot of the file's name, as in WebDataset. But pictures whose names have further dots
(foto.1.jpg, foto.2.jpg) are samples of their own, unless they are further parts of a sample (000.seg.png beside
000.jpg) without a text.
"""

import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from clip_italian.pictures.decoding import SUFFIXES

# Texts of a sample, by suffix, and the largest that are read.
MOST_BYTES = {".txt": 1 << 20, ".json": 1 << 24, ".cls": 1 << 10}
MOST_PICTURE_BYTES = 100_000_000
FURTHER_PICTURE = "further-picture"
FURTHER_PICTURE_DETAIL = "a further picture of a sample, without a caption; give it a key of its own"
_BLOCK = 512  # bytes, of a tar file
_MOST_OPEN = 3  # samples with one stem whose pictures are in memory, as their members may be mixed


class ShardError(Exception):
    """A shard that is damaged, cut off or no tar file."""


@dataclass(frozen=True)
class Member:
    """A file of a shard. Its content starts at byte `offset` of the uncompressed tar; it is None if it was not read."""

    name: str
    suffix: str
    offset: int
    size: int
    content: bytes | None

    @property
    def is_too_large(self) -> bool:
        return self.size > MOST_BYTES.get(self.suffix, MOST_PICTURE_BYTES)


@dataclass
class Sample:
    """Members with one key: the picture and the texts by suffix.

    `is_further` marks a further picture of another sample that no text describes.
    """

    key: str
    picture: Member | None = None
    texts: dict[str, Member] = field(default_factory=dict)
    is_further: bool = False

    def text(self, suffix: str) -> bytes | None:
        """Content of a text; None if there is none or it is too large."""
        member = self.texts.get(suffix)
        return member.content if member else None

    @property
    def too_large(self) -> Member | None:
        """The first member that is too large."""
        members = [*self.texts.values(), *([self.picture] if self.picture else [])]
        return next((member for member in members if member.is_too_large), None)


def samples(shard: Path, contents: bool = False) -> Iterator[Sample]:
    """The samples of a shard in order, one pass, with their texts.

    With `contents` pictures are read too, and the shard may be compressed. Without, only headers and texts are read,
    and the shard must be uncompressed, so that offsets hold in the file. A sample without any picture is given with
    `picture` None. Raises ShardError at damage, after the samples before it.
    """
    try:
        with tarfile.open(shard, "r|*" if contents else "r:") as archive:
            files = (entry for entry in archive if entry.isfile())
            for stem, some in groupby(files, key=lambda entry: _split_first(entry.name)[0]):
                members = (_read(archive, entry, contents) for entry in some)
                yield from _group(stem, members, _MOST_OPEN if contents else None)
        if _is_cut(shard):
            raise tarfile.ReadError("its end is missing")
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise ShardError(str(error)) from error


def _read(archive: tarfile.TarFile, entry: tarfile.TarInfo, contents: bool) -> tuple[str, Member]:
    """Key and member; its content if it is a text, or a picture and wanted."""
    key, suffix = _split(entry.name)
    member = Member(entry.name, suffix, entry.offset_data, entry.size, None)
    if member.is_too_large or not (suffix in MOST_BYTES or (contents and suffix in SUFFIXES)):
        return key, member
    file = archive.extractfile(entry)
    content = file.read() if file else b""
    if len(content) < entry.size:
        raise tarfile.ReadError(f"{key}{suffix} is cut off")
    return key, Member(entry.name, suffix, entry.offset_data, entry.size, content)


def _group(stem: str, members: Iterable[tuple[str, Member]], most_open: int | None) -> Iterator[Sample]:
    """Samples of members whose names begin with `stem`; no more than `most_open` with further dots wait at a time."""
    waiting: dict[str, Sample] = {}
    own_picture = given = False  # if there is a picture with the key `stem`; if a picture was given already
    for key, member in members:
        sample = waiting.setdefault(key, Sample(key))
        if member.suffix in SUFFIXES:
            sample.picture = member
            own_picture = own_picture or key == stem
        elif member.suffix in MOST_BYTES:
            sample.texts[member.suffix] = member
        if most_open is not None and len(waiting) > most_open:
            dotted = [key for key in waiting if key != stem]
            if len(dotted) > most_open:
                first = waiting.pop(dotted[0])
                given = given or first.picture is not None
                yield from _usable(first, stem, own_picture)
    if not given and not any(sample.picture for sample in waiting.values()):
        yield waiting.get(stem, Sample(stem))
        return
    for sample in waiting.values():
        yield from _usable(sample, stem, own_picture)


def _usable(sample: Sample, stem: str, own_picture: bool) -> Iterator[Sample]:
    """The sample; nothing if it is only a further text beside other samples' pictures."""
    is_numbered = sample.key.removeprefix(stem).lstrip(".").isdecimal()
    sample.is_further = sample.key != stem and own_picture and not is_numbered and not sample.texts
    if sample.picture is not None or (sample.key == stem and sample.texts):
        yield sample


def _split(name: str) -> tuple[str, str]:
    """Key and suffix: divided at the last dot of the file's name before a known suffix, else at the first."""
    folder, _, file = name.rpartition("/")
    stem, dot, suffix = file.rpartition(".")
    ending = f"{dot}{suffix}".lower()
    if stem.startswith(".") or not stem or (ending not in SUFFIXES and ending not in MOST_BYTES):
        return _split_first(name)
    return f"{folder}/{stem}" if folder else stem, ending


def _split_first(name: str) -> tuple[str, str]:
    folder, _, file = name.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return f"{folder}/{stem}" if folder else stem, f"{dot}{suffix}".lower()


def _is_cut(shard: Path) -> bool:
    """True if an uncompressed shard lacks the empty block at its end, which tarfile accepts."""
    with shard.open("rb") as file:
        if file.read(2) in (b"\x1f\x8b", b"BZ", b"\xfd7"):
            return False  # the compression has an end of its own
        file.seek(-_BLOCK, os.SEEK_END)
        return file.tell() % _BLOCK != 0 or any(file.read())
