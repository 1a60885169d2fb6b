"""A folder of pictures with captions in sidecar files or in the pictures.

The first of these that has a text gives the captions; one that is missing, empty, damaged or written by a camera
("OLYMPUS DIGITAL CAMERA", a file name) is skipped:

1. `a.jpg.json` or `a.json`: `captions` or `caption`, optionally with `license`, `page`, `split`, `id`
2. `a.jpg.txt` or `a.txt`: one caption per line
3. descriptions: in the JSON of a photo service (`sidecars`), in `a.jpg.xmp` or `a.xmp`, in the picture (`embedded`)
4. titles, in the same order

A sidecar that cannot be read becomes a reject with the reason, even if there is a caption elsewhere.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clip_italian.pairs import Pair, split_name
from clip_italian.pictures.walk import Choice, require_pictures, walk
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources import embedded, sidecars, xmp
from clip_italian.sources.facts import Facts
from clip_italian.sources.tables import id_of
from clip_italian.sources.text import decode, flaw, one_line

_TEXTS = ("license", "page", "split", "id")


@dataclass(frozen=True)
class Folder:
    """Reads a folder recursively, pictures sorted by path. `source` defaults to the folder's name.

    Other media and files that `choice` excludes are rejects.
    """

    source: str | None = None
    choice: Choice = field(default_factory=Choice)

    def __call__(self, folder: Path) -> Iterator[Pair | Reject]:
        """The pairs and rejects of a folder. Raises UserError if it has no picture."""
        found = require_pictures(walk(folder, self.choice), folder)
        for path in found.pictures:
            name = str(path.relative_to(folder)).encode(errors="replace").decode()
            rejects: list[Reject] = []
            try:
                pair = self._pair(path, folder, name, rejects)
            except OSError as error:
                yield _reject("unreadable", path, folder, error.strerror or str(error))
                continue
            yield from rejects
            if pair is not None:
                yield pair
            elif not rejects:
                yield Reject("", "no-caption", name)
        for reason, paths in (
            ("unreadable", found.unreadable), ("other-media", found.other), ("excluded", found.excluded)
        ):  # fmt: skip
            for path, detail in paths:
                yield _reject(reason, path, folder, detail)

    def _pair(self, path: Path, folder: Path, name: str, rejects: list[Reject]) -> Pair | None:
        candidates = _Candidates(path, name, rejects)
        found = next(filter(None, candidates.captions()), None)
        if found is None:
            return None
        texts = candidates.texts
        if reason := next(filter(None, map(flaw, [*texts.values(), str(path)])), None):
            rejects.append(Reject("", reason, name))
            return None
        return Pair(
            id=texts.get("id") or id_of(str(path)),
            image=str(path),
            captions=tuple(dict.fromkeys(found)),
            source=self.source or folder.name,
            split=split_name(texts.get("split")),
            license=texts.get("license"),
            page=texts.get("page"),
        )


class _Candidates:
    """Captions and other texts of one picture, from its sidecars and itself; unreadable sidecars go to `rejects`."""

    def __init__(self, path: Path, name: str, rejects: list[Reject]) -> None:
        self._path, self._name, self._rejects = path, name, rejects
        self._found = sidecars.beside(path)
        self._data = [data for one in self._found.json if (data := self._json(one)) is not None]
        self.texts: dict[str, str] = {}
        for data in self._data:
            found = {key: value for key in _TEXTS if isinstance(value := data.get(key), str) and value}
            self.texts = found | self.texts

    def captions(self) -> Iterator[list[str]]:
        """The captions of each place in turn, empty if it has none."""
        for data in self._data:
            yield self._storable(captions_of(data))
        for one in self._found.txt:
            yield self._storable(self._lines(one))
        services = [sidecars.read_json(data) for data in self._data]
        packets = [packet for one in self._found.xmp if (packet := self._xmp(one)) is not None]
        beside = [*services, *packets]
        for texts in beside:
            yield self._first(embedded.meaningful(texts.descriptions, self._path.name))
        inside = embedded.read(self._path, self._path.name)
        yield self._first(inside.descriptions)
        for texts in beside:
            yield self._first(embedded.meaningful(texts.titles, self._path.name))
        yield self._first(inside.titles)

    def _first(self, some: tuple[str, ...]) -> list[str]:
        return self._storable(list(some[:1]))

    def _storable(self, some: list[str]) -> list[str]:
        """The texts; none if one of them cannot be stored."""
        reason = next(filter(None, map(flaw, some)), None)
        if reason:
            self._rejects.append(Reject("", reason, self._name))
        return [] if reason else some

    def _content(self, path: Path) -> bytes:
        try:
            return sidecars.content(path)
        except OSError as error:
            self._reject(path, "unreadable", error.strerror or str(error))
        except ValueError as error:
            self._reject(path, "sidecar-too-large", str(error))
        return b""

    def _json(self, path: Path) -> dict[str, Any] | None:
        before = len(self._rejects)
        raw = self._content(path)
        try:
            return sidecars.json_object(raw) if len(self._rejects) == before else None
        except sidecars.NoObjectError:
            self._reject(path, "no-object")
        except ValueError as error:
            self._reject(path, "not-json", str(error))
        return None

    def _xmp(self, path: Path) -> Facts | None:
        before = len(self._rejects)
        raw = self._content(path)
        try:
            return xmp.read(raw) if len(self._rejects) == before else None
        except ValueError as error:
            self._reject(path, "not-xmp", str(error))
        return None

    def _lines(self, path: Path) -> list[str]:
        raw = self._content(path)
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            lines = decode(raw).splitlines()
        else:
            lines = [decode(line) for line in raw.splitlines()]  # line by line: a file may mix encodings
        return [text for line in lines if (text := one_line(line))]

    def _reject(self, path: Path, reason: str, detail: str | None = None) -> None:
        self._rejects.append(Reject("", reason, self._name, f"{path.name}: {detail}" if detail else path.name))


def _reject(reason: str, path: Path, folder: Path, detail: str) -> Reject:
    name, shown = (text.encode(errors="replace").decode() for text in (str(path.relative_to(folder)), detail))
    return Reject("", reason, name, shown)


def captions_of(data: dict[str, Any]) -> list[str]:
    """Captions of a JSON object, under `captions` or `caption`; a list may be written as a string."""
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
