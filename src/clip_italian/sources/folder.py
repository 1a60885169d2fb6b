"""A folder of pictures with captions beside them or inside.

Beside `a.jpg` lie `a.json` (`caption` or `captions`, perhaps `license`, `page`, `split`, `id`), or `a.txt`
(or `a.jpg.txt`) with a caption a line; else the picture's own caption is taken (XMP, IPTC, EXIF).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_italian.images import find_pictures
from clip_italian.pairs import Pair, split_name
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources import embedded
from clip_italian.sources.tables import id_of
from clip_italian.sources.text import Line, flaw, lines, one_line, read_all

_TEXTS = ("license", "page", "split", "id")


@dataclass(frozen=True)
class Folder:
    """Reads a folder and those below it, pictures in order of their paths. `source` None: the folder's name."""

    source: str | None = None

    def __call__(self, folder: Path) -> Iterator[Pair | Reject]:
        """Raises UserError where there is no picture."""
        for path in find_pictures(folder):
            try:
                yield self._pair(path, folder)
            except OSError as error:
                yield Reject("", "unreadable", str(path.relative_to(folder)), error.strerror or str(error))

    def _pair(self, path: Path, folder: Path) -> Pair | Reject:
        name = str(path.relative_to(folder))
        found: list[str] | Reject | None
        data: dict[str, Any] = {}
        if (sidecar := _sidecar(path, ".json")) is not None:
            read = _json(sidecar, name)
            if isinstance(read, Reject):
                return read
            data, found = read, captions_of(read)
        elif (sidecar := _sidecar(path, ".txt")) is not None:
            found = _lines(sidecar, name)
        else:
            inside = embedded.caption(path)
            found = [inside] if inside else []
        if isinstance(found, Reject):
            return found
        if not found:
            return Reject("", "no-caption", name)
        texts = {key: value for key in _TEXTS if isinstance(value := data.get(key), str) and value}
        reason = next(filter(None, map(flaw, [*found, *texts.values(), str(path)])), None)
        if reason:
            return Reject("", reason, detail=name.encode(errors="replace").decode())
        return Pair(
            id=texts.get("id") or id_of(str(path)),
            image=str(path),
            captions=tuple(dict.fromkeys(found)),
            source=self.source or folder.name,
            split=split_name(texts.get("split")),
            license=texts.get("license"),
            page=texts.get("page"),
        )


def captions_of(data: dict[str, Any]) -> list[str]:
    """The captions of a JSON object, by the names `captions` or `caption`; a list may be written as text."""
    for key in ("captions", "caption"):
        value = data.get(key)
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except ValueError:
                value = data[key]
        some = value if isinstance(value, list) else [value]
        if found := [line for text in some if isinstance(text, str) and (line := one_line(text))]:
            return found
    return []


def _sidecar(path: Path, suffix: str) -> Path | None:
    places = (path.with_suffix(suffix), path.with_name(path.name + suffix))
    return next((place for place in places if place.is_file()), None)


def _json(path: Path, name: str) -> dict[str, Any] | Reject:
    try:
        data = json.loads(read_all(path))
    except (ValueError, RecursionError) as error:
        return Reject("", "not-json", name, f"{path.name}: {error}")
    return data if isinstance(data, dict) else Reject("", "no-object", name, path.name)


def _lines(path: Path, name: str) -> list[str] | Reject:
    found: list[str] = []
    for line in lines(path):
        if not isinstance(line, Line):
            return Reject("", line.reason, name, line.detail)
        if text := one_line(line.text):
            found.append(text)
    return found
