"""Cache folder of the package, and locks in it."""

import os
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from clip_italian.errors import UserError

CACHE_VARIABLE = "CLIP_ITALIAN_CACHE"


def cache_dir() -> Path:
    """Return `$CLIP_ITALIAN_CACHE` or the user's cache folder of the platform; creates it if needed."""
    path = _place()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot create the cache folder ({error.strerror}); set {CACHE_VARIABLE}") from error
    return path


def holds(path: str) -> bool:
    """Return True for a path in the cache folder."""
    return Path(path).absolute().is_relative_to(_place().absolute())


def _place() -> Path:
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else user_cache_path("clip-italian")


def lock(name: str) -> FileLock:
    """Return an inter-process lock for creating the cache entry `name`."""
    locks = cache_dir() / "locks"
    locks.mkdir(exist_ok=True)
    return FileLock(locks / f"{name}.lock")
