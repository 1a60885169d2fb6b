"""Wait for what another thread or process does, and never for ever."""

import subprocess
import time
from collections.abc import Callable


def until(condition: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = 60) -> None:
    """Return once `condition()` holds; fail after `seconds`, or when `process`, which is to bring it about, ends."""
    limit = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "it ended before what was waited for"
        assert time.monotonic() < limit, f"not within {seconds} s"
        time.sleep(0.005)
