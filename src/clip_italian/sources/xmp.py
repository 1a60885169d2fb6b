"""XMP metadata, as Lightroom, darktable, digiKam and others write it into picture files or sidecars."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from clip_italian.pictures import dates

MOST_BYTES = 1 << 24  # masks and editing history take a few megabytes
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_TIFF = "{http://ns.adobe.com/tiff/1.0/}"
_PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
_BASIC = "{http://ns.adobe.com/xap/1.0/}"
_IPTC = "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"

_DESCRIPTIONS = (
    f"{_DC}description", f"{_IPTC}ExtDescrAccessibility", f"{_IPTC}AltTextAccessibility", f"{_TIFF}ImageDescription",
    f"{_EXIF}UserComment",
)  # fmt: skip
_TITLES = (f"{_DC}title", f"{_PHOTOSHOP}Headline")
_DATES = (
    f"{_EXIF}DateTimeOriginal", f"{_PHOTOSHOP}DateCreated", f"{_EXIF}DateTimeDigitized", f"{_BASIC}CreateDate",
)  # fmt: skip


@dataclass(frozen=True)
class Xmp:
    """Descriptions and titles as written, by preference, and when the picture was taken."""

    descriptions: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    taken: datetime | None = None


def read(packet: bytes | str) -> Xmp:
    """Contents of a packet or sidecar. Raises ValueError if it is not XML, declares entities, or is too large."""
    raw = packet.encode(errors="replace") if isinstance(packet, str) else packet
    if len(raw) > MOST_BYTES:
        raise ValueError(f"over {MOST_BYTES:,} bytes")
    try:
        root: Element = fromstring(raw.strip(b"\0 \t\r\n") if not raw.startswith((b"\xff\xfe", b"\xfe\xff")) else raw)
    except (ParseError, DefusedXmlException, LookupError) as error:
        raise ValueError(f"no XML ({error})") from error
    properties: dict[str, list[str]] = {}
    for block in root.iter(f"{_RDF}RDF"):
        for subject in block.findall(f"{_RDF}Description"):
            for name, value in subject.attrib.items():
                properties.setdefault(name, []).append(value)
            for one in subject:
                properties.setdefault(one.tag, []).extend(_values(one))
    taken = (dates.parse(text) for name in _DATES for text in properties.get(name, ()))
    return Xmp(
        tuple(text for name in _DESCRIPTIONS for text in properties.get(name, ()) if text.strip()),
        tuple(text for name in _TITLES for text in properties.get(name, ()) if text.strip()),
        next(filter(None, taken), None),
    )


def _values(element: Element) -> Iterator[str]:
    """Texts of a property; of alternatives in several languages the default comes first."""
    items = list(element.iter(f"{_RDF}li"))
    for item in sorted(items, key=lambda one: one.get(_LANG) != "x-default") if items else [element]:
        value = item if item.text and item.text.strip() else item.find(f".//{_RDF}value")
        if value is not None and value.text:
            yield value.text
