"""The text of web pages: their encoding, and the mark of where a saved page comes from."""

import codecs
import gzip
import re
import zlib
from pathlib import Path

from clip_italian.sources.text import decode, flaw

DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error)
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(rb"<meta[^>]*charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
# Web pages mean Windows-1252 by these names (WHATWG Encoding).
_AS_MEANT = dict.fromkeys(("iso-8859-1", "latin-1", "latin1", "ascii", "us-ascii"), "cp1252")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_SAVED = re.compile(r"<!--\s*saved from url=\(\d{4,}\)(\S+)\s*-->")


def saved_from(url: str) -> str:
    """The comment by which browsers mark where a saved page comes from."""
    return f"<!-- saved from url=({len(url):04d}){url.replace('>', '%3E')} -->\n"


def read_page(path: Path) -> str:
    """A page's file as text, gzipped or not; raises OSError, or one of `DAMAGE` where its compression is damaged."""
    raw = path.read_bytes()
    return decoded(gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw)


def decoded(raw: bytes, content_type: str = "") -> str:
    """HTML as text without NUL: by its byte order mark, as UTF-8 if it is that, by what the header or the page
    declares, else as Windows-1252.

    UTF-8 comes before the declaration, which is often wrong; no other text looks like UTF-8 by chance.
    """
    marked = next((name for mark, name in _MARKS if raw.startswith(mark)), None)
    header, meta = _CHARSET.search(content_type), _META.search(raw[:4096])
    told = header.group(1).lower() if header else ""
    found = meta.group(1).decode("ascii", "replace").lower() if meta else ""
    wide = told if told.startswith(("utf-16", "utf-32")) else None
    for name in filter(None, (marked, wide, "utf-8", told, found)):
        try:
            text = raw.decode(_AS_MEANT.get(name, name)).replace("\0", "").removeprefix("\ufeff")
        except (LookupError, ValueError):
            continue
        if flaw(text) is None:
            return text
    return decode(raw).replace("\0", "")


def origin(html: str) -> str | None:
    """The address in the mark of `saved_from`, if there is one near the start."""
    found = _SAVED.search(html, 0, 4096)
    return found.group(1) if found else None
