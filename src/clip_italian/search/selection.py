"""Rows that people name: by id, path, folder or pattern; and rows whose file is gone."""

import fnmatch
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from clip_italian.errors import UsageError, UserError
from clip_italian.files.names import absolute, followed, normal
from clip_italian.pictures.walk import rubbish
from clip_italian.search.rows import place

# Pictures of a folder that are gone all at once: from so many on it is more likely that a disk is missing.
MANY = 5
# The same for a folder that is still there and empty, as a mount point is.
MANY_OF_EMPTY = 2

Position = tuple[int, int]


@dataclass(frozen=True)
class Absent:
    """A folder of an index without any of its `pictures` on the disk."""

    folder: str
    pictures: int


@dataclass
class Selection:
    """Store and position of rows: `named` ones, those whose file is `missing`, with their places, and the rest's.

    `unmatched` are the names that no row has; `alive` the folders of pictures that are on the disk.
    """

    named: list[Position] = field(default_factory=list)
    missing: dict[str, list[Position]] = field(default_factory=dict)
    alive: set[str] = field(default_factory=set)
    unmatched: list[str] = field(default_factory=list)


class _Name:
    """One thing that a person typed, and the rows that fit each of its readings, the most literal one first.

    `foto[1].jpg` is that name where a row has it, and else a pattern for `foto1.jpg`. In `foto[1]/*.jpg` the folder
    is that name where there is such a folder. A path may start at the working folder, and go through links.
    """

    def __init__(self, text: str) -> None:
        if not text.strip():
            raise UsageError("an empty name fits nothing; give ids, paths, folders or patterns")
        self.text = text
        plain = normal(text)
        here = normal(str(absolute(text)))
        typed = {plain, plain.rstrip("/") or "/", os.path.normpath(plain), here}
        self.literal = [typed, set(followed(text)) - typed]
        patterns: list[str] = []
        if glob.has_magic(plain):
            parts = plain.split("/")
            folders = ["/".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]
            patterns = [glob.escape(one) + plain[len(one) :] for one in folders if glob.has_magic(one)] + [plain]
        self.patterns = [re.compile("|".join(map(fnmatch.translate, [one, *_from_here(one)]))) for one in patterns]
        self.found: list[list[Position]] = [[] for _ in range(len(self.literal) + len(patterns))]

    def best(self) -> list[Position]:
        return next((found for found in self.found if found), [])


def _from_here(pattern: str) -> list[str]:
    """A relative pattern from the working folder, and any with the links of the folder that it starts with followed."""
    parts = pattern.split("/")
    start = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    folder = absolute("/".join(parts[:start]) or ("/" if pattern.startswith("/") else "."))
    places = (normal(str(folder)), *followed(folder))
    return ["/".join([glob.escape(one).rstrip("/"), *parts[start:]]) for one in places]


def selected(tables: Iterable[pa.Table], roots: Sequence[str], what: Sequence[str], missing: bool) -> Selection:
    """Rows that are named, and with `missing` those without a file. Names are compared in one Unicode form.

    Raises UsageError for an empty name.
    """
    names = [_Name(one) for one in dict.fromkeys(what)]
    literal: dict[str, list[list[Position]]] = {}  # by text where to put the rows that are called so
    for one in names:
        for texts, found in zip(one.literal, one.found, strict=False):
            for text in texts:
                literal.setdefault(text, []).append(found)
    patterned = [one for one in names if one.patterns]
    chosen = Selection()
    for table in tables:
        columns = (table[name].to_pylist() for name in ("id", "path", "root", "store", "pos"))
        for id_, path, root, store, position in zip(*columns, strict=True):
            where, at = place(roots, root, path), (store, position)
            if names:
                texts = {normal(id_), normal(path), normal(where)}
                whole = texts.union(*(_above(text) for text in (normal(path), normal(where))))
                for found in {id(one): one for text in whole if text in literal for one in literal[text]}.values():
                    found.append(at)
                for one in patterned:
                    for pattern, found in zip(one.patterns, one.found[len(one.literal) :], strict=True):
                        if any(map(pattern.match, texts)):
                            found.append(at)
            if missing:
                if is_gone(where):
                    chosen.missing.setdefault(where, []).append(at)
                else:
                    chosen.alive.add(_folder(where))
    chosen.named = sorted({at for one in names for at in one.best()})
    chosen.unmatched = [one.text for one in names if not one.best()]
    return chosen


def is_gone(place: str) -> bool:
    """Whether there is no such file. A disk or folder that gives another error may still have it."""
    try:
        Path(place).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def absent(missing: Iterable[str], alive: Set[str], roots: Sequence[str]) -> dict[str, list[str]]:
    """Folders that vanished as a whole, with the places of their pictures, for places of files that are gone.

    `alive` are folders that still have pictures. Pictures that were deleted one by one are in no such folder.
    """
    living = {above for folder in alive for above in (folder, *_above(folder))}
    groups: dict[str, list[str]] = {}
    for one in missing:
        folder = _folder(one)
        if folder in living:
            continue
        while folder not in roots and _is_below(above := _folder(folder), roots) and above not in living:
            folder = above
        groups.setdefault(folder, []).append(one)
    return {
        folder: places
        for folder, places in groups.items()
        if len(places) >= (MANY_OF_EMPTY if is_empty(folder) else MANY) or (folder in roots and not is_there(folder))
    }


def check_roots(folders: Iterable[str], roots: Sequence[str], index: Path, pictures: int) -> None:
    """Raise UserError where a whole folder of the index is among `folders` and not there, or empty."""
    lost = [folder for folder in folders if folder in roots and not is_there(folder)]
    if lost:
        state = "is empty" if Path(lost[0]).is_dir() else "is not there"
        raise UserError(
            f"{lost[0]}: this folder of {index} {state}, {pictures:,} pictures would be removed; "
            "mount it or move it back, or give --force"
        )


def is_there(folder: str) -> bool:
    """Whether a folder exists and holds anything."""
    return Path(folder).is_dir() and not is_empty(folder)


def is_empty(folder: str) -> bool:
    """Whether a folder exists and holds nothing but hidden files and those of systems, as mount points do."""
    try:
        with os.scandir(folder) as inside:
            return all(rubbish(one.name) for one in inside)
    except OSError:
        return False


def _folder(path: str) -> str:
    return path[: path.rfind("/")] or "/"


def _above(path: str) -> Iterator[str]:
    """All folders above a path, and "." for a relative one."""
    at = path.rfind("/")
    while at > 0:
        yield path[:at]
        at = path.rfind("/", 0, at)
    yield "/" if path.startswith("/") else "."


def _is_below(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)
