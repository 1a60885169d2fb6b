"""Limits and access rules of the service."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_italian.errors import UsageError, UserError

_SEGMENT = re.compile(r"[\w.~-]+", re.ASCII)  # of an unescaped path
_MIN_KEY = 16  # characters, too many to guess


@dataclass(frozen=True)
class Limits:
    """Limits of one request, and of all requests together."""

    body_bytes: int = 20_000_000
    picture_pixels: int = 50_000_000
    pictures: int = 8  # in one request
    texts: int = 64  # in one request
    text_characters: int = 1_000
    labels: int = 200
    hits: int = 100
    skip: int = 10_000
    requests: int = 128  # at once; more get 503
    seconds: float = 30.0  # for a request to arrive, and again for its work
    cache_bytes: int = 64_000_000  # of thumbnails


@dataclass(frozen=True)
class Access:
    """Access rules. Without `keys` everyone who reaches the port has access.

    `origins` are web sites whose pages may call the API (CORS). `hosts` are the allowed host names, None for any. They
    prevent other web sites from reading responses by pointing a name of theirs at this machine (DNS rebinding).
    `places`: responses say where pictures were taken.
    """

    keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    hosts: frozenset[str] | None = None
    places: bool = True


def access(
    host: str, keys: Sequence[str], origins: Sequence[str], names: Sequence[str], places: bool | None = None
) -> Access:
    """The rules for a service at this address; raises UsageError where everyone in the network could use it.

    `places` None: only without keys, that is, on this machine.
    """
    if not keys and not is_loopback(host):
        raise UsageError(
            f"--host {host}: others can reach it; give --keys FILE with one key a line, or stay at 127.0.0.1"
        )
    for origin in origins:
        if origin != "*" and not origin.startswith(("http://", "https://")):
            raise UsageError(f"--cors {origin}: an origin looks like https://example.org")
    known = frozenset({"localhost", "127.0.0.1", "::1", host, *(name.lower() for name in names)})
    return Access(tuple(keys), tuple(origins), None if keys else known, not keys if places is None else places)


def prefix(path: str) -> str:
    """A --root-path like "/photos", "" for none. Raises UsageError for an invalid path."""
    parts = [part for part in path.split("/") if part]
    if any(part in (".", "..") or not _SEGMENT.fullmatch(part) for part in parts):
        raise UsageError(f"--root-path {path}: give the path below which the proxy publishes the service, like /photos")
    return "".join(f"/{part}" for part in parts)


def is_loopback(host: str) -> bool:
    """True where only this machine can reach the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_keys(path: Path) -> list[str]:
    """The keys in a file, one per line; # begins a comment. Raises UserError for no key and for short ones."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise UserError(f"{path}: cannot read the keys ({reason}); give a text file, one key a line") from error
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise UserError(f"{path}: no key in it; write one a line, for example from `openssl rand -hex 24`")
    if any(len(key) < _MIN_KEY or not key.isascii() for key in keys):
        raise UserError(f"{path}: a key has {_MIN_KEY} characters or more, all ASCII; try `openssl rand -hex 24`")
    return keys
