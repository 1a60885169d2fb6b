"""An index that follows its inputs: reported changes of files wake an update, which compares everything.

The result never depends on the reports, which get lost on network drives, beyond the system's limits, and when a disk
is mounted: an update also runs at the start, at intervals, and when an input or a mount below it is another one.
"""

import shlex
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import watchfiles

from clip_italian import console, signals
from clip_italian.errors import UserError
from clip_italian.files.mounts import Mount, mounts, touching
from clip_italian.files.names import is_below
from clip_italian.pictures.walk import Choice, exclusion
from clip_italian.pipeline.parts import BusyError
from clip_italian.search.index import check_model
from clip_italian.search.schema import Manifest
from clip_italian.search.selection import VanishedFolder
from clip_italian.search.storage import read_manifest
from clip_italian.search.update import Change, Model, refresh

_TICK_MS = 100  # between two looks at the reports
# A pause of so many times the length of an update follows it, up to `Pace.longest`: files that change all the time in a
# folder of a million pictures must not keep a core busy.
_REST = 5.0


@dataclass(frozen=True)
class Pace:
    """Seconds: an update starts `quiet` after the last reported change, and `longest` after the first at the latest.

    `full`: between two updates without a change. `poll`: the same where changes are not reported, and after a failure.
    `look`: between two looks at inputs and mounts. `busy`: between two tries while another run writes the index.
    """

    quiet: float = 2.0
    longest: float = 30.0
    full: float = 600.0
    poll: float = 60.0
    look: float = 5.0
    busy: float = 0.5


