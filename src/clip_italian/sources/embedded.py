"""Metadata inside picture files, in XMP, IPTC, EXIF and PNG texts: captions, keywords, places, dates, cameras.

Descriptions, by preference: XMP (`dc:description`, the two IPTC texts for accessibility, copies of EXIF's), IPTC
caption, EXIF ImageDescription and UserComment, Windows' XPComment and XPSubject, PNG's Description and Comment. Titles:
XMP (`dc:title`, `photoshop:Headline`), IPTC headline and object name, XPTitle, PNG's Title. Each is read independently:
a damaged or oversized one does not affect the others.
"""

import io
import re
import unicodedata
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from PIL import Image, ImageFile, IptcImagePlugin, PngImagePlugin

from clip_italian.pictures import dates
from clip_italian.pictures.coordinates import Point, degrees, point
from clip_italian.pictures.decoding import MAX_PIXELS, register_heic
from clip_italian.sources import xmp
from clip_italian.sources.facts import Facts, camera_name, place_name
from clip_italian.sources.text import decode, one_line

_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_MAKE, _MODEL = 0x010F, 0x0110
_DESCRIPTION, _USER_COMMENT = 0x010E, 0x9286
_XP_TITLE, _XP_COMMENT, _XP_KEYWORDS, _XP_SUBJECT = 0x9C9B, 0x9C9C, 0x9C9E, 0x9C9F
_LATITUDE, _LONGITUDE = (2, 1), (4, 3)  # tags of the GPS directory, each with that of its reference
# Tags of EXIF dates, each with the tag of its UTC offset.
_ORIGINAL, _DIGITIZED, _CHANGED = (0x9003, 0x9011), (0x9004, 0x9012), (0x0132, 0x9010)
_XMP_TAG = 700  # of a TIFF
_IPTC_CAPTION, _IPTC_HEADLINE, _IPTC_NAME = (2, 120), (2, 105), (2, 5)
_IPTC_KEYWORDS = (2, 25)
_IPTC_PLACE = ((2, 92), (2, 90), (2, 95), (2, 101))  # location, city, region, country
_IPTC_DATE, _IPTC_TIME = (2, 55), (2, 60)
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_PNG = 1 << 24  # bytes of all texts of a PNG that are read
_MOST_TEXT = 1 << 16  # characters of a caption that are examined

