"""The command `clip-italian`, with one module per command group."""

import atexit
import errno
import os
import sys
import threading
import warnings
from contextlib import suppress
from copy import copy
from importlib import import_module
from typing import Annotated

import typer

from clip_italian import __version__, console
from clip_italian.cli import (
    ablate,
    card,
    classify,
    clean,
    collect,
    demo,
    evaluate,
    export,
    fetch,
    find,
    import_,
    index,
    locate,
    merge,
    push,
    rate,
    search,
    serve,
    split,
    stats,
    train,
    translate,
)
from clip_italian.cli.options import Commands
from clip_italian.errors import UsageError, UserError

# Read by the libraries on import, and inherited by child processes.
_QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",  # without network it logs every retry, more than ten lines
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # also "Loading weights" of transformers
}

# Extras of pyproject.toml by the modules that they install.
_EXTRAS = {
    **dict.fromkeys(
        ("kornia", "matplotlib", "msgpack", "pytorch_optimizer", "safetensors", "scipy", "torch", "transformers"),
        "train",
    ),
    **dict.fromkeys(
        (
            "deepl",
            "duckdb",
            "ftfy",
            "protego",
            "py3langid",
            "requests",
            "resvg_py",
            "selectolax",
            "simplemma",
        ),
        "data",
    ),
    **dict.fromkeys(("fastapi", "multipart", "prometheus_client", "starlette", "uvicorn"), "serve"),
    **dict.fromkeys(("onnx", "onnxscript"), "export"),
    "watchfiles": "watch",
}

app = Commands(
    name="clip-italian",
    help="Train, measure and use a CLIP for Italian or another language. Start with: clip-italian demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
)
# What people with pictures need first, then the order of a typical workflow.
app.command(name="find")(find.find)
app.command(name="demo")(demo.demo)
app.add_typer(collect.app, name="collect")
app.command(name="translate")(translate.translate)
app.add_typer(rate.app, name="rate")
app.command(name="clean")(clean.clean)
app.command(name="fetch")(fetch.fetch)
app.command(name="split")(split.split)
app.command(name="stats")(stats.stats)
app.command(name="train")(train.train)
app.command(name="merge")(merge.merge)
app.command(name="import")(import_.import_)
app.command(name="export")(export.export)
app.command(name="ablate")(ablate.ablate)
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(index.app, name="index")
app.command(name="search")(search.search)
app.command(name="serve")(serve.serve)
app.command(name="classify")(classify.classify)
app.command(name="locate")(locate.locate)
app.command(name="card")(card.card)
app.command(name="push")(push.push)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"clip-italian {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Declare the global options for --help; `main` reads --debug from the arguments."""


def _silence_libraries() -> None:
    """Make transformers and huggingface_hub log only errors and show no progress bars."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    # A library that is already imported has read its variables.
    if sys.modules.get("transformers") is not None:
        transformers_logging = import_module("transformers.utils.logging")
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
    if sys.modules.get("huggingface_hub") is not None:
        import_module("huggingface_hub.utils.logging").set_verbosity_error()


def _in_cache(path: str) -> bool:
    from clip_italian.files import cache  # only after an error, since it takes time

    return bool(path) and cache.holds(path)


def _asked_for() -> typer.Typer:
    """The commands with only the one that is asked for, where there is such a one: Typer takes 0.03 s for all."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    one = copy(app)
    one.registered_commands = [command for command in app.registered_commands if command.name == name]
    one.registered_groups = [group for group in app.registered_groups if group.name == name]
    return one if one.registered_commands or one.registered_groups else app


def program() -> None:
    """Run the command line as a program: as `main`, then leave without taking apart what the process holds.

    Freeing a tokenizer and a model takes longer than a search.
    """
    code: object = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(OSError):  # a closed pipe
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def main() -> None:
    """Run the command line. Exit codes: 0 success, 1 error (one line on stderr), 2 wrong usage, 130 interrupted."""
    console.replace_unencodable()
    _silence_libraries()
    warnings.simplefilter("ignore", FutureWarning)
    try:
        _asked_for()()
    except UserError as error:
        if "--debug" in sys.argv:
            raise
        print(f"clip-italian: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None or "--debug" in sys.argv:
            raise
        print(f"clip-italian: {error.name} is missing; pip install 'clip-italian[{extra}]'", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if "--debug" in sys.argv:
            raise
        path = error.filename or next(reversed(getattr(error, "__notes__", [])), "")  # `staged` adds the output
        prefix = f"{path}: " if path else ""
        # Errors of Arrow have the number only in their text.
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or f"[errno {errno.ENOSPC}]" in str(error)
        denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        advice = "choose another path, or change its permissions" if denied else "--debug shows the traceback"
        if denied and _in_cache(str(path)):
            advice = "set CLIP_ITALIAN_CACHE to a folder that you can write"
        advice = "free disk space and run the same command again to resume" if full else advice
        what = os.strerror(errno.ENOSPC) if full else error.strerror or error
        print(f"clip-italian: {prefix}{what}; {advice}", file=sys.stderr)
        sys.exit(1)
