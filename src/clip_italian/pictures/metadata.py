"""Strips metadata from PNG and JPEG files, so that damaged or oversized metadata does not prevent decoding."""

import io
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

# Maximum size of a file to strip.
_MAX_BYTES = 1_000_000_000
# Maximum size of an uncompressed profile; profiles for printing have 0.5 to 3 MB.
_MAX_PROFILE = 1 << 24
# Maximum size that Pillow uncompresses.
_MAX_PILLOW_PROFILE = 1 << 20

_PNG = b"\x89PNG\r\n\x1a\n"
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
# Other chunks that change the appearance, with their minimum length.
_APPEARANCE = {b"tRNS": 1, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32, b"eXIf": 8}
_TRANSPARENT = {0: 2, 2: 6}  # minimum length of tRNS, by colour type

_JPEG = b"\xff\xd8\xff"
_SCAN, _END, _COMMENT = 0xDA, 0xD9, 0xFE
# Application segments needed to decode pixels, with their minimum length.
_NEEDED = {0xE0: (b"JFIF\0", 14), 0xE2: (b"ICC_PROFILE\0", 15), 0xEE: (b"Adobe", 12)}


def strip_metadata(source: Path | BinaryIO) -> tuple[io.BytesIO, bytes | None] | None:
    """Return a PNG or JPEG without text, comments, previews and damaged parts, and its ICC profile if it is large.

    None for other files. Skipped parts are not read into memory.
    """
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                return _strip(file)
        return _strip(source)
    except (OSError, ValueError, struct.error):
        return None


def _strip(file: BinaryIO) -> tuple[io.BytesIO, bytes | None] | None:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    start = file.read(len(_PNG))
    if size > _MAX_BYTES:
        return None
    if start == _PNG:
        return _strip_png(file, size)
    if start.startswith(_JPEG):
        file.seek(2)
        return _strip_jpeg(file.read()), None
    return None


def _strip_png(file: BinaryIO, size: int) -> tuple[io.BytesIO, bytes | None]:
    kept, profile, colour = io.BytesIO(), None, 0
    kept.write(_PNG)
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        known = name in _PIXELS or name in _APPEARANCE or name == b"iCCP"
        if not known or (name not in _PIXELS and length > size - file.tell()):
            file.seek(length + 4, io.SEEK_CUR)
            continue
        content, check = file.read(min(length, size - file.tell())), file.read(4)
        if name == b"IHDR" and length >= 10:
            colour = content[9]
        if name in _PIXELS:
            kept.write(head + content + check)
            if name == b"IEND":
                break
        elif struct.pack(">I", zlib.crc32(name + content)) == check:
            if name == b"iCCP":
                profile = _decompress_profile(content)
                if profile and len(profile) <= _MAX_PILLOW_PROFILE:
                    kept.write(head + content + check)
                    profile = None
            elif length >= (_TRANSPARENT.get(colour, 1) if name == b"tRNS" else _APPEARANCE[name]):
                kept.write(head + content + check)
    kept.seek(0)
    return kept, profile


def _decompress_profile(content: bytes) -> bytes | None:
    """Return the profile of an iCCP chunk; None if it is damaged or too large."""
    _, found, compressed = content.partition(b"\0")
    if not found or compressed[:1] != b"\0":
        return None
    decompressor = zlib.decompressobj()
    try:
        profile = decompressor.decompress(compressed[1:], _MAX_PROFILE)
    except zlib.error:
        return None
    return profile if decompressor.eof else None


def _strip_jpeg(content: bytes) -> io.BytesIO:
    """Strip a JPEG, given its `content` after the first marker."""
    kept = io.BytesIO()
    kept.write(_JPEG[:2])
    position = 0
    while position + 4 <= len(content):
        if content[position] != 0xFF:  # bytes between segments
            position = max(content.find(b"\xff", position), position + 1)
            continue
        marker = content[position + 1]
        if marker in (0x00, 0x01, 0xFF, _END) or 0xD0 <= marker <= 0xD7:  # markers without length
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _SCAN:
            kept.write(content[position:])
            break
        end = position + 2 + max(2, int.from_bytes(content[position + 2 : position + 4], "big"))
        segment = content[position:end]
        name, least = _NEEDED.get(marker, (b"", 0))
        if marker != _COMMENT and (
            not 0xE0 <= marker <= 0xEF or (name and segment[4:].startswith(name) and len(segment) >= least + 4)
        ):
            kept.write(segment)
        position = end
    kept.seek(0)
    return kept
