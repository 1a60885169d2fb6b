"""Files and folders that appear whole or not at all."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clip_italian.errors import UserError


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that takes its place when the block ends well.

    Works for a file or a folder. When the block raises, nothing of it is left behind. Weights get the rights
    of any other new file: safetensors lets nobody but their owner read them. Raises UserError where the target
    is a folder of something else: a mistaken output must cost nobody's pictures.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        made = tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(target)) from error  # a name that the user knows
    with made as room:
        temporary = Path(room) / target.name
        try:
            yield temporary
        except OSError as error:
            error.add_note(str(target))  # what the user knows; a full disk is told of without any name
            raise
        _share(temporary)
        if target.is_dir() and not target.is_symlink():
            _check_replaceable(target, temporary)
            # A folder cannot be replaced in one step: move the old one aside first.
            target.rename(Path(room) / "old")
        temporary.replace(target)


def _share(path: Path) -> None:
    """Let those read safetensors files at `path` or below it whom the user's umask allows to."""
    written = [path] if path.is_file() else path.rglob("*")
    weights = [one for one in written if one.suffix == ".safetensors"]
    if weights:
        probe = path.parent / "probe"  # os.umask tells only by changing it, for all threads
        probe.touch()
        rights = stat.S_IMODE(probe.stat().st_mode)
        for one in weights:
            one.chmod(rights | stat.S_IMODE(one.stat().st_mode))


def _check_replaceable(old: Path, new: Path) -> None:
    """Raise UserError where the folder `old` is no earlier version of `new`: a file, or a folder of other names."""
    if not new.is_dir():
        raise UserError(f"{old}: a folder, which a file would replace; choose another output")
    there = {path.name for path in old.iterdir()}
    if there and not there & {path.name for path in new.iterdir()}:
        raise UserError(f"{old}: holds other files ({min(there)} …), which would be lost; choose another output")


def fsync(path: Path) -> None:
    """Flush a file's or folder's content to the disk, so that it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
