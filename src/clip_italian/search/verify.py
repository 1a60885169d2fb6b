"""Whether an index is whole: files as they were written, rows that fit together, vectors that are vectors."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.files.digests import sha256_of
from clip_italian.search import manifest, vectors
from clip_italian.search.index import Index
from clip_italian.search.local import LocalStore
from clip_italian.search.rows import place
from clip_italian.search.segment import Segment

_ASKED = 200  # vectors that a graph must find
_LEAST_FOUND = 0.95
_LENGTH = 0.02  # how far from 1 rounding may bring a vector's length


def verify(folder: Path) -> list[str]:
    """What is wrong with an index folder, one line each; empty where all is well. Reads every file once.

    Raises UserError where it is no index at all.
    """
    settings = manifest.read(folder)
    damaged = [
        f"{path}: {'changed since it was written' if path.is_file() else 'missing'}"
        for one in settings.segments
        for path, digest in ((folder / one.name / name, digest) for name, (_, digest) in one.files.items())
        if not path.is_file() or sha256_of(path) != digest
    ]
    if damaged:
        return damaged
    try:
        settings, store = LocalStore.open(folder)
    except UserError as error:
        return [str(error)]
    found = []
    if len(store) != settings.pictures:
        found.append(f"{folder / manifest.FILE}: says {settings.pictures:,} pictures, there are {len(store):,}")
    with console.progress("segments", len(store.segments)) as advance:
        for one in store.segments:
            found += [f"{folder / one.stored.name}: {problem}" for problem in _problems(one, settings.next_row)]
            advance(1)
    ids = pa.chunked_array([c for one in store.segments for c in one.columns(["id"])["id"].chunks], pa.string())
    if (double := len(ids) - pc.count_distinct(ids).as_py()) > 0:
        found.append(f"{folder}: {double:,} rows have the id of another")
    return found


def missing(index: Index) -> int:
    """Pictures whose file is no longer where the index says."""
    count = 0
    roots = index.manifest.roots
    for table, _ in index.store.content(["root", "path"]):
        for root, path in zip(table["root"].to_pylist(), table["path"].to_pylist(), strict=True):
            count += not Path(place(roots, root, path)).exists()
    return count


def _problems(segment: Segment, next_row: int) -> Iterator[str]:
    numbers = segment.rows.columns(["row"])["row"].to_numpy()
    if np.any(np.diff(numbers.astype(np.int64)) <= 0) or (len(numbers) and numbers[-1] >= next_row):
        yield "row numbers do not ascend"
    if len(segment.deleted) and (np.any(np.diff(segment.deleted) <= 0) or segment.deleted[-1] >= len(numbers)):
        yield "marks of deletion do not fit its rows"
    every = np.arange(len(numbers))
    bad = 0
    for some in vectors.blocks(len(numbers)):
        lengths = np.linalg.norm(segment.vectors.take(every[some]), axis=1)
        bad += int(np.count_nonzero(~(np.abs(lengths - 1) < _LENGTH)))
    if bad:
        yield f"{bad:,} vectors are not of unit length"
    if segment.stored.graph:
        asked = np.linspace(0, len(numbers) - 1, min(_ASKED, len(numbers))).astype(np.int64)
        queries = segment.vectors.take(asked)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        # Of equal vectors any is right.
        best = [segment.vectors.nearest(query, 1)[1] for query in queries]
        share = float(np.mean([len(score) > 0 and score[0] > 1 - 1e-4 for score in best]))
        if share < _LEAST_FOUND:
            yield f"its graph finds only {share:.0%} of its own vectors; run clip-italian index compact"
