"""Console output: progress bars and notices on stderr, results on stdout."""

import codecs
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    errors: Console
    output: Console

_SURROGATE_ESCAPE_OR_REPLACE = "clip_italian.surrogateescape-or-replace"


def __getattr__(name: str) -> "Console":
    """Make the consoles `errors` and `output` when they are first used: rich takes a twentieth of a second to load."""
    if name not in ("errors", "output"):
        raise AttributeError(name)
    from rich.console import Console

    made = Console(stderr=name == "errors", highlight=False, soft_wrap=True)
    globals()[name] = made
    return made


def replace_unencodable() -> None:
    """Make stdout and stderr print `?` for characters that their encoding lacks, instead of raising an exception.

    With the error handler `surrogateescape`, bytes of file names are still printed unchanged. Other error handlers, set
    by PYTHONIOENCODING, are kept.
    """
    codecs.register_error(_SURROGATE_ESCAPE_OR_REPLACE, _surrogate_escape_or_replace)
    lenient = {"strict": "replace", "surrogateescape": _SURROGATE_ESCAPE_OR_REPLACE}
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in lenient:
            stream.reconfigure(errors=lenient[stream.errors])


def _surrogate_escape_or_replace(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode one character as the byte that a surrogate escapes, or as `?`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    code = ord(error.object[error.start])
    return bytes([code - 0xDC00]) if 0xDC80 <= code <= 0xDCFF else "?", error.start + 1


def notice(line: str) -> None:
    """Print a line to stderr."""
    if (console := globals().get("errors")) is not None:  # a progress bar may be below
        console.print(line, markup=False)
    else:
        print(line, file=sys.stderr, flush=True)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr; yields a function that advances it by a number of items.

    Disabled if stderr is not a terminal.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = __getattr__("errors")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)
