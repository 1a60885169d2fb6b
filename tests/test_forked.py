"""`Forked` behaves as `subprocess.Popen` does."""

import os
import signal
import sys
import time

from tests.forked import Forked
from tests.wait import until


def greet(name):
    print("hello", name)
    print("nothing to complain about", file=sys.stderr)
    sys.exit(3)


def wait_long():
    time.sleep(600)


def test_output_and_exit_code():
    process = Forked(greet, "world")
    out, err = process.communicate()
    assert (process.returncode, out, err) == (3, "hello world\n", "nothing to complain about\n")


def test_a_killed_process_has_the_signal_as_exit_code():
    process = Forked(wait_long)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_a_signal_to_a_process_that_ended_by_itself_is_ignored():
    """One of several processes of a run ends when another is killed, perhaps before its own signal comes."""
    process = Forked(greet, "world")
    until(lambda: not is_there(process.pid))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == 3


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
