"""Rows that people name: by id, path, folder or pattern, or because their file is gone."""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import pyarrow as pa

from clip_italian.search.rows import place


def selected(
    tables: Iterable[pa.Table], roots: Sequence[str], what: Sequence[str], missing: bool
) -> Iterator[tuple[int, int]]:
    """Store and position of rows that are named, or whose file is missing."""
    exact = {one.rstrip("/") for one in what}
    absolute = {str(Path.cwd() / one) for one in what}
    patterns = [re.compile(fnmatch.translate(one)) for one in what if set(one) & set("*?[")]

    def named(id_: str, path: str, where: str) -> bool:
        if id_ in exact or path in exact or where in absolute:
            return True
        if exact & {str(above) for above in PurePosixPath(path).parents}:
            return True
        if absolute & {str(above) for above in Path(where).parents}:
            return True
        return any(pattern.match(id_) or pattern.match(path) for pattern in patterns)

    for table in tables:
        columns = (table[name].to_pylist() for name in ("id", "path", "root", "store", "pos"))
        for id_, path, root, store, position in zip(*columns, strict=True):
            where = place(roots, root, path)
            if named(id_, path, where) or (missing and not Path(where).exists()):
                yield store, position
