"""Names of files and folders: compared in one Unicode form, opened as the disk stores them.

"Città" is typed as one letter à (NFC), while some systems store it as a and an accent (NFD). People see no difference.
"""

import os
import unicodedata
from pathlib import Path


def normal(name: str) -> str:
    """The name in Unicode form NFC, to compare it with another; names that look alike become equal."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def as_stored(path: Path) -> Path:
    """The path of the existing file or folder that looks like `path`; `path` itself where it exists or none does."""
    if str(path).isascii() or os.path.lexists(path):
        return path
    found = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        found = found / part if part.isascii() or os.path.lexists(found / part) else _alike(found, part)
    return found if os.path.lexists(found) else path


def _alike(folder: Path, name: str) -> Path:
    try:
        same = sorted(one.name for one in folder.iterdir() if normal(one.name) == normal(name))
    except OSError:
        same = []
    return folder / (same[0] if same else name)
