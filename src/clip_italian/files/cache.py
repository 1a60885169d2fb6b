"""The cache folder of the package, and locks in it."""

import os
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from clip_italian.errors import UserError

CACHE_VARIABLE = "CLIP_ITALIAN_CACHE"


def cache_dir() -> Path:
    """`$CLIP_ITALIAN_CACHE`, or the platform's cache folder for the user; made if missing."""
    chosen = os.environ.get(CACHE_VARIABLE)
    path = Path(chosen) if chosen else user_cache_path("clip-italian")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot make the cache folder ({error.strerror}); set {CACHE_VARIABLE}") from error
    return path


def lock(name: str) -> FileLock:
    """A lock in the cache for whoever makes what is called `name`: who waits finds it made."""
    locks = cache_dir() / "locks"
    locks.mkdir(exist_ok=True)
    return FileLock(locks / f"{name}.lock")
