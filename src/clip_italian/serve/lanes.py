"""One thread that works for many: what waits is taken together, as one batch of the encoder."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

# When the request that a thread works for must be answered, by time.monotonic.
deadline: ContextVar[float] = ContextVar("deadline")


def left() -> float | None:
    """Seconds until the deadline of this thread's request; None for no limit."""
    at = deadline.get(None)
    return None if at is None else max(at - time.monotonic(), 0.0)


@dataclass(frozen=True)
class _Job(Generic[T, R]):
    item: T
    answer: "Future[R]"


class Lane(Generic[T, R]):
    """Takes items from any thread, and works on those that wait in batches of at most `most`, in order.

    It never waits for a batch to fill: alone, an item is worked on at once. `observe` is told the size of each batch.
    """

    def __init__(
        self, work: Callable[[list[T]], Iterable[R]], most: int, observe: Callable[[int], None] = lambda _: None
    ) -> None:
        self._work, self._most, self._observe = work, most, observe
        self._waiting: queue.SimpleQueue[_Job[T, R] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def ask(self, items: Sequence[T]) -> list[R]:
        """What `work` makes of these; raises what it raises, and TimeoutError at the deadline."""
        jobs = [_Job[T, R](item, Future()) for item in items]
        for job in jobs:
            self._waiting.put(job)
        try:
            return [job.answer.result(left()) for job in jobs]
        finally:
            for job in jobs:  # nobody waits for them any more
                job.answer.cancel()

    def close(self) -> None:
        """Finish what waits, and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, last = [first], False
            while len(batch) < self._most and not last:
                try:
                    job = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    last = True
                else:
                    batch.append(job)
            batch = [job for job in batch if job.answer.set_running_or_notify_cancel()]
            if batch:
                self._observe(len(batch))
                self._answer(batch)
            if last:
                return

    def _answer(self, batch: list[_Job[T, R]]) -> None:
        try:
            results = self._work([job.item for job in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
            else:  # one that fails must not fail the others
                for job in batch:
                    self._answer([job])
            return
        for job, result in zip(batch, results, strict=True):
            job.answer.set_result(result)
