"""What keeps vectors and rows: segments in the index's folder, or a Milvus collection."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from clip_italian.search.filters import Filter
from clip_italian.search.manifest import Manifest
from clip_italian.search.rows import Name


@dataclass(frozen=True)
class Found:
    """A row near a query, and the cosine."""

    name: Name
    score: float


class Store(Protocol):
    """Rows with vectors, to be searched."""

    def __len__(self) -> int: ...

    def nearest(self, query: np.ndarray, k: int, where: Filter | None = None, exact: bool = False) -> list[Found]:
        """The k rows nearest to a query (dim,) of unit length, best first, of those that `where` lets through."""

    def name(self, row: int) -> Name | None:
        """The row with this number, if it is there."""

    def content(self, columns: Sequence[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """All rows, some thousand at a time: columns of `rows.SCHEMA`, and vectors (m, dim) uint16."""

    def sample(self, count: int) -> np.ndarray:
        """At most `count` vectors (m, dim) float32 from all over the index, the same at each call."""


class Backend(Protocol):
    """What keeps the rows of an index that is being changed. `stores` is in how many places vectors lie."""

    @property
    def stores(self) -> int: ...

    def existing(self) -> Iterator[pa.Table]:
        """All rows, as tables with `plan.EXISTING`."""

    def commit(
        self, before: Manifest, parts: Sequence[Path], new: Path | None, gone: Mapping[int, Sequence[int]],
        everything: bool = False,
    ) -> Manifest:  # fmt: skip
        """The next generation: see `commit.commit`."""
