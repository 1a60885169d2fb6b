"""Inspection of every picture before training: which can be read, and their content and perceptual hashes.

Results stay in the cache, ten thousand pictures a file, by the state of their files: a killed run resumes, and a second
run on the same pictures reads none of them.
"""

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from clip_italian.errors import UserError
from clip_italian.files import atomic, cache
from clip_italian.files.digests import hash64
from clip_italian.pictures.decoding import PictureError, decode
from clip_italian.pictures.leaks import Fingerprints
from clip_italian.pictures.phash import picture_hash
from clip_italian.train.data import Examples
from clip_italian.train.pictures import Pictures, in_order

_SCHEMA = pa.schema([("content", pa.uint64()), ("look", pa.string()), ("error", pa.string())])
_PART = 10_000
_AT_ONCE = 32
# Part of the files' names: raise it when `picture_hash` changes.
_VERSION = 1

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Inspection:
    """The rows whose pictures can be read, `good_rows` (k,), and the errors of the other pictures.

    `looks` are the perceptual hashes (`phash.picture_hash`) of the good rows' pictures, `contents` (k,) uint64 the
    content hashes of their files.
    """

    good_rows: torch.Tensor
    looks: list[str]
    contents: np.ndarray
    errors: list[PictureError]

    def fingerprints(self, rows: torch.Tensor) -> Fingerprints:
        """Fingerprints of the distinct pictures among some of the good rows, numbered as in `looks`."""
        chosen = self.distinct(rows)
        return Fingerprints.known(self.contents[chosen], [self.looks[row] for row in chosen.tolist()])

    def distinct(self, rows: torch.Tensor) -> np.ndarray:
        """The first row of each distinct picture among some of the good rows, in their order."""
        chosen: np.ndarray = rows.numpy()
        return chosen[np.sort(np.unique(self.contents[chosen], return_index=True)[1])]


def inspect(examples: Examples, workers: int, progress: Progress) -> Inspection:
    """Decode every picture once, in `workers` processes or in threads; `progress` is called with the rows done since.

    Raises UserError where no picture can be read, with the counts of the reasons.
    """
    _, which, first, counts = _distinct(examples.identities.numpy())
    parts = []
    for start in range(0, len(first), _PART):
        rows = first[start : start + _PART]
        done = counts[start : start + _PART]
        parts.append(_part(examples.pictures, rows, done, workers, progress))
    found = pa.concat_tables(parts)
    texts = [text for text in found["error"].to_pylist() if text is not None]
    readable = found["error"].is_null().to_numpy()
    if not readable.any():
        raise UserError(f"0 readable pairs of {len(examples):,}: {_reasons(texts)}; the first: {texts[0]}")
    good = np.flatnonzero(readable[which])
    looks = found["look"].take(pa.array(which[good])).to_pylist()
    contents = found["content"].to_numpy()[which[good]]
    return Inspection(torch.from_numpy(good), looks, contents.astype(np.uint64), [PictureError(text) for text in texts])


def _distinct(identities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Identities in the order of their first rows; the index of each row's identity, first rows, counts of rows."""
    values, first, which, counts = np.unique(identities, return_index=True, return_inverse=True, return_counts=True)
    order = first.argsort()
    return values[order], order.argsort()[which], first[order], counts[order]


def _part(pictures: Pictures, rows: np.ndarray, counts: np.ndarray, workers: int, progress: Progress) -> pa.Table:
    """The inspection of some pictures (`_SCHEMA`), from the cache if it is there."""
    digest = hashlib.sha256(f"{_VERSION}\n".encode())
    for row in rows.tolist():
        digest.update(_state(pictures, row).encode("utf-8", "surrogatepass"))
    name = digest.hexdigest()[:24]
    cached = cache.cache_dir() / "inspected" / f"{name}.parquet"
    with cache.lock(name):
        if cached.is_file():
            progress(int(counts.sum()))
            return pq.read_table(cached)
        jobs = np.array_split(rows, range(_AT_ONCE, len(rows), _AT_ONCE))
        found: list[dict] = []
        for some in in_order(_Inspect(pictures), jobs, workers):
            progress(int(counts[len(found) : len(found) + len(some)].sum()))
            found += some
        table = pa.Table.from_pylist(found, schema=_SCHEMA)
        with atomic.staged(cached) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        return table


def _state(pictures: Pictures, row: int) -> str:
    try:
        return json.dumps(pictures.state(row)) + "\n"
    except PictureError as error:
        return f"{error}\n"


@dataclass(frozen=True)
class _Inspect:
    """Inspects the pictures of some rows: a dict of `_SCHEMA` each."""

    pictures: Pictures

    def __call__(self, rows: np.ndarray) -> list[dict]:
        return [self._one(row) for row in rows.tolist()]

    def _one(self, row: int) -> dict:
        try:
            content = self.pictures.bytes(row)
            image = decode(io.BytesIO(content), self.pictures.name(row))
        except PictureError as error:
            return {"error": str(error)}
        return {"content": hash64(content), "look": picture_hash(image)}


def _reasons(errors: list[str]) -> str:
    """Counts of errors by their text after the picture's name, without details."""
    counts = Counter(re.sub(r" \(.*\)$", "", error.rpartition(": ")[2]) for error in errors)
    return ", ".join(f"{reason} {count:,}" for reason, count in counts.most_common())


def write_errors(inspection: Inspection, path: Path) -> None:
    """List the pictures that cannot be read, one a line; write no file where there are none."""
    path.unlink(missing_ok=True)
    if inspection.errors:
        with atomic.staged(path) as temporary:
            temporary.write_text("".join(f"{error}\n" for error in inspection.errors), encoding="utf-8")
