"""Stages for the tests, in a module of their own so that other processes can import them."""

import os
import signal
import time
from dataclasses import dataclass
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
class Slow(DropMarked):
    """The same, taking `seconds` for a batch."""

    seconds: float = 0.0

    def __call__(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Reject]]:
        time.sleep(self.seconds)
        return super().__call__(batch)
