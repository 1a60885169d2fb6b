"""Names of files and folders: compared in one Unicode form, opened as the disk stores them, sorted by their numbers.

"Città" is typed as one letter à (NFC), while some systems store it as a and an accent (NFD). People see no difference.
"""

import os
import re
import unicodedata
from pathlib import Path

_DIGITS = re.compile(r"(\d+)")


def normal(name: str) -> str:
    """The name in Unicode form NFC, to compare it with another; names that look alike become equal."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def as_stored(path: Path) -> Path:
    """The path of the existing file or folder that looks like `path`; `path` itself where it exists.

    Of a path to what is not there yet, the folders that are there are found so.
    """
    if str(path).isascii() or os.path.lexists(path):
        return path
    found = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        found = found / part if part.isascii() or os.path.lexists(found / part) else _alike(found, part)
    return found


def absolute(path: Path | str) -> Path:
    """The path from the root, with "." and ".." taken out and links kept."""
    return Path(os.path.normpath(Path.cwd() / path))


def followed(path: Path | str) -> list[str]:
    """Absolute paths that a path leads to by links: of the path itself where it is a folder, and of those above it.

    In Unicode form NFC. Links are followed down to each folder, since what lies below it may be known by a link again.
    """
    place = as_stored(absolute(path))
    folders = (one for one in (place, *place.parents) if one.is_dir())
    found = (normal(str(one.resolve() / place.relative_to(one))) for one in folders)
    return [one for one in dict.fromkeys(found) if one != normal(str(place))]


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """A sort key that compares runs of digits as numbers and the rest as text; the name itself decides ties."""
    parts = [part for part in _DIGITS.split(name) if part]
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts), name


def _alike(folder: Path, name: str) -> Path:
    try:
        same = sorted(one.name for one in folder.iterdir() if normal(one.name) == normal(name))
    except OSError:
        same = []
    return folder / (same[0] if same else name)
