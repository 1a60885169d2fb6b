"""SIGTERM and Ctrl-C, for what runs until one of them."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ended_by_signal(end: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Context in which both call `end`; after it, Ctrl-C raises KeyboardInterrupt, and SIGTERM nothing.

    `end` may raise KeyboardInterrupt to break off what runs in the context.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        end(number, frame)

    with _handled(handle):
        try:
            yield
        except KeyboardInterrupt:
            if not received:
                raise
    if signal.SIGINT in received:
        raise KeyboardInterrupt


@contextmanager
def deferred() -> Iterator[None]:
    """Context after which SIGTERM and Ctrl-C that came in it are handled; to be entered in the main thread.

    Blocking them would not do: another thread then gets them, and Python handles them in this one all the same.
    """
    received: list[int] = []
    with _handled(lambda number, _: received.append(number)):
        yield
    for came in dict.fromkeys(received):
        signal.raise_signal(came)


@contextmanager
def _handled(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Context in which `handle` gets both signals; after it, those who got them before."""
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