class Schedule:
    """When the next update starts. All times are those of `time.monotonic`, in seconds."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._due = self._not_before = 0.0
        self._first: float | None = None  # reported changes that no update has seen
        self._last = 0.0

    def changed(self, now: float) -> None:
        """A change was reported."""
        self._first, self._last = (now if self._first is None else self._first), now

    def ask(self, now: float) -> None:
        """Want an update as soon as possible."""
        self._due = min(self._due, now)

    def is_due(self, now: float) -> bool:
        """True where an update should start now."""
        gathered = self._first is not None and (
            now - self._last >= self._pace.quiet or now - self._first >= self._pace.longest
        )
        return now >= self._not_before and (gathered or now >= self._due)

    def busy(self, now: float) -> None:
        """An update could not start: try again soon."""
        self._due, self._not_before = now, now + self._pace.busy

    def started(self) -> None:
        """An update starts; it sees what was reported until now."""
        self._first = None

    def ended(self, now: float, seconds: float, reported: bool) -> None:
        """An update ended that took so long; `reported`: changes wake the next one."""
        rest = _REST * seconds
        self._not_before = now + min(rest, self._pace.longest)
        self._due = now + max(self._pace.full if reported else self._pace.poll, rest)


@contextmanager
def until_signal() -> Iterator[threading.Event]:
    """Context that SIGTERM ends without an exception and Ctrl-C with KeyboardInterrupt; both set the event it yields.

    A running update is cancelled; the next one uses what it has embedded.
    """
    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()  # an exception alone is lost where it meets a destructor
        raise KeyboardInterrupt

    with signals.ended_by_signal(end):
        yield stop


def follow(folder: Path, model: Model, stop: threading.Event, pace: Pace = Pace()) -> Iterator[Change]:
    """Keep the index in `folder` up to date with its inputs until `stop` is set; yield the result of each update.

    What hinders an update or the reports is printed once and tried again. Raises UserError where the index is gone, or
    another model made it.
    """
    schedule, said = Schedule(pace), _Said()
    while not stop.is_set():
        inputs = _Inputs.of(_checked(folder, model))
        schedule.ask(time.monotonic())
        with _Reports(inputs.folders, inputs.relevance(folder)) as reports:
            said.about("reports", inputs.unreported(folder, reports.problem, pace))
            until = time.monotonic() + (pace.full if reports.problem else float("inf"))
            looked = time.monotonic()
            while not stop.is_set() and not reports.broken and time.monotonic() < until:
                if reports.wait(stop):
                    schedule.changed(time.monotonic())
                if schedule.is_due(time.monotonic()) and not stop.is_set():
                    yield from _update(folder, model, schedule, said, inputs.are_reported and not reports.problem)
                if time.monotonic() - looked >= pace.look:
                    looked = time.monotonic()
                    if _Inputs.of(_checked(folder, model)) != inputs:
                        break
        if reports.broken:
            stop.wait(pace.quiet)


def manifest_to_follow(folder: Path) -> Manifest:
    """The index.json of `folder`. Raises UserError where there is no index, or one in a file of Milvus Lite."""
    manifest = read_manifest(folder)
    if manifest.store is not None and not urlsplit(manifest.store).netloc:
        raise UserError(
            f"{folder}: its rows are in a file of Milvus Lite, which one process opens at a time, so that nobody could "
            "search while it is watched; update it by clip-italian index build, or use a Milvus server"
        )
    return manifest


def _checked(folder: Path, model: Model) -> Manifest:
    manifest = manifest_to_follow(folder)
    check_model(folder, manifest, model.encoder)
    return manifest


def _update(folder: Path, model: Model, schedule: Schedule, said: "_Said", reported: bool) -> Iterator[Change]:
    """Bring the index up to date once; yields nothing where that failed."""
    started = time.monotonic()
    schedule.started()
    try:
        change = refresh(folder, model)
    except BusyError:
        said.about("update", f"{folder}: another run is writing it; waiting for it")
        schedule.busy(time.monotonic())
        return
    except (UserError, OSError) as error:
        said.about("update", _line(folder, error))
        schedule.ended(time.monotonic(), 0.0, reported=False)
        return
    now = time.monotonic()
    schedule.ended(now, now - started, reported)
    said.about("update", None)
    said.about("absent", _absent(folder, change.absent))
    said.about("kept", _kept(folder, change.kept))
    yield change


@dataclass(frozen=True)
class _Inputs:
    """The inputs of an index as they are now: which files and folders of which disks, and how to read them."""

    stamps: tuple[tuple[str, tuple[int, ...] | None], ...]
    mounts: tuple[Mount, ...]
    choice: Choice

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The inputs that index.json names."""
        table = mounts()
        places = [str(Path(one)) for one in manifest.inputs]
        touched = {mount for place in places for mount in touching(place, table)}
        choice = Choice(tuple(manifest.exclude), manifest.hidden)
        return cls(tuple((place, _stamp(Path(place))) for place in places), tuple(sorted(touched)), choice)

    @property
    def folders(self) -> list[str]:
        """The inputs that are folders."""
        return [place for place, _ in self.stamps if Path(place).is_dir()]

    @property
    def are_reported(self) -> bool:
        """False where pictures may change without a report: by other machines, or those that a pairs file names."""
        pairs = any(Path(place).suffix in (".parquet", ".jsonl") for place, _ in self.stamps)
        return not pairs and not any(mount.is_remote for mount in self.mounts)

    def relevance(self, index: Path) -> Callable[[str], bool]:
        """A test of paths: True for one whose change may concern the index, which may lie in an input itself."""
        place = index.resolve()
        own = (str(place), f"{place}.parts", str(place.parent / f".{place.name}.lock"))
        tests = [(folder, exclusion(folder, self.choice)) for folder in self.folders]

        def relevant(path: str) -> bool:
            if any(is_below(path, one) for one in own):
                return False
            return any(is_below(path, folder) and not excludes(path) for folder, excludes in tests)

        return relevant

    def unreported(self, index: Path, problem: str | None, pace: Pace) -> str | None:
        """A line about changes that are not reported, None where all are."""
        remote = [f"{mount.folder} ({mount.kind})" for mount in self.mounts if mount.is_remote]
        if problem is None and not remote:
            return None
        why = problem or f"changes by others are not reported on {', '.join(remote)}"
        return f"{index}: {why}; looking at its folders every {pace.poll:.0f} seconds"


