"""XMP metadata, as Lightroom, darktable, digiKam and others write it into picture files or sidecars."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from clip_italian.pictures import dates
from clip_italian.pictures.coordinates import degrees, point
from clip_italian.sources.facts import Facts, camera_name, place_name, tag_levels

MOST_BYTES = 1 << 24  # masks and editing history take a few megabytes
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_TIFF = "{http://ns.adobe.com/tiff/1.0/}"
_PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
_BASIC = "{http://ns.adobe.com/xap/1.0/}"
_IPTC = "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}"
_IPTC_MORE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
_LIGHTROOM = "{http://ns.adobe.com/lightroom/1.0/}"
_DIGIKAM = "{http://www.digikam.org/ns/1.0/}"
_WINDOWS = "{http://ns.microsoft.com/photo/1.0/}"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"

_DESCRIPTIONS = (
    f"{_DC}description", f"{_IPTC}ExtDescrAccessibility", f"{_IPTC}AltTextAccessibility", f"{_TIFF}ImageDescription",
    f"{_EXIF}UserComment",
)  # fmt: skip
_TITLES = (f"{_DC}title", f"{_PHOTOSHOP}Headline")
_KEYWORDS = (f"{_DC}subject", f"{_IPTC_MORE}PersonInImage", f"{_WINDOWS}LastKeywordXMP")
# Tags that state their level, with the character between two levels.
_TAGS = ((f"{_LIGHTROOM}hierarchicalSubject", "|"), (f"{_DIGIKAM}TagsList", "/"))
_PLACE = (f"{_IPTC}Location", f"{_PHOTOSHOP}City", f"{_PHOTOSHOP}State", f"{_PHOTOSHOP}Country")
_DATES = (
    f"{_EXIF}DateTimeOriginal", f"{_PHOTOSHOP}DateCreated", f"{_EXIF}DateTimeDigitized", f"{_BASIC}CreateDate",
)  # fmt: skip


def read(packet: bytes | str) -> Facts:
    """Contents of a packet or sidecar, texts as written.

    Raises ValueError if it is not XML, declares entities, or is too large.
    """
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

    def texts(*names: str) -> tuple[str, ...]:
        return tuple(text for name in names for text in properties.get(name, ()) if text.strip())

    def first(name: str) -> str | None:
        return next(iter(texts(name)), None)

    levels = (level for name, separator in _TAGS for level in tag_levels(texts(name), separator))
    return Facts(
        descriptions=texts(*_DESCRIPTIONS),
        titles=texts(*_TITLES),
        keywords=(*texts(*_KEYWORDS), *levels),
        place=place_name(map(first, _PLACE)),
        point=point(degrees(first(f"{_EXIF}GPSLatitude")), degrees(first(f"{_EXIF}GPSLongitude"))),
        camera=camera_name(first(f"{_TIFF}Make"), first(f"{_TIFF}Model")),
        taken=next(filter(None, map(dates.parse, texts(*_DATES))), None),
    )


def _values(element: Element) -> Iterator[str]:
    """Texts of a property; of alternatives in several languages the default comes first."""
    items = list(element.iter(f"{_RDF}li"))
    for item in sorted(items, key=lambda one: one.get(_LANG) != "x-default") if items else [element]:
        value = item if item.text and item.text.strip() else item.find(f".//{_RDF}value")
        if value is not None and value.text:
            yield value.text
