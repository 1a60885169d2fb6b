"""Work done ahead of the reader, in its order: by other processes (torch's DataLoader), or by threads of this one.

Decoding and resizing let go of Python's lock, so that threads do well; processes pay on machines with many cores.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

J = TypeVar("J")
R = TypeVar("R")

_MOST_THREADS = 8
_AHEAD = 4  # jobs a worker may be ahead of the reader


class _Jobs(Dataset[R], Generic[J, R]):
    def __init__(self, work: Callable[[J], R], jobs: Sequence[J]) -> None:
        self._work, self._jobs = work, jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, number: int) -> R:
        return self._work(self._jobs[number])


def in_order(work: Callable[[J], R], jobs: Sequence[J], workers: int) -> Iterator[R]:
    """`work(job)` of every job, in order, by so many processes; 0: by threads.

    For processes, `work` and what it gives must be picklable (tensors go through shared memory). An exception
    in a process comes as one of the same type with its traceback as text: let `work` return what it expects.
    """
    if not jobs:
        return
    if workers:
        # A generator of its own: an epoch must not change what the training draws from torch's.
        yield from DataLoader(
            _Jobs(work, jobs), batch_size=None, num_workers=min(workers, len(jobs)), prefetch_factor=_AHEAD,
            collate_fn=_as_it_is, generator=torch.Generator(),
        )  # fmt: skip
        return
    threads = min(_MOST_THREADS, max(2, os.cpu_count() or 1))
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(work, job))
                if len(waiting) > threads * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _as_it_is(value: R) -> R:
    return value
