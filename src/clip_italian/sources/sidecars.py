"""Sidecar files of a picture: captions and other metadata in text, JSON and XMP.

The sidecars of `a.jpg` are `a.jpg.SUFFIX` and `a.SUFFIX` with `.json`, `.txt` or `.xmp`. Google Takeout has its own
rules: `a.jpg.supplemental-metadata.json` and any shorter form of it, `a.jpg(1).json` for `a(1).jpg`, names cut off
after 46 characters, and the sidecar of `a.jpg` also for `a-edited.jpg`.
"""

import hashlib
import json
import os
import re
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from clip_italian.pictures import dates
from clip_italian.pictures.coordinates import Point, degrees, point
from clip_italian.pictures.decoding import SUFFIXES
from clip_italian.sources import xmp
from clip_italian.sources.facts import Facts, camera_name, place_name, tag_levels
from clip_italian.sources.text import decode, one_line

# Larger sidecars are not read.
MOST_BYTES = {".json": 1 << 22, ".txt": 1 << 20, ".xmp": xmp.MOST_BYTES}
_TAKEOUT = ".supplemental-metadata"
_CUT_FROM = 20  # characters; Takeout cuts names at 46, earlier with non-ASCII letters
_NUMBERED = re.compile(r"(.+?)(\(\d+\))")
_EDITED = re.compile(r"(.+)-(edited|modificat[ao]|modifié|bearbeitet|editad[ao]|bewerkt)(\(\d+\))?", re.IGNORECASE)
# Keys in lower case, without the group prefix of ExifTool.
_DESCRIPTIONS = ("description", "caption-abstract", "imagedescription", "usercomment")
_TITLES = ("title", "headline", "objectname")
_KEYWORDS = ("keywords", "subject", "tags", "personinimage", "lastkeywordxmp", "xpkeywords")
_TAGS = (("hierarchicalsubject", "|"), ("tagslist", "/"))
# Names of ExifTool for IPTC, each with that for XMP.
_PLACE = (
    ("sub-location", "location"), ("city",), ("province-state", "state"), ("country-primarylocationname", "country"),
)  # fmt: skip
_SECONDS = ("phototakentime",)
_DATES = ("datetimeoriginal", "datecreated", "datetimedigitized", "createdate", "date_taken", "taken")


class Sidecars(NamedTuple):
    """Sidecars of a picture by format, those with its full name first."""

    json: tuple[Path, ...] = ()
    txt: tuple[Path, ...] = ()
    xmp: tuple[Path, ...] = ()


class NoObjectError(ValueError):
    """JSON that is not an object."""


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


class Stamps:
    """Stamps of pictures' sidecars, by which a later run sees that one was added, changed or removed.

    Lists each folder once and opens no file, so that it also stamps what only a title in a file shows to be no sidecar.
    """

    def __init__(self) -> None:
        self._folder = lru_cache(maxsize=64)(_Folder)

    def of(self, picture: Path, folder: str) -> int | None:
        """A hash (64 bits) of names, sizes and modification times of a picture's sidecars; None without any."""
        here = self._folder(folder)
        if not here.names:
            return None
        found = {one for kind in here.kinds for one in _named(picture, kind, here.names)}
        if ".json" in here.kinds:
            found.update(_takeout(picture, here.names, confirmed=False))
        stamps = [stamp for one in sorted(found) if (stamp := here.stamp(one)) is not None]
        if not stamps:
            return None
        return int.from_bytes(hashlib.blake2b(repr(stamps).encode(), digest_size=8).digest(), signed=True)


