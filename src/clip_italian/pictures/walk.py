# ruff: noqa: PTH110, PTH111, PTH112, PTH113, PTH116, PTH118, PTH119, PTH120, PTH122
# os.path takes any text, where pathlib raises, and is faster for many names.
"""The pictures below a folder: found by name or first bytes, through links, without thumbnails and system folders.

A file whose suffix is a picture's is taken for one. Of any other file the first bytes decide: a JPEG is a picture by
any name, and media that are not read (raw, video, …) are counted.
"""

import fnmatch
import heapq
import os
import re
import stat
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from clip_italian.errors import UsageError, UserError
from clip_italian.files.names import as_stored, normal
from clip_italian.pictures.decoding import SUFFIXES

PICTURE = "picture"
_HEAD = 32  # bytes that tell a format

# Files and folders that systems, NAS and programs make: thumbnails, recycle bins, notes. Compared without case.
SYSTEM = (
    "@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "@__thumb", ".@__thumb", "$RECYCLE.BIN",
    "RECYCLER", "System Volume Information", "Thumbs.db", "ehthumbs*.db", "desktop.ini", "._*", ".DS_Store",
    ".AppleDouble", "__MACOSX", "Network Trash Folder", "Temporary Items", ".Trash*", ".thumbnails", ".xvpics",
    "lost+found", "FOUND.[0-9][0-9][0-9]", "@tmp", "*.lrdata", "*.thm", "iPod Photo Cache",
)  # fmt: skip
# In the libraries of Apple's programs, smaller copies of the photos.
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
        "tar": ".tar",  # a folder of them alone is one of shards
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
    """What is looked at below a folder.

    `exclude` are patterns for names (`*.gif`, `private`) or, with a slash, for paths from the folder
    (`2019/*/drafts`); with a slash at the end they fit folders only. `hidden` also takes names that begin with a dot,
    and `SYSTEM`. Raises UsageError for an empty pattern.
    """

    exclude: tuple[str, ...] = ()
    hidden: bool = False

    def __post_init__(self) -> None:
        if any(not one.strip("/ ") for one in self.exclude):
            raise UsageError("--exclude: an empty pattern; give a name, a path below the folder, or one like *.gif")


@dataclass
class Aside:
    """Counts of what is no picture: `other` media by kind, `excluded` files and folders by what excluded them."""

    other: Counter[str] = field(default_factory=Counter)
    excluded: Counter[str] = field(default_factory=Counter)

    def add(self, more: "Aside") -> None:
        """Count what another folder holds as well."""
        self.other += more.other
        self.excluded += more.excluded

    def __str__(self) -> str:
        return "; ".join(
            f"{name}: {', '.join(f'{kind} {count:,}' for kind, count in sorted(counts.items()))}"
            for name, counts in (("other media", self.other), ("excluded", self.excluded))
            if counts
        )


@dataclass
class FolderContents:
    """What lies below a folder: pictures, sorted; each other medium and excluded entry with its kind or pattern;
    what cannot be looked into, and why."""

    pictures: list[Path] = field(default_factory=list)
    other: list[tuple[Path, str]] = field(default_factory=list)
    excluded: list[tuple[Path, str]] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def aside(self) -> Aside:
        """The rest, counted."""
        return Aside(Counter(kind for _, kind in self.other), Counter(kind for _, kind in self.excluded))


def find_pictures(folder: Path, choice: Choice | None = None) -> list[Path]:
    """All picture files below a folder, sorted; raises UserError where there is none."""
    return some(walk(folder, choice), folder).pictures


def some(found: FolderContents, folder: Path) -> FolderContents:
    """The same; raises UserError where there is no picture."""
    if not found.pictures:
        told = [str(found.aside)] if found.other or found.excluded else []
        told += [f"{place}: {reason}" for place, reason in found.unreadable[:1]]
        why = f" ({'; '.join(told)})" if told else ""
        raise UserError(f"{folder}: no pictures in it{why}; give a folder with pictures")
    return found


def holds_shards(folder: Path) -> bool:
    """Whether a folder is one of shards: it holds .tar files, and no picture lies in it or below it."""
    return any(folder.glob("*.tar")) and not walk(folder).pictures


