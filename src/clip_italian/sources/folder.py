"""A folder of pictures with captions beside them or inside.

The first of these that says something gives the captions; one that is missing, empty, damaged or written by a camera
("OLYMPUS DIGITAL CAMERA", a file name) ends nothing:

1. `a.jpg.json` or `a.json`: `captions` or `caption`, perhaps with `license`, `page`, `split`, `id`
2. `a.jpg.txt` or `a.txt`: a caption a line
3. descriptions: in the JSON of a photo service (`sidecars`), in `a.jpg.xmp` or `a.xmp`, in the picture (`embedded`)
4. titles, in the same order

A sidecar that cannot be read is a reject with its reason, whether or not there is a caption elsewhere.
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
from clip_italian.sources.tables import id_of
from clip_italian.sources.text import decode, flaw, one_line

_TEXTS = ("license", "page", "split", "id")


@dataclass(frozen=True)
class Folder:
    """Reads a folder and those below it, pictures in order of their paths. `source` None: the folder's name.

    Other media, and what `choice` excludes, are rejects, each by itself.
    """

    source: str | None = None
    choice: Choice = field(default_factory=Choice)

    def __call__(self, folder: Path) -> Iterator[Pair | Reject]:
        """Raises UserError where there is no picture."""
        found = require_pictures(walk(folder, self.choice), folder)
        for path in found.pictures:
            name = str(path.relative_to(folder)).encode(errors="replace").decode()
            rejects: list[Reject] = []
            try:
                pair = self._pair(path, folder, name, rejects)
            except OSError as error:
                yield _left_out("unreadable", path, folder, error.strerror or str(error))
                continue
            yield from rejects
            if pair is not None:
                yield pair
            elif not rejects:
                yield Reject("", "no-caption", name)
        for reason, those in (
            ("unreadable", found.unreadable), ("other-media", found.other), ("excluded", found.excluded)
        ):  # fmt: skip
            for path, detail in those:
                yield _left_out(reason, path, folder, detail)

    def _pair(self, path: Path, folder: Path, name: str, rejects: list[Reject]) -> Pair | None:
        beside = _Beside(path, name, rejects)
        found = next(filter(None, beside.captions()), None)
        if found is None:
            return None
        texts = beside.texts
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


class _Beside:
    """What the files beside a picture say; those that cannot be read go to `rejects`."""

    def __init__(self, path: Path, name: str, rejects: list[Reject]) -> None:
        self._path, self._name, self._rejects = path, name, rejects
        self._found = sidecars.beside(path)
        self._data = [data for one in self._found.json if (data := self._json(one)) is not None]
        self.texts: dict[str, str] = {}
        for data in self._data:
            told = {key: value for key in _TEXTS if isinstance(value := data.get(key), str) and value}
            self.texts = told | self.texts

    def captions(self) -> Iterator[list[str]]:
        """The captions of each source in turn, with none for what says nothing."""
        for data in self._data:
            yield self._sound(captions_of(data))
        for one in self._found.txt:
            yield self._sound(self._lines(one))
        services = [sidecars.read_json(data) for data in self._data]
        packets = [packet for one in self._found.xmp if (packet := self._xmp(one)) is not None]
        beside: list[sidecars.Told | xmp.Xmp] = [*services, *packets]
        for told in beside:
            yield self._first(embedded.said(told.descriptions, self._path.name))
        inside = embedded.texts(self._path)
        yield self._first(inside.descriptions)
        for told in beside:
            yield self._first(embedded.said(told.titles, self._path.name))
        yield self._first(inside.titles)

    def _first(self, some: tuple[str, ...]) -> list[str]:
        return self._sound(list(some[:1]))

    def _sound(self, some: list[str]) -> list[str]:
        """Nothing where one of them cannot be stored."""
        reason = next(filter(None, map(flaw, some)), None)
        if reason:
            self._rejects.append(Reject("", reason, self._name))
        return [] if reason else some

    def _content(self, path: Path) -> bytes:
        try:
            return sidecars.content(path)
        except OSError as error:
            self._bad(path, "unreadable", error.strerror or str(error))
        except ValueError as error:
            self._bad(path, "sidecar-too-large", str(error))
        return b""

    def _json(self, path: Path) -> dict[str, Any] | None:
        before = len(self._rejects)
        raw = self._content(path)
        try:
            return sidecars.json_object(raw) if len(self._rejects) == before else None
        except sidecars.NoObjectError:
            self._bad(path, "no-object")
        except ValueError as error:
            self._bad(path, "not-json", str(error))
        return None

    def _xmp(self, path: Path) -> xmp.Xmp | None:
        before = len(self._rejects)
        raw = self._content(path)
        try:
            return xmp.read(raw) if len(self._rejects) == before else None
        except ValueError as error:
            self._bad(path, "not-xmp", str(error))
        return None

    def _lines(self, path: Path) -> list[str]:
        raw = self._content(path)
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            lines = decode(raw).splitlines()
        else:
            lines = [decode(line) for line in raw.splitlines()]  # each by itself: a file may mix encodings
        return [text for line in lines if (text := one_line(line))]

    def _bad(self, path: Path, reason: str, detail: str | None = None) -> None:
        self._rejects.append(Reject("", reason, self._name, f"{path.name}: {detail}" if detail else path.name))


def _left_out(reason: str, path: Path, folder: Path, detail: str) -> Reject:
    name, told = (text.encode(errors="replace").decode() for text in (str(path.relative_to(folder)), detail))
    return Reject("", reason, name, told)


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