class _Folder:
    """The sidecars in a folder, as they are when it is first asked; none if it cannot be read."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamps: dict[str, tuple[str, int, int] | None] = {}
        try:
            self.names = _list.__wrapped__(path, 0)
        except OSError:
            self.names = {}
        self.kinds = MOST_BYTES.keys() & {_suffix(name) for name in self.names}

    def stamp(self, name: str) -> tuple[str, int, int] | None:
        """Name, size and modification time of a file; None where it is gone."""
        if name not in self._stamps:
            try:
                status = os.stat(os.path.join(self._path, name))  # noqa: PTH116, PTH118
                self._stamps[name] = name, status.st_size, status.st_mtime_ns
            except OSError:
                self._stamps[name] = None
        return self._stamps[name]


def facts(picture: Path) -> list[Facts]:
    """Metadata in the sidecars of a picture, XMP before JSON and text; those that cannot be read are left out.

    Captions in JSON, and the first line of a text, are descriptions.
    """
    found = beside(picture)
    kinds = ((found.xmp, xmp.read), (found.json, _read_json), (found.txt, _read_text))
    read: list[Facts] = []
    for path, reader in ((path, reader) for paths, reader in kinds for path in paths):
        try:
            read.append(reader(content(path)))
        except (OSError, ValueError):
            continue
    return read


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


def read_json(data: dict[str, Any]) -> Facts:
    """Metadata in the JSON of a photo service or of ExifTool, texts as written."""
    known: dict[str, Any] = {}
    for key, value in data.items():
        known.setdefault(key.rpartition(":")[2].lower(), value)
    moments = [dates.from_seconds(_seconds(known.get(key))) or dates.parse(known.get(key)) for key in _SECONDS]
    moments += [dates.parse(known.get(key)) for key in _DATES]
    people = known.get("people")
    names = [one.get("name") for one in people if isinstance(one, dict)] if isinstance(people, list) else []
    levels = (level for key, separator in _TAGS for level in tag_levels(_words(known.get(key)), separator))
    make, model = (known.get(key) for key in ("make", "model"))
    return Facts(
        descriptions=_texts(known, _DESCRIPTIONS),
        titles=_texts(known, _TITLES),
        keywords=(*(word for key in _KEYWORDS for word in _words(known.get(key))), *_words(names), *levels),
        place=place_name(next(iter(_texts(known, keys)), None) for keys in _PLACE),
        point=_point(known),
        # Other programs write the name of another model: a camera has a maker.
        camera=camera_name(make, model) if isinstance(make, str) and isinstance(model, str) else None,
        taken=next(filter(None, moments), None),
    )


def _read_json(raw: bytes) -> Facts:
    data = json_object(raw)
    captions = [data.get("caption"), *(data["captions"] if isinstance(data.get("captions"), list) else ())]
    found = read_json(data)
    return replace(found, descriptions=(*(one for one in captions if isinstance(one, str)), *found.descriptions))


def _read_text(raw: bytes) -> Facts:
    lines = map(one_line, decode(raw).splitlines())
    return Facts(descriptions=tuple(filter(None, lines))[:1])


def _words(value: Any) -> list[str]:
    """Texts of a list, or of one text with commas or semicolons between them."""
    if isinstance(value, str):
        value = re.split(r"[,;]", value)
    return [one for one in value if isinstance(one, str) and one.strip()] if isinstance(value, list) else []


def _point(known: dict[str, Any]) -> Point | None:
    """Coordinates of a photo service (edited by hand before those of the camera), then of ExifTool."""
    places = [known.get("geodata"), known.get("geodataexif"), known]
    for place in places:
        if isinstance(place, dict) and (
            found := point(degrees(place.get("latitude")), degrees(place.get("longitude")))
        ):
            return found
    latitude, longitude = (
        degrees(known.get(f"gps{name}"), known.get(f"gps{name}ref")) for name in ("latitude", "longitude")
    )
    return point(latitude, longitude)


def _seconds(value: Any) -> Any:
    return value.get("timestamp") if isinstance(value, dict) else value


def _texts(known: dict[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(value for key in keys if isinstance(value := known.get(key), str) and value.strip())


def _named(picture: Path, kind: str, names: dict[str, str]) -> list[str]:
    """Sidecars `a.jpg.SUFFIX` and `a.SUFFIX`, by exact name or else with the suffix in another case."""
    wanted = (picture.name + kind, picture.stem + kind)
    found = (names.get(_normal(name)) or names.get(_folded(name)) for name in wanted)
    return list(dict.fromkeys(name for name in found if name))


def _takeout(picture: Path, names: dict[str, str], confirmed: bool = True) -> Iterator[str]:
    """JSON sidecars that Google Takeout wrote; unless `confirmed`, also files that their title may show to be none."""
    stem, number, suffix = _normal(picture.stem), "", _normal(picture.suffix)
    if edited := _EDITED.fullmatch(stem):
        original = picture.with_name(f"{edited[1]}{edited[3] or ''}{suffix}")
        yield from _named(original, ".json", names)
        yield from _takeout(original, names, confirmed)
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
            found = names.get(f"{base[:length]}{some}.json")
            if found and not confirmed:
                yield found
            elif found and _is_titled(picture.with_name(found), stem):
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


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (a fifth of the time of a Path)


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
        some = [one.name for one in entries if _suffix(one.name) in MOST_BYTES and one.is_file()]
    found = {_normal(name): name for name in some}
    for name in some:
        found.setdefault(_folded(name), name)
    return found
