"""Rows named by id, path, folder or pattern; rows whose file is gone; folders that vanished as a whole."""

import fnmatch
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from clip_italian.errors import UsageError, UserError
from clip_italian.files.names import absolute, followed, is_below, normal
from clip_italian.pictures.walk import default_exclusion
from clip_italian.search.schema import absolute_path

# From so many pictures of a folder gone at once, a missing disk is more likely than deleted files.
MANY = 5
# The same for a folder that exists and is empty, as a mount point is.
MANY_OF_EMPTY = 2
_NOT_FOUND = (FileNotFoundError, NotADirectoryError)
_FOLDERS_KEPT = 100_000
_PARTS = 10  # for more names, comparing them with whole columns is no faster

Position = tuple[int, int]
PLACES = ("id", "path", "root", "store", "pos")


@dataclass(frozen=True)
class VanishedFolder:
    """A folder of an index with none of its `pictures` left on the disk."""

    folder: str
    pictures: int


@dataclass
class Selection:
    """Store and position of rows: those `named`, and those whose file is `missing`, by that file.

    `unmatched` are the names that fit no row, `alive` the folders of pictures that are on the disk.
    """

    named: list[Position] = field(default_factory=list)
    missing: dict[str, list[Position]] = field(default_factory=dict)
    alive: set[str] = field(default_factory=set)
    unmatched: list[str] = field(default_factory=list)


