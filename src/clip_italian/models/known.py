"""Digests of model folders, remembered in the cache by size, inode and times of their files."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.files.cache import cache_dir, lock
from clip_italian.files.digests import sha256_of

_SUFFIXES = (".safetensors", ".bin", ".json", ".txt", ".model", ".onnx", ".onnx_data")
_MOST = 500  # digests remembered


def digest(folder: Path, files: Sequence[Path] | None = None) -> str:
    """Return the digest of the files of a model folder, or of some `files` in it: 16 hex digits.

    Reading them takes a second for each gigabyte, so digests are remembered for files that did not change. Raises
    UserError if the folder has no model files.
    """
    if files is None:
        files = [path for path in folder.iterdir() if path.suffix in _SUFFIXES] if folder.is_dir() else []
    if not files:
        raise UserError(f"{folder}: not a model folder, its files are missing; train or download the model again")
    files = sorted(files)
    key = hashlib.sha256(json.dumps([(path.name, *_stamp(path)) for path in files]).encode()).hexdigest()[:32]
    memory = cache_dir() / "known.json"
    if isinstance(remembered := read_json(memory).get(key), str):
        return remembered
    content = [(path.name, sha256_of(path)) for path in files]
    found = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    try:
        with lock("known"), staged(memory) as temporary:
            kept = [*read_json(memory).items(), (key, found)][-_MOST:]
            temporary.write_text(json.dumps(dict(kept)), encoding="utf-8")
    except OSError:  # only slower next time
        pass
    return found


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object; {} if the file is missing or damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _stamp(path: Path) -> Sequence[int]:
    """Return numbers that change when a file does. The time of change cannot be set, unlike that of modification."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
