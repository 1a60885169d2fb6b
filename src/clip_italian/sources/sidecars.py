"""Sidecar files of a picture: captions and dates in text, JSON and XMP.

The sidecars of `a.jpg` are `a.jpg.SUFFIX` and `a.SUFFIX` with `.json`, `.txt` or `.xmp`. Google Takeout has its own
rules: `a.jpg.supplemental-metadata.json` and any shorter form of it, `a.jpg(1).json` for `a(1).jpg`, names cut off
after 46 characters, and the sidecar of `a.jpg` also for `a-edited.jpg`.
"""

import json
import os
import re
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from clip_italian.pictures import dates
from clip_italian.pictures.decoding import SUFFIXES
from clip_italian.sources import xmp
from clip_italian.sources.text import decode

# Larger sidecars are not read.
MOST_BYTES = {".json": 1 << 22, ".txt": 1 << 20, ".xmp": xmp.MOST_BYTES}
_TAKEOUT = ".supplemental-metadata"
_CUT_FROM = 20  # characters; Takeout cuts names at 46, earlier with non-ASCII letters
_NUMBERED = re.compile(r"(.+?)(\(\d+\))")
_EDITED = re.compile(r"(.+)-(edited|modificat[ao]|modifié|bearbeitet|editad[ao]|bewerkt)(\(\d+\))?", re.IGNORECASE)
# Keys in lower case, without the group prefix of ExifTool.
_DESCRIPTIONS = ("description", "caption-abstract", "imagedescription", "usercomment")
_TITLES = ("title", "headline", "objectname")
_SECONDS = ("phototakentime",)
_DATES = ("datetimeoriginal", "datecreated", "datetimedigitized", "createdate", "date_taken", "taken")


class Sidecars(NamedTuple):
    """Sidecars of a picture by format, those with its full name first."""

    json: tuple[Path, ...] = ()
    txt: tuple[Path, ...] = ()
    xmp: tuple[Path, ...] = ()


class NoObjectError(ValueError):
    """JSON that is not an object."""


class JsonTexts(NamedTuple):
    """Descriptions and titles in a JSON sidecar as written, and when the picture was taken."""

    descriptions: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    taken: datetime | None = None


def beside(picture: Path) -> Sidecars:
    """The sidecars of a picture; none if its folder cannot be read."""
    try:
        names = _listed(picture.parent)
    except OSError:
        return Sidecars()
    if not names:
        return Sidecars()
    found = {kind: _named(picture, kind, names) for kind in MOST_BYTES}
    found[".json"] += [name for name in _takeout(picture, names) if name not in found[".json"]]
    return Sidecars(*(tuple(picture.with_name(name) for name in found[kind]) for kind in (".json", ".txt", ".xmp")))


def taken(picture: Path) -> datetime | None:
    """When a picture was taken by its sidecars, XMP before JSON, in wall time (see `dates`); None if unknown."""
    found = beside(picture)
    for path in (*found.xmp, *found.json):
        try:
            texts = xmp.read(content(path)) if path in found.xmp else read_json(json_object(content(path)))
        except (OSError, ValueError):
            continue
        if texts.taken is not None:
            return texts.taken
    return None


def content(path: Path) -> bytes:
    """Content of a sidecar. Raises OSError, and ValueError if it is larger than `MOST_BYTES` allows."""
    most = MOST_BYTES[path.suffix.lower()]
    with path.open("rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise ValueError(f"over {most:,} bytes")
    return raw


def json_object(raw: bytes) -> dict[str, Any]:
    """The object in a JSON sidecar, also as the only item of a list, as ExifTool writes it.

    Raises ValueError if it is not JSON, and its subclass NoObjectError if it is not an object.
    """
    try:
        data = json.loads(decode(raw))
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, dict):
        raise NoObjectError("no JSON object")
    return data


def read_json(data: dict[str, Any]) -> JsonTexts:
    """Texts and date in the JSON of a photo service or of ExifTool."""
    known: dict[str, Any] = {}
    for key, value in data.items():
        known.setdefault(key.rpartition(":")[2].lower(), value)
    moments = [dates.from_seconds(_seconds(known.get(key))) or dates.parse(known.get(key)) for key in _SECONDS]
    moments += [dates.parse(known.get(key)) for key in _DATES]
    return JsonTexts(_texts(known, _DESCRIPTIONS), _texts(known, _TITLES), next(filter(None, moments), None))


def _seconds(value: Any) -> Any:
    return value.get("timestamp") if isinstance(value, dict) else value


def _texts(known: dict[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(value for key in keys if isinstance(value := known.get(key), str) and value.strip())


def _named(picture: Path, kind: str, names: dict[str, str]) -> list[str]:
    """Sidecars `a.jpg.SUFFIX` and `a.SUFFIX`, by exact name or else with the suffix in another case."""
    wanted = (picture.name + kind, picture.stem + kind)
    found = (names.get(_normal(name)) or names.get(_folded(name)) for name in wanted)
    return list(dict.fromkeys(name for name in found if name))


def _takeout(picture: Path, names: dict[str, str]) -> Iterator[str]:
    """JSON sidecars that Google Takeout wrote."""
    stem, number, suffix = _normal(picture.stem), "", _normal(picture.suffix)
    if edited := _EDITED.fullmatch(stem):
        original = picture.with_name(f"{edited[1]}{edited[3] or ''}{suffix}")
        yield from _named(original, ".json", names)
        yield from _takeout(original, names)
    if numbered := _NUMBERED.fullmatch(stem):
        stem, number = numbered[1], numbered[2]
    base = stem + suffix
    whole = base + _TAKEOUT
    for length in range(len(whole), len(base) - 1, -1):
        if found := names.get(f"{whole[:length]}{number}.json"):
            yield found
            return
    for length in range(len(base) - 1, _CUT_FROM - 1, -1):
        # Several pictures may begin like this: the title is the name before it was cut off.
        for some in ("", *(f"({count})" for count in range(1, 10))):
            if (found := names.get(f"{base[:length]}{some}.json")) and _is_titled(picture.with_name(found), stem):
                yield found
                return


def _is_titled(path: Path, stem: str) -> bool:
    """True if the title in a JSON sidecar begins with the picture's name, except for letters that Takeout replaces."""
    try:
        title = json_object(content(path)).get("title")
    except (OSError, ValueError):
        return False
    return isinstance(title, str) and re.sub(r"\W", "_", _normal(title)).startswith(re.sub(r"\W", "_", stem))


def _normal(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    """A name with its suffix, and the picture's suffix before it, in lower case."""
    stem, dot, suffix = _normal(name).rpartition(".")
    before, second, picture = stem.rpartition(".")
    if second and f".{picture.lower()}" in SUFFIXES:
        stem = f"{before}.{picture.lower()}"
    return f"{stem}{dot}{suffix.lower()}"


_lock = threading.Lock()


def _listed(folder: Path) -> dict[str, str]:
    """Names of the sidecars in a folder, keyed by their normalised and folded names."""
    changed = folder.stat().st_mtime_ns
    if 0 <= time.time_ns() - changed < 1_000_000_000:  # it may change again within the clock's resolution
        return _list.__wrapped__(str(folder), changed)
    with _lock:  # threads that read the same folder list it once
        return _list(str(folder), changed)


@lru_cache(maxsize=16)
def _list(folder: str, changed: int) -> dict[str, str]:
    with os.scandir(folder) as entries:
        some = [one.name for one in entries if Path(one.name).suffix.lower() in MOST_BYTES and one.is_file()]
    found = {_normal(name): name for name in some}
    for name in some:
        found.setdefault(_folded(name), name)
    return found