class _Name:
    """A name as typed, and the rows that match each of its readings, the most literal reading first.

    `foto[1].jpg` is that name where a row has it, and otherwise a pattern for `foto1.jpg`. The same holds for the
    folder in `foto[1]/*.jpg`. A path may start from the working folder, and pass through links.
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
        readings = [[one, *_from_here(one)] for one in patterns]
        self.patterns = [re.compile("|".join(map(fnmatch.translate, one))) for one in readings]
        self._patterns = [text for one in readings for text in one]
        self.found: list[list[Position]] = [[] for _ in range(len(self.literal) + len(patterns))]

    def parts(self) -> list[set[str]]:
        """For each reading, texts that id, path or folder of a row that fits have in them."""
        found = [{text.rstrip("/").rpartition("/")[2]} for texts in self.literal for text in texts]
        for pattern in self._patterns:
            sure = pattern.partition("[")[0], pattern.rpartition("]")[2]
            found.append({run for text in sure for run in re.split("[*?/]", text)})
        return found

    def best(self) -> list[Position]:
        """The rows of the most literal reading that matches any."""
        return next((found for found in self.found if found), [])


def _from_here(pattern: str) -> list[str]:
    """A pattern made absolute from the working folder, with and without the links in its first folders resolved."""
    parts = pattern.split("/")
    start = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    folder = absolute("/".join(parts[:start]) or ("/" if pattern.startswith("/") else "."))
    places = (normal(str(folder)), *followed(folder))
    return ["/".join([glob.escape(one).rstrip("/"), *parts[start:]]) for one in places]


def selected(tables: Iterable[pa.Table], roots: Sequence[str], what: Sequence[str], missing: bool) -> Selection:
    """The rows that `what` names, and with `missing` those without a file. Names are compared in one Unicode form.

    `tables` have the columns `PLACES`. Raises UsageError for an empty name.
    """
    names = [_Name(one) for one in dict.fromkeys(what)]
    literal: dict[str, list[list[Position]]] = {}  # lists to add a row to, by its name
    for one in names:
        for texts, found in zip(one.literal, one.found, strict=False):
            for text in texts:
                literal.setdefault(text, []).append(found)
    patterned = [one for one in names if one.patterns]
    chosen = Selection()
    by_folder: dict[tuple[int, str], list[list[Position]]] = {}  # lists to add a row to, by its folder
    for rows in tables:
        table = rows if missing else _fitting(rows, names, roots)
        columns = (table[name].to_pylist() for name in PLACES)
        for id_, path, root, store, position in zip(*columns, strict=True):
            where, at = absolute_path(roots, root, path), (store, position)
            if names:
                compared = (normal(id_), normal(path), normal(where))
                folder = (root, path.rpartition("/")[0])
                if folder not in by_folder:
                    if len(by_folder) >= _FOLDERS_KEPT:
                        by_folder.clear()
                    above = {text for one in compared[1:] for text in _above(one)}
                    by_folder[folder] = [found for text in above for found in literal.get(text, ())]
                fitting = [found for text in compared if text in literal for found in literal[text]] + by_folder[folder]
                for found in {id(one): one for one in fitting}.values() if fitting else ():
                    found.append(at)
                for one in patterned:
                    for pattern, found in zip(one.patterns, one.found[len(one.literal) :], strict=True):
                        if any(map(pattern.match, compared)):
                            found.append(at)
            if missing:
                if is_gone(where):
                    chosen.missing.setdefault(where, []).append(at)
                else:
                    chosen.alive.add(_folder(where))
    chosen.named = sorted({at for one in names for at in one.best()})
    chosen.unmatched = [one.text for one in names if not one.best()]
    return chosen


def _fitting(table: pa.Table, names: Sequence[_Name], roots: Sequence[str]) -> pa.Table:
    """The rows that names may fit: to compare a million rows one by one takes seconds."""
    folders = [normal(root) for root in roots]

    def roots_with(part: str) -> list[int]:
        return [number for number, folder in enumerate(folders) if part in folder]

    readings = [one for name in names for one in name.parts()]
    parts = {max(one, key=lambda part: (part.isascii(), -len(roots_with(part)), len(part))) for one in readings}
    if len(parts) > _PARTS or not all(part.isascii() and part.strip(".") for part in parts):
        return table
    texts = [table[name] for name in ("id", "path")]
    masks = [pc.invert(pc.string_is_ascii(text)) for text in texts]  # which may be stored in another Unicode form
    masks += [pc.match_substring(text, part) for text in texts for part in parts]
    within = {number for part in parts for number in roots_with(part)}
    masks.append(pc.is_in(table["root"], value_set=pa.array(sorted(within), table["root"].type)))
    return table.filter(reduce(pc.or_, masks))


def is_gone(place: str) -> bool:
    """True where there is no such file. With any other error of the disk or folder it may still exist."""
    return isinstance(_error_of(place), _NOT_FOUND)


def may_exist(place: str) -> bool:
    """True where the disk or folder gives another error than "not found" for a file."""
    error = _error_of(place)
    return isinstance(error, OSError) and not isinstance(error, _NOT_FOUND)


def _error_of(place: str) -> Exception | None:
    try:
        Path(place).stat()
    except (OSError, ValueError) as error:
        return error
    return None


def vanished_folders(missing: Iterable[str], alive: Set[str], roots: Sequence[str]) -> dict[str, list[str]]:
    """Folders that vanished as a whole, with their files, given the files that are `missing`.

    `alive` are folders that still have pictures. Pictures deleted one by one are in no vanished folder.
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
        if len(places) >= (MANY_OF_EMPTY if _is_empty(folder) else MANY)
        or (folder in roots and not has_content(folder))
    }


def check_roots(folders: Iterable[str], roots: Sequence[str], index: Path, pictures: int) -> None:
    """Raise UserError where one of `folders` is an indexed folder that is missing or empty."""
    lost = [folder for folder in folders if folder in roots and not has_content(folder)]
    if lost:
        state = "is empty" if Path(lost[0]).is_dir() else "is not there"
        raise UserError(
            f"{lost[0]}: this folder of {index} {state}, {pictures:,} pictures would be removed; "
            "mount it or move it back, or give --force"
        )


def has_content(folder: str) -> bool:
    """True for an existing folder with more than hidden and system files in it."""
    return Path(folder).is_dir() and not _is_empty(folder)


def _is_empty(folder: str) -> bool:
    """True where a folder exists and holds nothing but hidden and system files, as mount points do."""
    try:
        with os.scandir(folder) as inside:
            return all(default_exclusion(one.name) for one in inside)
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
    return any(is_below(path, root) for root in roots)
