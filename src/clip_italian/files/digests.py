"""SHA-256 digests of files and texts."""

import hashlib
from pathlib import Path

NO_KEY = 0  # of a row that has none: it equals no other


def number(text: str | bytes) -> int:
    """The first 64 bits of the sha256; two of 5 million texts share them with a probability of 1e-6."""
    raw = text.encode() if isinstance(text, str) else text
    return int.from_bytes(hashlib.sha256(raw).digest()[:8], "big")


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_key(path: Path) -> int:
    """Of a file's bytes; `NO_KEY` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return int.from_bytes(hashlib.file_digest(file, "sha256").digest()[:8], "big")
    except OSError:
        return NO_KEY
