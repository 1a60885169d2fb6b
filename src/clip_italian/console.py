"""What people see while they wait: progress bars and notices on stderr, tables on stdout."""

import codecs
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

errors = Console(stderr=True, highlight=False, soft_wrap=True)
output = Console(highlight=False, soft_wrap=True)


_ESCAPED_OR_REPLACED = "clip_italian.escaped-or-replaced"


def print_anything() -> None:
    """Let stdout and stderr print every text: what their encoding lacks becomes `?`, instead of an exception.

    Bytes of file names that Python carries as surrogates come out as those bytes where the locale has Python do so
    (`surrogateescape`). Other error handlers, which somebody chose by PYTHONIOENCODING, stay.
    """
    codecs.register_error(_ESCAPED_OR_REPLACED, _escaped_or_replaced)
    lenient = {"strict": "replace", "surrogateescape": _ESCAPED_OR_REPLACED}
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in lenient:
            stream.reconfigure(errors=lenient[stream.errors])


def _escaped_or_replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handle one character: the byte that a surrogate stands for, or `?`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    code = ord(error.object[error.start])
    return bytes([code - 0xDC00]) if 0xDC80 <= code <= 0xDCFF else "?", error.start + 1


def notice(line: str) -> None:
    """A line on stderr."""
    errors.print(line, markup=False)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr while the block runs; yields a function that takes how many more are done.

    Off where stderr is no terminal.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=errors, disable=not errors.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)
