"""Atomic writes of files and folders."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clip_italian.errors import UserError

_PRIVATE = (".safetensors", ".data")  # created readable by their owner only: by safetensors, and by onnx


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a temporary path next to `target`, and atomically rename it to `target` when the block succeeds.

    Works for files and folders. If the block raises, nothing is left behind. Weight files that are created
    readable by their owner only get the default permissions. Raises UserError if the target is a folder with unrelated
    files, so that a mistyped output does not delete them.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        made = tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(target)) from error  # name the target, not the parent
    with made as directory:
        temporary = Path(directory) / target.name
        try:
            yield temporary
        except OSError as error:
            error.add_note(str(target))  # ENOSPC carries no file name
            raise
        _apply_umask(temporary)
        if target.is_dir() and not target.is_symlink():
            _check_replaceable(target, temporary)
            # A rename cannot replace a folder that is not empty: move the old one away first.
            target.rename(Path(directory) / "old")
        temporary.replace(target)


def _apply_umask(path: Path) -> None:
    """Give weight files at or below `path` the permissions of any new file."""
    written = [path] if path.is_file() else path.rglob("*")
    weights = [one for one in written if one.suffix in _PRIVATE]
    if weights:
        probe = path.parent / "probe"  # os.umask cannot be read without changing it for all threads
        probe.touch()
        mode = stat.S_IMODE(probe.stat().st_mode)
        for one in weights:
            one.chmod(mode | stat.S_IMODE(one.stat().st_mode))


def _check_replaceable(old: Path, new: Path) -> None:
    """Raise UserError if the folder `old` is not an earlier version of `new`: `new` is a file or shares no name."""
    if not new.is_dir():
        raise UserError(f"{old}: is a folder, the output is a file; choose another output")
    existing = {path.name for path in old.iterdir()}
    if existing and not existing & {path.name for path in new.iterdir()}:
        raise UserError(f"{old}: contains other files ({min(existing)} …), which would be lost; choose another output")


def fsync(path: Path) -> None:
    """Flush a file or folder to disk, so that it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
