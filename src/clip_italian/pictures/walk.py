# ruff: noqa: PTH110, PTH111, PTH112, PTH113, PTH116, PTH118, PTH119, PTH120, PTH122, PTH206
# os.path accepts any text, where pathlib may raise, and is faster for many names.
"""Finds the pictures below a folder, following links and skipping thumbnails and system folders.

Files with a picture suffix count as pictures. All other files are recognised by their first bytes: a JPEG is a picture
whatever its name, and unsupported media (raw, video, …) are counted.
"""

import fnmatch
import heapq
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from clip_italian.errors import UsageError, UserError
from clip_italian.files.names import as_stored, normal
from clip_italian.pictures.decoding import SUFFIXES

PICTURE = "picture"
_HEAD = 32  # number of bytes that identify a format

# Files and folders created by operating systems, NAS devices and programs: thumbnails, recycle bins, notes.
# Case-insensitive.
SYSTEM = (
    "@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "@__thumb", ".@__thumb", "$RECYCLE.BIN",
    "RECYCLER", "System Volume Information", "Thumbs.db", "ehthumbs*.db", "desktop.ini", "._*", ".DS_Store",
    ".AppleDouble", "__MACOSX", "Network Trash Folder", "Temporary Items", ".Trash*", ".thumbnails", ".xvpics",
    "lost+found", "FOUND.[0-9][0-9][0-9]", "@tmp", "*.lrdata", "*.thm", "iPod Photo Cache",
)  # fmt: skip
# Folders with reduced copies of the photos in the libraries of Apple's programs.
LIBRARY = "copies in a photo library"
_LIBRARY = re.compile(
    r"\.photoslibrary[/\\](resources|private|scopes)$"
    r"|\.(photo|ap|migratedphoto)library[/\\](thumbnails|previews|data|data\.noindex|caches|resources)$",
    re.IGNORECASE,
)
HIDDEN = "hidden"
_NAMED = re.compile("|".join(fnmatch.translate(name.casefold()) for name in SYSTEM))
_APPLE_DOUBLE = b"\0\x05\x16\x07"