def groups(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, each a group of pictures; none that is hidden or a system's."""
    return sorted(place for place in folder.iterdir() if not rubbish(place.name) and place.is_dir())


def walk(folder: Path, choice: Choice | None = None) -> FolderContents:
    """What lies below a folder; linked folders are followed, each real folder once, whatever leads back to it.

    Raises UserError where there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder with pictures")
    choice = choice or Choice()
    fits = _Matcher(choice, str(folder))
    found = _walk(folder, fits)
    if fits.names:  # what is called exactly so is meant, and not what the brackets of its name would fit
        found = _walk(folder, _Matcher(choice, str(folder), fits.names))
    found.pictures.sort()
    return found


def _walk(folder: Path, fits: "_Matcher") -> FolderContents:
    found = FolderContents()
    seen: set[str] = set()
    links: list[str] = []
    waiting = [(str(folder), os.path.realpath(folder))]
    while waiting:
        place, real = waiting.pop()
        if real not in seen:
            seen.add(real)
            inside = _look(place, fits, found, links)
            waiting += [(below, os.path.join(real, os.path.basename(below))) for below in inside]
        # Links come last, so that a folder has its own name where it has one below `folder`.
        while links and not waiting:
            link = heapq.heappop(links)
            target = os.path.realpath(link)
            if target in seen:
                continue
            if Path(os.path.realpath(os.path.dirname(link))).is_relative_to(target):
                found.unreadable.append((Path(link), "a link to a folder that it lies in; give that folder itself"))
            else:
                waiting.append((link, target))
    return found


def _look(place: str, fits: "_Matcher", found: FolderContents, links: list[str]) -> list[str]:
    """Sort what lies in one folder; return the folders in it."""
    folders: list[str] = []
    try:
        with os.scandir(place) as entries:
            inside = list(entries)
    except OSError as error:
        reason = f"a folder that cannot be looked into ({error.strerror})"
        found.unreadable.append((Path(place), reason))
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
        if pattern := fits(entry, folder):
            found.excluded.append((Path(entry.path), pattern))
        elif broken is not None and _is_link(entry):
            found.unreadable.append((Path(entry.path), f"a link that leads nowhere ({broken.strerror})"))
        elif folder and linked:
            heapq.heappush(links, entry.path)
        elif folder:
            folders.append(entry.path)
        elif file and suffix in SUFFIXES:
            found.pictures.append(Path(entry.path))
        elif file and (kind := sniff(entry.path)):
            if kind == PICTURE:
                found.pictures.append(Path(entry.path))
            else:
                found.other.append((Path(entry.path), kind))
    return folders


def _is_link(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_symlink()
    except OSError:
        return False


class _Matcher:
    """Says what excludes a file or folder, None where nothing does.

    `names` collects patterns with brackets or stars that something is called exactly; those given are names only.
    """

    def __init__(self, choice: Choice, folder: str, names: Collection[str] = ()) -> None:
        self.names: set[str] = set()
        self._hidden = choice.hidden
        self._root = os.path.join(folder, "")
        self._own = [(one, _Pattern(one, one in names)) for one in choice.exclude]

    def __call__(self, entry: "os.DirEntry[str]", folder: bool) -> str | None:
        name = entry.name
        for given, pattern in self._own:
            if fit := pattern.fits(name, entry.path, self._root, folder):
                if fit == _NAME and pattern.has_magic:
                    self.names.add(given)
                return given
        if self._hidden:
            return "._*" if name.startswith("._") and not folder and _head(entry.path)[:4] == _APPLE_DOUBLE else None
        return rubbish(name) or (LIBRARY if folder and _LIBRARY.search(entry.path) else None)


def rubbish(name: str) -> str | None:
    """What leaves a file or folder of this name out by default: one of `SYSTEM`, `HIDDEN`, or None."""
    if _NAMED.match(lower := name.casefold()):
        return next(one for one in SYSTEM if fnmatch.fnmatchcase(lower, one.casefold()))
    return HIDDEN if name.startswith(".") else None


_NAME, _FIT = 2, 1  # called exactly so; what a pattern fits


class _Pattern:
    """A pattern of `Choice.exclude`, or just a name."""

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

    def fits(self, name: str, path: str, root: str, folder: bool) -> int:
        """`_NAME`, `_FIT`, or 0."""
        if self._folders and not folder:
            return 0
        inside = path.removeprefix(root).replace(os.sep, "/")
        # "/thumbs" is a place on this machine, or begins at the folder, as in .gitignore.
        texts = (path, "/" + inside) if self._absolute else (inside,) if self._path else (name,)
        for text in map(normal, texts):
            if text == self._text:
                return _NAME
            if self.has_magic and self._regex.match(text):
                return _FIT
        return 0


def sniff(path: str | Path) -> str | None:
    """The kind of a regular file by its first bytes, else by its suffix: `PICTURE`, "raw", "video" …; None: none."""
    return kind(_head(path), os.path.splitext(path)[1].lower())


def names_picture(given: str | Path) -> bool:
    """Whether what somebody typed, or a path, is meant as a picture: a file, or a name that ends like a picture's.

    Raises UserError for a file that is no picture.
    """
    place = os.path.expanduser(given)
    if isinstance(given, Path) or os.path.splitext(place)[1].lower() in SUFFIXES:
        return True  # where there is none, or it is damaged, decoding says so
    place = str(as_stored(Path(place)))
    if not os.path.exists(place) or os.path.isdir(place):
        return False
    found = sniff(place) if os.path.isfile(place) else None
    if found != PICTURE:
        raise UserError(
            f"{given}: a file here{f' ({found})' if found else ''}, but no picture that can be read; give a picture, "
            "or search for words from another folder"
        )
    return True


def kind(head: bytes, suffix: str = "") -> str | None:
    """As `sniff`, of a file that begins with these bytes, 32 of them if it has so many."""
    if head.startswith(_TIFF):
        return "raw" if suffix in _RAW else PICTURE  # raw files of most makers are TIFF files with a thumbnail first
    for magic, told in _MAGIC:
        if head.startswith(magic):
            return told
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        told = PICTURE if brand in _STILL else "raw" if brand == b"crx " else "video"
        return None if brand in _SOUND else told
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
