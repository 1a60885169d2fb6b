"""Runs commands in processes forked from one that has imported the package, so that they start in milliseconds.

Starting an interpreter for each costs 3 s of imports. `multiprocessing`'s fork server imports `tests.preloaded` once
and does nothing else: what it forks has no threads and no state of the test's.
"""

import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preloaded"])
_LIMIT = 300  # seconds that a test waits for the end of a process; none should need a fifth of it


class Forked:
    """A process that calls `function(*arguments)`, with `subprocess.Popen`'s names; `communicate` also closes it.

    `environment` is added to that of the test. The process leads a group of its own.
    """

    def __init__(
        self, function: Callable[..., object], *arguments: Any, environment: Mapping[str, str] | None = None
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name, name) for name in ("out", "err")]
        given = {**os.environ, **(environment or {})}
        self._process = _CONTEXT.Process(target=_call, args=(function, arguments, given, Path.cwd(), self._files))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    @property
    def errors(self) -> str:
        """Return the standard error so far."""
        return self._files[1].read_text() if self._files[1].exists() else ""

    @property
    def output(self) -> str:
        """Return the standard output so far."""
        return self._files[0].read_text() if self._files[0].exists() else ""

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; as with `subprocess.Popen`, none to a process that has ended, and was reaped, by itself."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> int:
        self._process.join(_LIMIT)
        if self._process.exitcode is None:
            os.kill(self.pid, signal.SIGABRT)  # faulthandler then writes where each thread is
            self._process.join()
            raise AssertionError(f"still running after {_LIMIT} s:\n{self.errors}")
        return self._process.exitcode

    def communicate(self) -> tuple[str, str]:
        """Wait for the end and return standard output and error."""
        self.wait()
        out, err = (file.read_text() if file.exists() else "" for file in self._files)
        self._folder.cleanup()
        return out, err


def command(*arguments: object, environment: Mapping[str, str] | None = None) -> Forked:
    """Start `clip-italian` with arguments."""
    return Forked(_main, [str(one) for one in arguments], environment=environment)


def _main(arguments: Sequence[str]) -> None:
    from clip_italian import cli

    sys.argv = ["clip-italian", *arguments]
    cli.main()


def _call(
    function: Callable[..., object], arguments: Sequence[Any], environment: Mapping[str, str], folder: Path,
    files: Sequence[Path],
) -> None:  # fmt: skip
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files, start=1):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    faulthandler.enable(sys.__stderr__)
    try:
        function(*arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
