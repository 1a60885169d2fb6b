"""The segments of an index folder, opened together."""

import errno
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from clip_italian.errors import UserError
from clip_italian.search import manifest
from clip_italian.search.filters import Filter
from clip_italian.search.manifest import Manifest
from clip_italian.search.rows import Name
from clip_italian.search.segment import Segment
from clip_italian.search.store import Found
from clip_italian.search.vectors import Chosen, blocks

_FILTERS_KEPT = 8
_TRIES = 20


class LocalStore:
    """See `Store`. Threads may search at the same time."""

    def __init__(self, settings: Manifest, segments: Sequence[Segment]) -> None:
        self.segments = list(segments)
        self._roots = settings.roots
        self._chosen: dict[Filter, list[Chosen | None]] = {}
        self._one_at_a_time = threading.Lock()  # Parquet files are not read by two threads at once

    @classmethod
    def open(cls, folder: Path) -> tuple[Manifest, Self]:
        """What is there now, as a whole: read again where an update removes files in between.

        Raises UserError where there is no index or files are missing.
        """
        for attempt in range(_TRIES):
            settings = manifest.read(folder)
            try:
                return settings, cls(settings, [Segment.open(folder, one, settings.dim) for one in settings.segments])
            except OSError as error:
                if attempt == _TRIES - 1 or manifest.read(folder).generation == settings.generation:
                    place = error.filename or folder
                    what = "change who may read it" if error.errno == errno.EACCES else "build the index again"
                    raise UserError(f"{place}: missing or unreadable ({error.strerror}); {what}") from error
        raise AssertionError("unreachable")

    def __len__(self) -> int:
        return sum(segment.stored.alive for segment in self.segments)

    def nearest(self, query: np.ndarray, k: int, where: Filter | None = None, exact: bool = False) -> list[Found]:
        chosen = self._where(where) if where is not None else [segment.alive for segment in self.segments]
        numbers, positions, scores = [], [], []
        for number, (segment, some) in enumerate(zip(self.segments, chosen, strict=True)):
            where_found, how_near = segment.vectors.nearest(query, k, some, exact)
            numbers.append(np.full(len(where_found), number))
            positions.append(where_found)
            scores.append(how_near)
        if not numbers:
            return []
        at, position, score = (np.concatenate(some) for some in (numbers, positions, scores))
        best = np.lexsort((position, at, -score))[:k]
        return [
            Found(self.segments[n].rows.name(p), s)
            for n, p, s in zip(at[best].tolist(), position[best].tolist(), score[best].tolist(), strict=True)
        ]

    def name(self, row: int) -> Name | None:
        for segment in self.segments:
            position = segment.rows.find(row)
            if position is not None and (segment.alive is None or segment.alive.mask[position]):
                return segment.rows.name(position)
        return None

    def content(self, columns: Sequence[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
        for segment in self.segments:
            table, positions = segment.columns(columns), segment.positions()
            for some in blocks(len(positions)):
                yield table.slice(some.start, some.stop - some.start), segment.vectors.bits(positions[some])

    def sample(self, count: int) -> np.ndarray:
        total = len(self)
        parts = []
        for segment in self.segments:
            positions = segment.positions()
            share = -(-count * len(positions) // total) if total else 0
            chosen = np.linspace(0, len(positions) - 1, min(share, len(positions))).astype(np.int64)
            parts.append(segment.vectors.take(positions[chosen]))
        return np.concatenate(parts)[:count] if parts else np.zeros((0, 0), np.float32)

    def _where(self, where: Filter) -> list[Chosen | None]:
        """Rows that a filter lets through, remembered for the next page of the same search."""
        with self._one_at_a_time:
            if where not in self._chosen:
                if len(self._chosen) >= _FILTERS_KEPT:
                    self._chosen.pop(next(iter(self._chosen)))
                self._chosen[where] = [self._choose(segment, where) for segment in self.segments]
            return self._chosen[where]

    def _choose(self, segment: Segment, where: Filter) -> Chosen | None:
        if not where.columns:
            return segment.alive
        mask = where.mask(segment.rows.columns(where.columns), self._roots)
        return Chosen(mask if segment.alive is None else mask & segment.alive.mask)
