"""Stages for the tests, in a module of their own so that other processes can import them."""

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from clip_italian import pairs
from clip_italian.pipeline.rejects import Reject


@dataclass(frozen=True)
class DropMarked:
    """Drops rows whose first caption has an x; dies once where `die_at` is in a batch and `mark` is not yet there."""

    die_at: str | None = None
    mark: Path | None = None

    def __call__(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Reject]]:
        rows = list(pairs.from_batch(batch))
        if self.mark and any(row.id == self.die_at for row in rows) and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        kept = [row for row in rows if "x" not in row.captions[0]]
        rejects = [Reject(row.id, "marked", row.captions[0]) for row in rows if "x" in row.captions[0]]
        return pairs.to_batch(kept), rejects


@dataclass(frozen=True)
class Waits(DropMarked):
    """The same, but once `after` parts lie in the folder `parts` it waits for the file `go`."""

    parts: Path = Path()
    after: int = 0
    go: Path = Path()

    def __call__(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Reject]]:
        while not self.go.exists() and len(list(self.parts.glob("0*"))) >= self.after:
            time.sleep(0.02)
        return super().__call__(batch)


@dataclass(frozen=True)
class Fails(DropMarked):
    """Raises `error`."""

    error: Exception = field(default_factory=RuntimeError)

    def __call__(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Reject]]:
        raise self.error