class _Reports:
    """Changes below folders as the system reports them, of which those with a relevant path count.

    `problem` is the reason why there are no reports, `broken` is set where they end.
    """

    def __init__(self, folders: Sequence[str], relevant: Callable[[str], bool]) -> None:
        self._folders, self._relevant = folders, relevant
        self._changes: Generator[Any, None, None] | None = None
        self.problem: str | None = None
        self.broken = False

    def __enter__(self) -> Self:
        if not self._folders:
            return self
        try:
            try:
                self._changes = _started(self._folders, all_folders=True)
            except PermissionError:
                self.problem = "some folders may not be read, and their changes, perhaps others too, are not reported"
                self._changes = _started(self._folders, all_folders=False)
        except FileNotFoundError:  # gone since it was looked at
            self.broken = True
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split()).partition(" about [")[0].rstrip(".")
            self.problem = f"the system does not report changes ({reason})"
        return self

    def __exit__(self, *_: object) -> None:
        if self._changes is not None:
            self._changes.close()

    def wait(self, stop: threading.Event) -> bool:
        """Wait a moment; True where a relevant change was reported, or the reports ended."""
        if self._changes is None:
            stop.wait(_TICK_MS / 1000)
            return False
        try:
            changes = next(self._changes)
        except RuntimeError:  # a name that is no Unicode, a new folder beyond the system's limits
            self.broken = True
            return True
        return any(self._relevant(path) for _, path in changes)


def _started(folders: Sequence[str], all_folders: bool) -> Generator[Any, None, None]:
    """Sets of changes below folders, empty ones too, several times a second; raises OSError or RuntimeError.

    Unless `all_folders`, those that cannot be watched are passed over, whatever the reason.
    """
    # No filter: the library's own one drops names that pictures may have, and as long as only filtered changes arrive,
    # it never returns. No polling: an update that compares everything does the same at a lower rate.
    changes = watchfiles.watch(
        *folders, watch_filter=None, debounce=_TICK_MS, step=_TICK_MS, rust_timeout=_TICK_MS, yield_on_timeout=True,
        force_polling=False, ignore_permission_denied=not all_folders,
    )  # fmt: skip
    next(changes)
    return changes


class _Said:
    """Lines on stderr, each printed once until it changes."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}

    def about(self, subject: str, line: str | None) -> None:
        """Print the line about a subject, unless it is the last one; None: there is nothing to say any more."""
        if line is not None and line != self._lines.get(subject):
            console.notice(line)
        self._lines[subject] = line or ""


def _absent(folder: Path, absent: Sequence[str]) -> str | None:
    if not absent:
        return None
    return (
        f"{', '.join(absent)}: not there, or empty; its pictures stay in {folder}, and nothing is removed until it is "
        "back"
    )


def _kept(folder: Path, kept: Sequence[VanishedFolder]) -> str | None:
    if not kept:
        return None
    lost = ", ".join(f"{one.folder} ({one.pictures:,} pictures)" for one in kept)
    names = " ".join(shlex.quote(one.folder) for one in kept)
    return (
        f"{lost}: gone as a whole; they stay in the index. Mount it or move it back, or remove them: "
        f"clip-italian index remove {shlex.quote(str(folder))} {names}"
    )


def _line(folder: Path, error: Exception) -> str:
    """An error of an update in one line."""
    if isinstance(error, OSError):
        place = error.filename or next(reversed(getattr(error, "__notes__", [])), folder)
        return f"{place}: {error.strerror or error}; {folder} is as before, and the update is tried again"
    return str(error)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What identifies a folder, or the content of a file; None where it cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    identity = (status.st_dev, status.st_ino)
    return identity if path.is_dir() else (*identity, status.st_size, status.st_mtime_ns)
