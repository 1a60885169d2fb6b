"""Waits for other threads and processes, with a timeout."""

import subprocess
import time
from collections.abc import Callable


def until(condition: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = 60) -> None:
    """Wait until `condition()` is true; fail after `seconds`, or if `process` ends before."""
    limit = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "it ended before what was waited for"
        assert time.monotonic() < limit, f"not within {seconds} s"
        time.sleep(0.005)
