"""A segment: some rows of an index with their vectors, in a folder that never changes once it is there.

Rows that an update removes are marked in a file of their own (`deleted-….npy`), until a segment is written anew.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from clip_italian.errors import UserError
from clip_italian.files.atomic import fsync, staged
from clip_italian.files.digests import sha256_of
from clip_italian.search import rows, vectors
from clip_italian.search.rows import Rows
from clip_italian.search.vectors import Chosen, Vectors

# Below, looking at all vectors is as fast as a graph.
GRAPH_FROM = 4_096


class Stored(BaseModel):
    """What index.json says of a segment: folder, rows, whether there is a graph, its files, deleted rows.

    Of each file it knows size and sha256.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    rows: int
    graph: bool
    files: dict[str, tuple[int, str]]
    deleted_file: str | None = None
    deleted: int = 0

    @property
    def alive(self) -> int:
        """Rows that are not deleted."""
        return self.rows - self.deleted


class Segment:
    """An opened segment. Nothing of its size is read before it is needed."""

    def __init__(self, stored: Stored, names: Rows, embeddings: Vectors, deleted: np.ndarray) -> None:
        self.stored = stored
        self.rows = names
        self.vectors = embeddings
        self.deleted = deleted

    @classmethod
    def open(cls, root: Path, stored: Stored, dim: int) -> Self:
        """Raises OSError where a file is gone, UserError where one is damaged."""
        folder = root / stored.name
        for name, (size, _) in stored.files.items():
            if (folder / name).stat().st_size != size:
                raise UserError(f"{folder / name}: damaged, it does not have {size:,} bytes; build the index again")
        embeddings = Vectors.open(folder, stored.rows, dim, stored.graph)
        deleted = np.load(root / stored.deleted_file) if stored.deleted_file else np.zeros(0, np.uint32)
        return cls(stored, Rows.open(folder, stored.rows), embeddings, deleted)

    @cached_property
    def alive(self) -> Chosen | None:
        """Rows that are not deleted; None for all."""
        if not len(self.deleted):
            return None
        mask = np.ones(self.stored.rows, bool)
        mask[self.deleted] = False
        return Chosen(mask)

    def positions(self) -> np.ndarray:
        """Rows that are not deleted, ascending."""
        return np.arange(self.stored.rows) if self.alive is None else self.alive.positions

    def columns(self, names: Sequence[str] = rows.FIELDS) -> pa.Table:
        """Columns of the rows that are not deleted."""
        table = self.rows.columns(names)
        return table if self.alive is None else table.take(pa.array(self.alive.positions))


def write(
    root: Path, name: str, dim: int, graph: bool, content: Iterable[tuple[pa.Table, np.ndarray]], in_archives: bool
) -> Stored:
    """Write the segment `name` below `root` from tables with `rows.SCHEMA` and vectors (m, dim) uint16.

    It is there as a whole, and on the disk, when this returns.
    """
    with staged(root / name) as temporary:
        temporary.mkdir()
        embeddings = vectors.Writer(temporary, dim, graph)
        table = rows.Writer(temporary, in_archives)
        for some, bits in content:
            table.write(some)
            embeddings.write(bits)
        table.close()
        embeddings.close()
        files = {path.name: (path.stat().st_size, sha256_of(path)) for path in sorted(temporary.iterdir())}
        for path in temporary.iterdir():
            fsync(path)
        fsync(temporary)
    fsync(root)
    return Stored(name=name, rows=table.rows, graph=graph, files=files)
