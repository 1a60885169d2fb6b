"""The integrity of an index: unchanged files, consistent rows, vectors of unit length, lists that find them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.files.digests import sha256_of
from clip_italian.search.engine import blocks
from clip_italian.search.index import Index
from clip_italian.search.schema import absolute_path
from clip_italian.search.storage import MANIFEST_FILE, FolderStore, Segment, nearest, read_manifest

_QUERIES = 200  # vectors that a segment's lists must find
_LEAST_FOUND = 0.95
_LENGTH_TOLERANCE = 0.02  # of rounding


def verify(folder: Path) -> list[str]:
    """The problems of an index folder, one line each. Reads every file once.

    Raises UserError where the folder is no index.
    """
    manifest = read_manifest(folder)
    damaged = [
        f"{path}: {'changed since it was written' if path.is_file() else 'missing'}"
        for one in manifest.segments
        for path, digest in ((folder / one.name / name, digest) for name, (_, digest) in one.files.items())
        if not path.is_file() or sha256_of(path) != digest
    ]
    if damaged:
        return damaged
    try:
        store = FolderStore.open(folder)
    except UserError as error:
        return [str(error)]
    found = []
    manifest = store.manifest
    if len(store) != manifest.pictures:
        found.append(f"{folder / MANIFEST_FILE}: says {manifest.pictures:,} pictures, there are {len(store):,}")
    with console.progress("segments", len(store.segments)) as advance:
        for one in store.segments:
            found += [f"{folder / one.stored.name}: {problem}" for problem in _problems(one, manifest.next_row)]
            advance(1)
    ids = pa.chunked_array([c for one in store.segments for c in one.columns(["id"])["id"].chunks], pa.string())
    if (double := len(ids) - pc.count_distinct(ids).as_py()) > 0:
        found.append(f"{folder}: {double:,} rows have the id of another")
    return found


def missing(index: Index) -> int:
    """The number of pictures whose file is gone."""
    count = 0
    roots = index.manifest.roots
    for table, _ in index.store.content(["root", "path"]):
        for root, path in zip(table["root"].to_pylist(), table["path"].to_pylist(), strict=True):
            count += not Path(absolute_path(roots, root, path)).exists()
    return count


def _problems(segment: Segment, next_row: int) -> Iterator[str]:
    numbers = segment.rows.columns(["row"])["row"].to_numpy()
    if np.any(np.diff(numbers.astype(np.int64)) <= 0) or (len(numbers) and numbers[-1] >= next_row):
        yield "row numbers do not ascend"
    if len(segment.deleted) and (np.any(np.diff(segment.deleted) <= 0) or segment.deleted[-1] >= len(numbers)):
        yield "marks of deletion do not fit its rows"
    every = np.arange(len(numbers))
    bad = 0
    for some in blocks(len(numbers)):
        lengths = np.linalg.norm(segment.vectors.take(every[some]), axis=1)
        bad += int(np.count_nonzero(~(np.abs(lengths - 1) < _LENGTH_TOLERANCE)))
    if bad:
        yield f"{bad:,} vectors are not of unit length"
    if segment.stored.graph:
        rows = np.linspace(0, len(numbers) - 1, min(_QUERIES, len(numbers))).astype(np.int64)
        queries = segment.vectors.take(rows)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        # Of equal vectors any is right.
        best = [nearest(segment.vectors, query, 1)[1] for query in queries]
        share = float(np.mean([len(score) > 0 and score[0] > 1 - 1e-4 for score in best]))
        if share < _LEAST_FOUND:
            yield f"its lists find only {share:.0%} of its own vectors; run clip-italian index compact"
