"""`serve --watch`: a process beside the service that keeps its index up to date.

In a thread of the service, updates would hold the interpreter and the cores that searches need. This process gets what
the service leaves, by its low priority. The service sees its updates as those of any other process.
"""

import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Self

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.models.load import Engine, load
from clip_italian.pipeline.parts import end_with_parent
from clip_italian.search.update import Change, Model
from clip_italian.search.watch import follow, until_signal
from clip_italian.signals import deferred

_NICE = 19  # the lowest priority: what searches leave
_STOPPING = 10  # seconds for an update to notice that it is cancelled


class Watcher:
    """The process, which runs inside the `with` block and ends with its parent, however that ends."""

    def __init__(self, index: Path, model: str, engine: Engine) -> None:
        context = multiprocessing.get_context("spawn")  # threads of the model do not survive a fork
        self._checked = context.RawValue("d", 0.0)  # without a lock, which a killed process may hold
        self._process = context.Process(
            target=_watch, args=(index, model, engine, self._checked), name="clip-italian-watch", daemon=True
        )

    def __enter__(self) -> Self:
        # Ctrl-C reaches all processes of a terminal. The service alone answers it, and then ends this one.
        resource_tracker.ensure_running()  # `start` would run it, which unblocks signals
        with deferred():  # or it might end before it has sent the new process what that waits for
            before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # inherited until `_watch` ignores it
            try:
                self._process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join(_STOPPING)
        self._process.kill()
        self._process.join()

    @property
    def checked(self) -> datetime | None:
        """When the index was last compared with its folders, None before the first time."""
        seconds = float(self._checked.value)
        return datetime.fromtimestamp(seconds, UTC) if seconds else None

    @property
    def is_running(self) -> bool:
        """False before the process has started, and when it has ended."""
        return self._process.pid is not None and not wait([self._process.sentinel], 0)


def _watch(index: Path, model: str, engine: Engine, checked: Any) -> None:
    """Update the index until SIGTERM; `checked` gets the time of each update, in seconds since 1970."""
    with suppress(OSError):
        os.nice(_NICE)  # before any library starts threads, which inherit it
    end_with_parent()
    before: Change | None = None
    try:
        with until_signal() as stop:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            for change in follow(index, Model(load(model, engine=engine), model), stop):
                checked.value = datetime.now(UTC).timestamp()
                if change.is_news(before):
                    console.notice(f"{index}: {change}")
                before = change
    except (UserError, OSError) as error:
        console.notice(f"{error}; the index is served as it is, without --watch")
        sys.exit(1)
