"""MSCOCO-IT: the captions of MSCOCO in Italian, from its six published JSON files.

https://github.com/crux82/mscoco-it. Captions are machine-translated; people validated those in the "validated" files.
The published development set becomes the split "val", the test set "test".
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.text import flaw, one_line, read_all

SOURCE = "mscoco-it"
IMAGES_URL = "http://images.cocodataset.org"
PAGE = "https://cocodataset.org/#explore?id="
CAPTIONS_LICENSE = "captions: CC BY 4.0 (MSCOCO), translation: CC BY-SA 4.0"
_FILE_NAME = re.compile(r"COCO_(train|val)2014_\d{12}\.jpg")
_SPLITS = {"trainingset": "train", "devset": "val", "testset": "test"}


@dataclass(frozen=True)
class MscocoIt:
    """Reads one file: one pair per image with all its captions.

    Pictures are looked up in the folder `images` (an absolute path), directly or in train2014, val2014, train2017 and
    val2017, by the file names of either release; a missing one becomes a reject. Without a folder, `image` is the
    picture's public URL.
    """

    images: Path | None = None

    def __call__(self, path: Path) -> Iterator[Pair | Reject]:
        data = _load(path)
        licences = {entry.get("id"): entry.get("name") for entry in _objects(data, "licenses")}
        captions: dict[int, list[str]] = {}
        listed: dict[int, dict[str, Any]] = {}
        for entry in _objects(data, "images"):
            number = _number(entry.get("id"))
            if number is None:
                yield Reject("", "bad-id", detail=f"{path.name}: image {entry.get('id')!r}")
            else:
                listed[number] = entry
                captions[number] = []
        for entry in _objects(data, "annotations"):
            found = _caption(entry, path)
            if isinstance(found, Reject):
                yield found
            else:
                captions.setdefault(found[0], []).append(found[1])
        split = next((split for part, split in _SPLITS.items() if part in path.name), None)
        for number, some in captions.items():
            entry = listed.get(number, {})
            id_, name = f"coco-{number:012d}", _file_name(entry, number, path)
            image = self._image(name)
            if not some:
                yield Reject(id_, "no-caption", detail=f"{path.name}: image {number}")
            elif image is None:
                yield Reject(id_, "missing-image", some[0], name)
            else:
                licence = f"image: {licences.get(entry.get('license'), 'unknown')}; {CAPTIONS_LICENSE}"
                yield Pair(id_, image, tuple(some), SOURCE, split, license=licence, page=f"{PAGE}{number}")

    def _image(self, name: str) -> str | None:
        if self.images is None:
            return f"{IMAGES_URL}/{name.split('_')[1]}/{name}"
        places = (self.images / place for place in picture_places(name))
        return next((str(place) for place in places if place.is_file()), None)


def picture_places(name: str) -> tuple[str, ...]:
    """Possible paths of a picture with a name of 2014, including its name of 2017 ("000000000359.jpg").

    The release of 2017 has another division into train and val, so a picture can be in either of its folders.
    """
    _, part, short = name.split("_")
    folders = (part, "train2017", "val2017", part.replace("2014", ""), "images")
    places = (name, f"{part}/{name}", f"images/{name}", short, *(f"{folder}/{short}" for folder in folders))
    return (*places, *(f"images/{folder}/{file}" for folder, file in (
        (part, name), (part, short), ("train2017", short), ("val2017", short))))  # fmt: skip


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_all(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); download the file again") from error
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
        raise UserError(f"{path}: no list of annotations in it; give the files as MSCOCO-IT publishes them")
    return data


def _objects(data: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a list."""
    found = data.get(name)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _number(value: Any) -> int | None:
    """An id as an integer, or None; some files have ids as strings."""
    text = str(value).strip()
    return int(text) if text.isdecimal() and len(text) <= 12 else None


def _caption(entry: dict[str, Any], path: Path) -> tuple[int, str] | Reject:
    number, caption = _number(entry.get("image_id")), entry.get("caption")
    where = f"{path.name}: annotation {entry.get('id')!r}"
    if number is None:
        return Reject("", "bad-id", detail=f"{where}, image {entry.get('image_id')!r}")
    id_ = f"coco-{number:012d}"
    if not isinstance(caption, str) or not caption.strip():
        return Reject(id_, "no-caption", detail=where)
    reason = flaw(caption)
    return Reject(id_, reason, detail=where) if reason else (number, one_line(caption))


def _file_name(entry: dict[str, Any], number: int, path: Path) -> str:
    """The picture's published file name, derived from the id if the list of images lacks it.

    The development and test sets are subsets of MSCOCO's val2014.
    """
    name = entry.get("file_name")
    if isinstance(name, str) and _FILE_NAME.fullmatch(name):
        return name
    part = "train2014" if "train2014" in path.name else "val2014"
    return f"COCO_{part}_{number:012d}.jpg"
