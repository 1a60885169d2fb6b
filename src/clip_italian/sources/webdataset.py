"""WebDataset shards, as `clip-italian fetch`, img2dataset and others write them; the pictures are unpacked.

A pairs file names files, so each picture is written to a folder. Nothing in a shard decides where: the file's name is
made of shard and key.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_italian.pairs import Pair, split_name
from clip_italian.pictures.shards import FURTHER_PICTURE, FURTHER_PICTURE_DETAIL, Sample, ShardError, samples
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.folder import captions_of
from clip_italian.sources.tables import made_id
from clip_italian.sources.text import decode, flaw, one_line

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True)
class WebDataset:
    """Reads one shard and writes its pictures into a folder below `pictures`.

    `source` is the source of samples that name none.
    """

    pictures: Path
    source: str = "webdataset"

    def __call__(self, shard: Path) -> Iterator[Pair | Reject]:
        # Shards with one name in two folders get different folders; the same shard again writes the same files.
        where = hashlib.sha256(str(shard.resolve().parent).encode()).hexdigest()[:8]
        folder = self.pictures / f"{shard.stem}-{where}"
        try:
            for sample in samples(shard, contents=True):
                yield self._pair(sample, shard, folder)
        except ShardError as error:
            yield Reject("", "damaged-tar", detail=f"{shard.name}: {error}; write or copy it again")

    def _pair(self, sample: Sample, shard: Path, folder: Path) -> Pair | Reject:
        place = f"{shard.name}: {sample.key}".encode(errors="replace").decode()
        if large := sample.too_large:
            return Reject("", "member-too-large", detail=f"{place}{large.suffix}")
        if sample.picture is None or sample.picture.content is None:
            return Reject("", "no-picture", detail=place)
        if sample.is_further:
            return Reject("", FURTHER_PICTURE, detail=f"{place}: {FURTHER_PICTURE_DETAIL}")
        content = sample.picture.content
        path = _target(sample.key, sample.picture.suffix, folder)
        pair = describe(sample.text(".json"), sample.text(".txt"), lambda: content, str(path), self.source, place)
        if isinstance(pair, Pair):
            _write(content, path)
        return pair


def describe(
    data: bytes | None, text: bytes | None, content: Callable[[], bytes], image: str, source: str, place: str
) -> Pair | Reject:
    """The pair of a sample: `data` and `text` are its .json and .txt, `image` is the picture's name in the pair.

    `content` returns the picture's content, which makes the id if no other is given. `place` goes into rejects.
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


def json_object(raw: bytes | None) -> dict[str, Any] | str:
    """The data of a sample's .json, empty if there is none, or the reason why it cannot be used."""
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
