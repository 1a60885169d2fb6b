"""Rows of a pairs file that show one picture: the same id, address or file, or nearly the same look.

Everything is kept as numbers of 64 bits: about 120 bytes a row, so that some millions fit into memory.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from clip_italian import near
from clip_italian.identity import FLAT, picture_hash
from clip_italian.images import PictureError, open_picture

NO_KEY = 0  # of a row that has none: it equals no other
NO_LOOK = f"{FLAT}-{'0' * 12}"  # hash of a picture that was not seen; like no other


@dataclass(frozen=True)
class Keys:
    """What tells the pictures of n rows: ids, addresses, contents and outlines (n,) uint64, colours (n, 6) uint8."""

    ids: np.ndarray
    addresses: np.ndarray
    contents: np.ndarray
    outlines: np.ndarray
    colours: np.ndarray


def number(text: str | bytes) -> int:
    """The first 64 bits of the sha256; two of 5 million texts share them with a probability of 1e-6."""
    raw = text.encode() if isinstance(text, str) else text
    return int.from_bytes(hashlib.sha256(raw).digest()[:8], "big")


def address_key(image: str) -> int:
    """Of an URL, without what does not tell pictures apart (scheme, case of the host, fragment); of others `NO_KEY`."""
    if "://" not in image:
        return NO_KEY
    try:
        parts = urlsplit(image)
    except ValueError:
        return number(image)
    return number(f"{parts.netloc.lower()}{parts.path}?{parts.query}")


def content_key(path: Path) -> int:
    """Of a file's bytes; `NO_KEY` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return int.from_bytes(hashlib.file_digest(file, "sha256").digest()[:8], "big")
    except OSError:
        return NO_KEY


def look(path: Path) -> str | None:
    """`identity.picture_hash` of a picture file; None where it cannot be decoded."""
    try:
        return picture_hash(open_picture(path))
    except PictureError:
        return None


def groups(keys: Keys, distance: int) -> np.ndarray:
    """For each row the number of its group, (n,) int32: rows that share a key or a look, also through others."""
    links = [_equal(keys.ids), _equal(keys.addresses), _equal(keys.contents)]
    links.append(_as_array(near.near_rows(keys.outlines, keys.colours, distance)))
    first, second = np.concatenate(links).T
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(keys.ids),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1])


def _equal(values: np.ndarray) -> np.ndarray:
    """Links (m, 2) that join all rows of one value."""
    rows = np.flatnonzero(values != NO_KEY)
    order = rows[np.argsort(values[rows], kind="stable")]
    same = values[order[:-1]] == values[order[1:]]
    return np.stack([order[:-1][same], order[1:][same]], axis=1)


def _as_array(links: Iterable[tuple[int, int]]) -> np.ndarray:
    return np.fromiter(links, np.dtype((np.int64, 2)))
