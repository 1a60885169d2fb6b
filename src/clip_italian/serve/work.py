"""Threads that work for requests: so many at a time, and so long."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from clip_italian.serve.lanes import deadline

T = TypeVar("T")


class BusyError(Exception):
    """Too many requests at once."""


class Work:
    """Runs functions in threads; `most` may run or wait, each may take `seconds`.

    What is not done in time goes on until it looks at its deadline, and counts until then.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="request")
        self._lock = threading.Lock()
        self.busy = 0

    async def run(self, function: Callable[[], T]) -> T:
        """The result of `function`. Raises BusyError where too many are at work, TimeoutError at the time limit."""
        with self._lock:
            if self.busy >= self._most:
                raise BusyError
            self.busy += 1
        context = contextvars.copy_context()
        context.run(deadline.set, time.monotonic() + self._seconds)
        future: Future[T] = self._pool.submit(context.run, function)
        future.add_done_callback(self._done)
        async with asyncio.timeout(self._seconds):
            return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Start nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, _: Future) -> None:
        with self._lock:
            self.busy -= 1
