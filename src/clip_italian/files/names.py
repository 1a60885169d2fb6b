"""File names: Unicode normalisation, matching names on disk, and natural sort order.

The "à" of "città" is typed as one code point (NFC), while some systems store it as a and an accent (NFD).
"""

import os
import re
import unicodedata
from pathlib import Path

_DIGITS = re.compile(r"(\d+)")


def normal(name: str) -> str:
    """Return the name in Unicode form NFC, for comparison."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def without_accents(text: str) -> str:
    """The text with each letter's accents left out: "perché" gives "perche"."""
    if text.isascii():
        return text
    return "".join(one for one in unicodedata.normalize("NFD", text) if not unicodedata.combining(one))


def is_below(path: str, folder: str) -> bool:
    """True for an absolute folder itself, and for what lies below it, by their names alone."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def as_stored(path: Path) -> Path:
    """Return the existing path that equals `path` up to Unicode normalisation, or `path` itself if it exists.

    For a path that does not exist yet, the existing parent folders are resolved like this.
    """
    if str(path).isascii() or os.path.lexists(path):
        return path
    found = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        found = found / part if part.isascii() or os.path.lexists(found / part) else _matching(found, part)
    return found


def absolute(path: Path | str) -> Path:
    """Return the absolute path without "." and "..", without resolving links."""
    return Path(os.path.normpath(Path.cwd() / path))


def followed(path: Path | str) -> list[str]:
    """Return other absolute paths of a path, by resolving links of the path itself (a folder) or its parents; in NFC.

    Links are resolved for each parent separately, because a path below it may be known by another link.
    """
    full = as_stored(absolute(path))
    folders = (one for one in (full, *full.parents) if one.is_dir())
    found = (normal(str(one.resolve() / full.relative_to(one))) for one in folders)
    return [one for one in dict.fromkeys(found) if one != normal(str(full))]


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Return a sort key that compares digits as numbers and other characters as text; ties are broken by the name."""
    parts = [part for part in _DIGITS.split(name) if part]
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts), name


def _matching(folder: Path, name: str) -> Path:
    try:
        same = sorted(one.name for one in folder.iterdir() if normal(one.name) == normal(name))
    except OSError:
        same = []
    return folder / (same[0] if same else name)
