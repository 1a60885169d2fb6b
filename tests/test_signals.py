"""Signals that come while a process is started."""

import os
import signal
import threading

import pytest

from clip_italian.signals import deferred


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal: a shell lets the programs that it starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("thread", ["the main thread", "another thread"])
def test_a_signal_is_handled_after_the_context(number, thread):
    """A thread that does not block it gets it, though the main thread does."""
    done, ended = [], threading.Event()
    other = threading.Thread(target=ended.wait)
    other.start()
    before = signal.signal(number, lambda *_: done.append("handled"))
    try:
        with deferred():
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, [number] if thread == "another thread" else [])
            os.kill(os.getpid(), number)
            for _ in range(100_000):  # time in which Python would handle it
                pass
            done.append("started")
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        assert done == ["started", "handled"]
    finally:
        signal.signal(number, before)
        ended.set()
        other.join()


def test_ctrl_c_breaks_off_after_the_context_and_handlers_are_as_before(interruptible):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    reached = False
    with pytest.raises(KeyboardInterrupt), deferred():
        os.kill(os.getpid(), signal.SIGINT)
        reached = True
    assert reached
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