# Texts that cameras and programs write automatically.
_JUNK = re.compile(
    r"""
    ((olympus|sony|konica|minolta|kodak|samsung|casio|pentax|nikon|canon|fuji(film)?|ricoh|panasonic|hp|polaroid|medion
      |vivitar|sanyo|toshiba|aiptek|praktica|rollei|traveler|jvc|leica|epson|general[ ]imaging)[ ]){0,2}
      digital([ ]still)?[ ]camera([ ][\w-]*\d[\w-]*)?
    | (sony|maker):?[ ]dsc | dcim | dcf[ ][\d.]+ | <?\s*(kenox|digimax)\b.* | exif[_ ]jpeg([_ ]picture)? | applemark
    | digital[ ]image | jpeg[ ]image | ascii | unicode | binary[ ]comment | default | untitled | senza[ ]titolo
    | (no|without)[ ](title|caption|description) | user[ ]?comments? | image[ ]?description | image | picture
    | (screen[ ]?shot|schermata)([ _-].*\d.*)? | file[ ]written[ ]by[ ].* | creator:.* | lead[ ]technologies.*
    | (created|edited|processed|generated|optimi[sz]ed|compressed)[ ](with|by|in|using)[ ].{1,60}
    | (shot|taken|captured)[ ](with|on|by)[ ]((an?|my)[ ])?(iphone|ipad|samsung|galaxy|pixel|xiaomi|huawei|dji|gopro).*
    | (oz|fz|r|h)?(cof|hdr|edf|mde|nor|sdr|dav|ptr|bty|rpt|rbt)(rdr|pl|wo)?(_(soft|vivid))?
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_FILE_NAME = re.compile(
    r"""
    .*\.(jpe?g|jpe|jfif|png|webp|gif|bmp|tiff?|avif|hei[cf]|jxl|psd|dng|nef|cr[23w]|arw|orf|rw2|raf|mp4|mov|avi|3gp)
    | _?(img|dscn?|dscf|imgp|pict?|pxl|mvimg|p|photo|foto|image|wp|cimg|sam|gopr|g|dji|mg|vid|dcp|sdc|ph|scan)
      [-_ ]?\d[-\w.~]*([ ]?\(\d+\))?
    | (?=.*\d)[0-9a-f]{8,}([-_][0-9a-f]+)*
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def read(source: Path | bytes, name: str = "") -> Facts:
    """Metadata in a picture file, given as a path or its content; all empty if it cannot be read.

    Descriptions and titles are those that may describe a picture (`meaningful`), `name` is the picture's file name.
    Dates are in wall time (see `dates`). Taken: EXIF DateTimeOriginal, then DateTimeDigitized, both with their offsets,
    XMP, IPTC, PNG's Creation Time. Changed: EXIF DateTime, which programs set as well.
    """
    with _opened(source) as image:
        if image is None:
            return Facts()
        exif = _Exif(image)
        packet = _or(lambda: _xmp(image), Facts())
        iptc = _or(lambda: IptcImagePlugin.getiptcinfo(image), None) or {}
        info = image.info
        descriptions = [
            *packet.descriptions, _one(iptc.get(_IPTC_CAPTION)), exif.get(_DESCRIPTION), exif.comment(),
            _wide(exif.get(_XP_COMMENT)), _wide(exif.get(_XP_SUBJECT)), info.get("Description"), info.get("Comment"),
        ]  # fmt: skip
        titles = [
            *packet.titles, _one(iptc.get(_IPTC_HEADLINE)), _one(iptc.get(_IPTC_NAME)), _wide(exif.get(_XP_TITLE)),
            info.get("Title"),
        ]  # fmt: skip
        keywords = [
            *packet.keywords,
            *_all(iptc.get(_IPTC_KEYWORDS)),
            *(_wide(exif.get(_XP_KEYWORDS)) or "").split(";"),
        ]
        places = ("".join(labels([_one(iptc.get(tag))])) for tag in _IPTC_PLACE)
        maker, model = ("".join(labels([exif.get(tag)])) for tag in (_MAKE, _MODEL))
        taken = (
            exif.date(*_ORIGINAL)
            or exif.date(*_DIGITIZED)
            or packet.taken
            or _or(lambda: _iptc_date(iptc), None)
            or _or(lambda: _png_date(info.get("Creation Time")), None)
        )
        return Facts(
            descriptions=meaningful(descriptions, name),
            titles=meaningful(titles, name),
            keywords=labels(keywords),
            place=packet.place or place_name(places),
            point=exif.point() or packet.point,
            camera=camera_name(maker, model) or packet.camera,
            taken=taken,
            changed=None if taken else exif.date(*_CHANGED),
        )


def meaningful(found: Sequence[Any], name: str = "") -> tuple[str, ...]:
    """Those of some texts (or bytes in any encoding) that may describe a picture, each on one line.

    `name` is the picture's file name, which does not count as a caption.
    """
    return tuple(line for line in labels(found) if _describes(line, name))


def labels(found: Sequence[Any]) -> tuple[str, ...]:
    """Texts (or bytes in any encoding) on one line each, without empty, damaged and repeated ones."""
    return tuple(dict.fromkeys(line for text in found if (line := _line(text))))


class _Exif:
    """EXIF that may be damaged in any part."""

    def __init__(self, image: ImageFile.ImageFile) -> None:
        # A PNG's own method decodes the picture.
        self._first: Any = (
            _or(lambda: Image.Image.getexif(image), {}) if image.format == "PNG" else _or(image.getexif, {})
        )
        self._second: Any = _or(lambda: self._first.get_ifd(_EXIF_IFD), {})

    def get(self, tag: int) -> Any:
        """A tag of either directory, as some programs confuse them."""
        value = _or(lambda: self._first.get(tag), None)
        return _or(lambda: self._second.get(tag), None) if value is None else value

    def date(self, tag: int, offset_tag: int) -> datetime | None:
        date, offset = self.get(tag), self.get(offset_tag)
        if isinstance(date, str) and isinstance(offset, str):
            with_offset = dates.parse(date.replace("\0", " ").strip() + offset.replace("\0", " ").strip())
            return with_offset or dates.parse(date)
        return dates.parse(date)

    def point(self) -> Point | None:
        gps: Any = _or(lambda: self._first.get_ifd(_GPS_IFD), {})
        return _or(
            lambda: point(*(degrees(gps.get(tag), gps.get(letter)) for tag, letter in (_LATITUDE, _LONGITUDE))), None
        )

    def comment(self) -> str | None:
        """UserComment; its first eight bytes name the encoding."""
        raw = self.get(_USER_COMMENT)
        if not isinstance(raw, bytes):
            return raw if isinstance(raw, str) else None
        raw = raw[: 4 * _MOST_TEXT]
        code, rest = raw[:8].rstrip(b"\0 ").upper(), raw[8:]
        if code == b"UNICODE":
            return _wide(rest, big=getattr(self._first, "endian", None) == ">")
        if code == b"JIS":
            return rest.decode("iso2022_jp", errors="replace")
        return decode(rest if code in (b"ASCII", b"") else raw)


@contextmanager
def _opened(source: Path | bytes) -> Iterator[ImageFile.ImageFile | None]:
    """The picture, not decoded; None if it cannot be opened or has more than `MAX_PIXELS`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _or(lambda: _open(source), None)
        if image is None:
            yield None
            return
        with image:
            yield image if image.width * image.height <= MAX_PIXELS else None


def _open(source: Path | bytes) -> ImageFile.ImageFile:
    file: BinaryIO = source.open("rb") if isinstance(source, Path) else io.BytesIO(source)
    start = file.read(len(_PNG))
    if start == _PNG:
        with file:
            return Image.open(io.BytesIO(_PNG + b"".join(_png_chunks(file))))
    file.close()
    register_heic()
    return Image.open(source if isinstance(source, Path) else io.BytesIO(source))


def _png_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Header and texts of a PNG without its pixels, which Pillow would decode to reach texts after them.

    Damaged chunks, and chunks too large for Pillow or for memory, are left out.
    """
    bytes_left = _MOST_PNG
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind not in (b"IHDR", b"tEXt", b"zTXt", b"iTXt", b"eXIf") or length > bytes_left:
            file.seek(length + 4, io.SEEK_CUR)
            continue
        body, check = file.read(length), file.read(4)
        if zlib.crc32(kind + body).to_bytes(4, "big") == check and not _is_inflated(kind, body):
            bytes_left -= length
            yield head + body + check
    yield b"\0\0\0\0IEND\xaeB`\x82"


def _is_inflated(kind: bytes, body: bytes) -> bool:
    """True if a compressed text is larger than Pillow allows."""
    rest = body.partition(b"\0")[2]
    if kind == b"iTXt" and rest[:1] == b"\1":
        rest = rest[2:].split(b"\0", 2)[-1]  # language and translated keyword follow the method
    elif kind != b"zTXt":
        return False
    most = PngImagePlugin.MAX_TEXT_CHUNK
    try:
        return len(zlib.decompressobj().decompress(rest[1:] if kind == b"zTXt" else rest, most + 1)) > most
    except zlib.error:
        return True


def _or(read: Callable[[], Any], otherwise: Any) -> Any:
    try:
        return read()
    except Exception:  # decoders raise nearly anything on damaged files
        return otherwise


def _xmp(image: ImageFile.ImageFile) -> Facts:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if not packet and hasattr(image, "tag_v2"):
        packet = image.tag_v2.get(_XMP_TAG)
    return xmp.read(packet) if packet else Facts()


def _iptc_date(iptc: dict[tuple[int, int], Any]) -> datetime | None:
    day, time = (decode(_one(iptc.get(tag)) or b"") for tag in (_IPTC_DATE, _IPTC_TIME))
    if re.fullmatch(r"\d{8}", day) is None:
        return None
    clock = f"T{time[:2]}:{time[2:4]}:{time[4:6]}{time[6:]}" if re.match(r"\d{6}", time) else ""
    return dates.parse(f"{day[:4]}-{day[4:6]}-{day[6:]}{clock}")


def _png_date(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    if found := dates.parse(text):
        return found
    try:
        return dates.parse(parsedate_to_datetime(text[:100]).isoformat())
    except (TypeError, ValueError):
        return None


def _all(found: Any) -> list[bytes]:
    some = found if isinstance(found, list) else [found]
    return [value for value in some if isinstance(value, bytes)]


def _one(found: Any) -> bytes | None:
    return next(iter(_all(found)), None)


def _wide(raw: Any, big: bool = False) -> str | None:
    """UTF-16 text of Windows and UserComment; the byte order, often wrong, follows from the zeros of Latin letters."""
    if isinstance(raw, tuple) and all(isinstance(one, int) and 0 <= one < 256 for one in raw):
        raw = bytes(raw)
    if not isinstance(raw, bytes):
        return raw if isinstance(raw, str) else None
    raw = raw[: 4 * _MOST_TEXT]
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return decode(raw)
    if raw.rstrip(b"\0").isascii() and b"\0" not in raw.rstrip(b"\0"):
        return raw.decode("latin-1")
    even, odd = raw[::2].count(0), raw[1::2].count(0)
    big = even > odd or (big and even == odd)
    return raw.decode("utf-16-be" if big else "utf-16-le", errors="ignore")


def _line(text: Any) -> str:
    """A text on one line; empty for anything else, and for one that cannot be stored."""
    if isinstance(text, str):
        text = text[:_MOST_TEXT]
        # Pillow reads EXIF as Latin-1; cameras and programs also write UTF-8.
        try:
            text = decode(text.encode("latin-1"))
        except UnicodeEncodeError:
            text = str(text)
    elif isinstance(text, bytes):
        text = decode(text[:_MOST_TEXT])
    else:
        return ""
    text = text.lstrip("\0").partition("\0")[0]
    line = one_line(text)
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Cn", "Co") or letter == "\ufffd" for letter in line):
        return ""
    return line


def _describes(line: str, name: str) -> bool:
    own = {name.casefold(), PurePath(name).stem.casefold()}
    silent = line.casefold() in own or _JUNK.fullmatch(line) or _FILE_NAME.fullmatch(line)
    return not silent and any(map(str.isalpha, line))
