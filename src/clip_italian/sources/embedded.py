"""Captions that picture files carry inside: XMP dc:description, IPTC caption, EXIF description."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, IptcImagePlugin

from clip_italian.sources.text import decode, one_line

_EXIF_DESCRIPTION = 0x010E
_IPTC_CAPTION = (2, 120)
# What cameras and programs write there by themselves.
_SILENT = frozenset(
    (
        "olympus digital camera", "sony dsc", "minolta digital camera", "digital camera", "samsung digital camera",
        "kodak digital still camera", "created with gimp", "dcim", "default", "untitled", "screenshot",
    )
)  # fmt: skip


def caption(path: Path) -> str | None:
    """The first of these that says something; None also where the file cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return next((text for text in map(_clean, _texts(image)) if text), None)
    except Exception:  # decoders raise nearly anything on damaged files
        return None


def _texts(image: ImageFile.ImageFile) -> Iterator[Any]:
    yield _xmp_description(image.getxmp())
    iptc = IptcImagePlugin.getiptcinfo(image) or {}
    found = iptc.get(_IPTC_CAPTION)
    yield found[0] if isinstance(found, list) else found
    yield image.getexif().get(_EXIF_DESCRIPTION)
    yield image.info.get("Description")  # of a PNG


def _xmp_description(xmp: dict[str, Any]) -> Any:
    """dc:description in the language that is said to be the default, else in the first."""
    place: Any = xmp
    for name in ("xmpmeta", "RDF", "Description"):
        place = place.get(name, {}) if isinstance(place, dict) else {}
        if isinstance(place, list):  # several blocks of properties: that with a description
            place = next((some for some in place if isinstance(some, dict) and "description" in some), {})
    alternatives = place.get("description", {}) if isinstance(place, dict) else {}
    for name in ("Alt", "li"):
        alternatives = alternatives.get(name, alternatives) if isinstance(alternatives, dict) else alternatives
    if isinstance(alternatives, list):
        ordered = sorted(alternatives, key=lambda one: not (isinstance(one, dict) and one.get("lang") == "x-default"))
        alternatives = ordered[0] if ordered else None
    return alternatives.get("text") if isinstance(alternatives, dict) else alternatives


def _clean(text: Any) -> str:
    if isinstance(text, str):
        # Pillow reads EXIF as Latin-1, cameras and programs write UTF-8 as well.
        try:
            text = text.encode("latin-1")
        except UnicodeEncodeError:
            return _said(text)
    return _said(decode(text)) if isinstance(text, bytes) else ""


def _said(text: str) -> str:
    line = one_line(text.replace("\0", " "))
    return "" if line.lower() in _SILENT else line
