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

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except KeyboardInterrupt:
        if not received:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if signal.SIGINT in received:
        raise KeyboardInterrupt