_RAW = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2"
    " .rwl .sr2 .srf .srw .x3f".split()
)
_OTHER = dict.fromkeys(_RAW, "raw") | {
    suffix: kind
    for kind, suffixes in {
        "video": ".3g2 .3gp .asf .avi .flv .insv .lrv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .vob .webm .wmv",
        "jxl": ".jxl",
        "psd": ".psd .psb",
        "xcf": ".xcf",
        "kra": ".kra",
        "svg": ".svg .svgz",
        "exr": ".exr",
        "hdr": ".hdr",
        "icon": ".ico .icns",
        "tga": ".tga",
        "dds": ".dds",
        "pcx": ".pcx",
        "fits": ".fits",
        "vector": ".ai .cdr .emf .eps .wmf",
        "tar": ".tar",  # see `holds_shards`
    }.items()
    for suffix in suffixes.split()
}
_MAGIC = (
    (b"\xff\xd8\xff", PICTURE),
    (b"\x89PNG\r\n\x1a\n", PICTURE),
    (b"GIF87a", PICTURE),
    (b"GIF89a", PICTURE),
    (b"\0\0\0\x0cjP  \r\n\x87\n", PICTURE),
    (b"\xff\x4f\xff\x51", PICTURE),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
    (b"\xff\x0a", "jxl"),
    (b"8BPS", "psd"),
    (b"gimp xcf", "xcf"),
    (b"\x76\x2f\x31\x01", "exr"),
    (b"#?RADIANCE", "hdr"),
    (b"FUJIFILMCCD-RAW", "raw"),
    (b"IIU\0", "raw"),
    (b"IIRO", "raw"),
    (b"IIRS", "raw"),
    (b"MMOR", "raw"),
    (b"FOVb", "raw"),
    (b"\0MRM", "raw"),
    (b"\x1a\x45\xdf\xa3", "video"),
    (b"FLV\x01", "video"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video"),
    (b"\0\0\x01\xba", "video"),
    (b"\0\0\x01\xb3", "video"),
)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PORTABLE = re.compile(rb"P[4-6]\s+[#\d]")
_BMP_HEADERS = frozenset((12, 40, 52, 56, 64, 108, 124))
_STILL = frozenset((b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_SOUND = frozenset((b"M4A ", b"M4B ", b"M4P "))


@dataclass(frozen=True)
class Choice:
    """Selection of files and folders to walk.

    `exclude` are patterns for names (`*.gif`, `private`), or with a slash for paths relative to the folder
    (`2019/*/drafts`); patterns that end with a slash match folders only. `hidden` includes names that begin with a dot,
    and those in `SYSTEM`. Raises UsageError for an empty pattern.
    """

    exclude: tuple[str, ...] = ()
    hidden: bool = False

    def __post_init__(self) -> None:
        if any(not one.strip("/ ") for one in self.exclude):
            raise UsageError("--exclude: empty pattern; give a name, a path below the folder, or a pattern like *.gif")


@dataclass
class Skipped:
    """Counts of skipped entries: `other` media by kind, `excluded` files and folders by pattern."""

    other: Counter[str] = field(default_factory=Counter)
    excluded: Counter[str] = field(default_factory=Counter)

    def add(self, more: "Skipped") -> None:
        """Add the counts of another folder."""
        self.other += more.other
        self.excluded += more.excluded

    def __str__(self) -> str:
        return "; ".join(
            f"{name}: {', '.join(f'{kind} {count:,}' for kind, count in sorted(counts.items()))}"
            for name, counts in (("other media", self.other), ("excluded", self.excluded))
            if counts
        )


@dataclass
class Listing:
    """Entries below a folder: sorted pictures, other media with their kind, excluded entries with the pattern, and
    unreadable entries with the reason."""

    pictures: list[Path] = field(default_factory=list)
    other: list[tuple[Path, str]] = field(default_factory=list)
    excluded: list[tuple[Path, str]] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def skipped(self) -> Skipped:
        """Counts of other media and excluded entries."""
        return Skipped(Counter(kind for _, kind in self.other), Counter(kind for _, kind in self.excluded))


def find_pictures(folder: Path, choice: Choice | None = None) -> list[Path]:
    """Return all picture files below a folder, sorted. Raises UserError if there are none."""
    return require_pictures(walk(folder, choice), folder).pictures


def require_pictures(listing: Listing, folder: Path) -> Listing:
    """Return the listing, or raise UserError if it has no pictures."""
    if not listing.pictures:
        reasons = [str(listing.skipped)] if listing.other or listing.excluded else []
        reasons += [f"{path}: {reason}" for path, reason in listing.unreadable[:1]]
        why = f" ({'; '.join(reasons)})" if reasons else ""
        raise UserError(f"{folder}: no pictures found{why}; give a folder with pictures")
    return listing


def holds_shards(folder: Path) -> bool:
    """Return True for a folder of shards: with .tar files, and no pictures in it or below it."""
    return any(folder.glob("*.tar")) and not walk(folder).pictures


def groups(folder: Path) -> list[Path]:
    """Return the subfolders of a folder, sorted, without hidden and system folders; each is a group of pictures."""
    return sorted(path for path in folder.iterdir() if not default_exclusion(path.name) and path.is_dir())


def walk(folder: Path, choice: Choice | None = None) -> Listing:
    """List the entries below a folder. Links to folders are followed, and each real folder is visited once.

    Raises UserError if the folder does not exist.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder with pictures")
    choice = choice or Choice()
    matcher = _Matcher(choice, str(folder))
    listing = _walk(folder, matcher)
    if matcher.names:  # an entry has exactly this name, so the pattern is a name and its brackets are literal
        listing = _walk(folder, _Matcher(choice, str(folder), matcher.names))
    # The order of paths, which compares them folder by folder, without splitting each path for every comparison.
    listing.pictures.sort(key=lambda path: os.path.normcase(path).split(os.sep))
    return listing


def exclusion(folder: str, choice: Choice) -> Callable[[str], bool]:
    """Return a test of absolute paths: True if `walk(folder, choice)` leaves out a path below `folder` by a name.

    The path need not exist. Patterns with brackets exclude nothing here, since they may be names.
    """
    patterns = tuple(one for one in choice.exclude if "[" not in one)
    matcher = _Matcher(Choice(patterns, choice.hidden), folder)
    start = os.path.join(folder, "")

    def excludes(path: str) -> bool:
        if not path.startswith(start):
            return False
        *folders, name = path[len(start) :].split(os.sep)
        above = folder
        for one in folders:
            above = os.path.join(above, one)
            if matcher(_Named(one, above), True):
                return True
        return matcher(_Named(name, path), False) is not None

    return excludes


def _walk(folder: Path, matcher: "_Matcher") -> Listing:
    listing = Listing()
    seen: set[str] = set()
    links: list[str] = []
    waiting = [(str(folder), os.path.realpath(folder))]
    while waiting:
        path, real = waiting.pop()
        if real not in seen:
            seen.add(real)
            inside = _scan(path, matcher, listing, links)
            waiting += [(below, os.path.join(real, os.path.basename(below))) for below in inside]
        # Follow links last, so that a linked folder below `folder` is listed by its own path.
        while links and not waiting:
            link = heapq.heappop(links)
            target = os.path.realpath(link)
            if target in seen:
                continue
            if Path(os.path.realpath(os.path.dirname(link))).is_relative_to(target):
                listing.unreadable.append((Path(link), "a link to one of its parent folders; give that folder itself"))
            else:
                waiting.append((link, target))
    return listing


def _scan(path: str, matcher: "_Matcher", listing: Listing, links: list[str]) -> list[str]:
    """Add the entries of one folder to `listing` and `links`; return its subfolders."""
    folders: list[str] = []
    try:
        with os.scandir(path) as entries:
            inside = list(entries)
    except OSError as error:
        reason = f"cannot read the folder ({error.strerror})"
        listing.unreadable.append((Path(path), reason))
        return folders
    for entry in inside:
        suffix = os.path.splitext(entry.name)[1].lower()
        try:
            linked = entry.is_symlink()
            mode = os.stat(entry.path).st_mode if linked else 0
            folder = stat.S_ISDIR(mode) if linked else entry.is_dir(follow_symlinks=False)
            file = stat.S_ISREG(mode) if linked else entry.is_file(follow_symlinks=False)
            broken = None
        except OSError as error:
            linked, folder, file, broken = False, False, suffix in SUFFIXES, error
        if pattern := matcher(entry, folder):
            listing.excluded.append((Path(entry.path), pattern))
        elif broken is not None and _is_link(entry):
            listing.unreadable.append((Path(entry.path), f"a broken link ({broken.strerror})"))
        elif folder and linked:
            heapq.heappush(links, entry.path)
        elif folder:
            folders.append(entry.path)
        elif file and suffix in SUFFIXES:
            listing.pictures.append(Path(entry.path))
        elif file and (kind := sniff(entry.path)):
            if kind == PICTURE:
                listing.pictures.append(Path(entry.path))
            else:
                listing.other.append((Path(entry.path), kind))
    return folders


def _is_link(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_symlink()
    except OSError:
        return False


class _Named(NamedTuple):
    """A path and its last part, as `os.DirEntry` has them."""

    name: str
    path: str


class _Matcher:
    """Returns the pattern that excludes a file or folder, or None.

    `names` collects patterns with brackets or stars that are also the exact name of an entry. Patterns passed as
    `names` match by exact name only.
    """

    def __init__(self, choice: Choice, folder: str, names: Collection[str] = ()) -> None:
        self.names: set[str] = set()
        self._hidden = choice.hidden
        self._root = os.path.join(folder, "")
        self._own = [(one, _Pattern(one, one in names)) for one in choice.exclude]

    def __call__(self, entry: "os.DirEntry[str] | _Named", folder: bool) -> str | None:
        name = entry.name
        for given, pattern in self._own:
            if match := pattern.match(name, entry.path, self._root, folder):
                if match == _EXACT and pattern.has_magic:
                    self.names.add(given)
                return given
        if self._hidden:
            return "._*" if name.startswith("._") and not folder and _head(entry.path)[:4] == _APPLE_DOUBLE else None
        return default_exclusion(name) or (LIBRARY if folder and _LIBRARY.search(entry.path) else None)


def default_exclusion(name: str) -> str | None:
    """Return what excludes a file or folder name by default: a pattern of `SYSTEM`, `HIDDEN`, or None."""
    if _NAMED.match(lower := name.casefold()):
        return next(one for one in SYSTEM if fnmatch.fnmatchcase(lower, one.casefold()))
    return HIDDEN if name.startswith(".") else None


_EXACT, _MATCH = 2, 1  # match by exact name; match by pattern


class _Pattern:
    """A pattern of `Choice.exclude`, or an exact name."""

    def __init__(self, given: str, only_name: bool) -> None:
        text = normal(given)
        self._folders = text.endswith("/")
        text = text.rstrip("/").removeprefix("./")
        self._absolute = text.startswith("/")
        self._anywhere = text.removeprefix("**/")
        self._path = "/" in self._anywhere
        self._text = self._anywhere if not self._path else text
        self.has_magic = not only_name and bool(set(text) & set("*?["))
        texts = {self._text, self._anywhere} if self.has_magic else set()
        self._regex = re.compile("|".join(map(fnmatch.translate, texts)) or r"(?!)")

    def match(self, name: str, path: str, root: str, folder: bool) -> int:
        """Return `_EXACT`, `_MATCH`, or 0."""
        if self._folders and not folder:
            return 0
        inside = path.removeprefix(root).replace(os.sep, "/")
        # "/thumbs" is an absolute path, or relative to the folder as in .gitignore.
        texts = (path, "/" + inside) if self._absolute else (inside,) if self._path else (name,)
        for text in map(normal, texts):
            if text == self._text:
                return _EXACT
            if self.has_magic and self._regex.match(text):
                return _MATCH
        return 0


def sniff(path: str | Path) -> str | None:
    """Return the kind of a file by its first bytes or else its suffix: `PICTURE`, "raw", "video" …, or None."""
    return kind_of(_head(path), os.path.splitext(path)[1].lower())


def names_picture(given: str | Path) -> bool:
    """Return True if a path, or text that a user typed, means a picture: a file, or a name with a picture suffix.

    Raises UserError for a file that is not a picture.
    """
    path = os.path.expanduser(given)
    if isinstance(given, Path) or os.path.splitext(path)[1].lower() in SUFFIXES:
        return True  # decoding reports missing and damaged files
    path = str(as_stored(Path(path)))
    if not os.path.exists(path) or os.path.isdir(path):
        return False
    kind = sniff(path) if os.path.isfile(path) else None
    if kind != PICTURE:
        raise UserError(
            f"{given}: a file with this name exists{f' ({kind})' if kind else ''}, but it is not a picture; give a "
            "picture, or run the text search from another folder"
        )
    return True


def kind_of(head: bytes, suffix: str = "") -> str | None:
    """Return the kind of a file, as `sniff` does, from its first 32 bytes and its suffix."""
    if head.startswith(_TIFF):
        return "raw" if suffix in _RAW else PICTURE  # most raw formats are TIFF files that start with a thumbnail
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        kind = PICTURE if brand in _STILL else "raw" if brand == b"crx " else "video"
        return None if brand in _SOUND else kind
    if head[:4] == b"RIFF":
        return {b"WEBP": PICTURE, b"AVI ": "video"}.get(head[8:12])
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return PICTURE
    return PICTURE if _PORTABLE.match(head) else _OTHER.get(suffix)


def _head(path: str | Path) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        return b""
    try:
        return os.read(file, _HEAD)
    except OSError:
        return b""
    finally:
        os.close(file)
