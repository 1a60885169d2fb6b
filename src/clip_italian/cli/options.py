"""Options and output shared by commands."""

import functools
import json
import os
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from clip_italian import console, languages
from clip_italian.cli.lazy import lazy_imports
from clip_italian.errors import UsageError, UserError
from clip_italian.files.names import as_stored

with lazy_imports():
    from clip_italian.pipeline import rejects, stage
    from clip_italian.search import index as indexes

F = TypeVar("F", bound=Callable[..., Any])


@contextmanager
def written_page(
    file: Path | None, opened: bool, default: Path, title: str, write: Callable[[Path], object]
) -> Iterator[None]:
    """Write a page to `file`, or to `default` if it is only to be opened, and open it after the body has printed."""
    if opened and file is None:
        file = default
    if file is not None:
        write(file)
        console.notice(f"{title}: {file}")
    yield
    if opened and file is not None:
        webbrowser.open(file.resolve().as_uri())


class Commands(typer.Typer):
    """Commands whose path arguments are resolved to the Unicode form that the disk stores."""

    def command(self, *arguments: Any, **options: Any) -> Callable[[F], F]:
        """As Typer's."""
        register = super().command(*arguments, **options)

        def add(function: F) -> F:
            @functools.wraps(function)
            def call(**given: Any) -> Any:
                return function(**{name: _as_stored(value) for name, value in given.items()})

            register(call)
            return function

        return add


def _as_stored(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_stored(one) for one in value]
    return as_stored(value) if isinstance(value, Path) else value


def pairs_output(path: Path) -> Path:
    """Check the path of a pairs file to write. Raises UsageError for a folder or another suffix."""
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; give a file name, like {path / 'pairs.parquet'}")
    if path.suffix not in (".parquet", ".jsonl"):
        raise UsageError(f"{path}: a pairs file ends in .parquet or .jsonl; choose another name")
    return path


PairsArgument = Annotated[Path, typer.Argument(help="Pairs file (.parquet or .jsonl).")]
PairsOutput = Annotated[
    Path, typer.Option("-o", "--output", help="Pairs file to write (.parquet or .jsonl).", callback=pairs_output)
]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Number of worker processes.")]
Ray = Annotated[str | None, typer.Option("--ray", metavar="ADDRESS", help="Run on this Ray cluster instead.")]
Language = Annotated[str, typer.Option("--language", help="Language of the captions.")]
Model = typer.Option(
    "--model",
    help="Model folder (or exported one), Hub id, mini, mclip, sentence-transformers:TEXT,IMAGES, "
    "or open_clip:NAME/WEIGHTS.",
)
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Engine = Annotated[
    Literal["auto", "onnx", "torch"],
    typer.Option("--engine", help="onnx (CPU) or torch. auto: torch if there is a GPU, else onnx."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude", metavar="GLOB", help="Exclude files and folders by name, or by path below the folder. Repeatable."
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="DATE",
        help="Only taken at that time or later: a year, month (06/2024), day or minute (2024-06-01 18:30).",
    ),
]  # fmt: skip
Until = Annotated[
    str | None,
    typer.Option(
        "--until", metavar="DATE", help="Only taken at that time or earlier, including all of that day, month or year."
    ),
]
Near = Annotated[
    str | None,
    typer.Option("--near", metavar="PLACE", help="Only taken near this town, or latitude and longitude (45.46,9.19)."),
]
Within = Annotated[
    str | None, typer.Option("--within", metavar="DISTANCE", help="Radius of --near: 20km (the default), 500m.")
]
Keywords = Annotated[
    list[str] | None,
    typer.Option("--keyword", metavar="WORD", help="Only with this keyword in the file. Repeat to require several."),
]
Words = Annotated[
    str | None,
    typer.Option(
        "--words", metavar="WORDS",
        help="Words in names, titles, keywords, captions, places, dates and cameras. Default: those of the query.",
    ),
]  # fmt: skip
NoWords = Annotated[bool, typer.Option("--no-words", help="Compare looks only.")]
Camera = Annotated[
    str | None, typer.Option("--camera", metavar="NAME", help="Only from a camera with this in its name.")
]
HIDDEN_HELP = "Include hidden files, thumbnails and recycle bins."
CORES = os.cpu_count() or 1


def notice_slowness(index: "indexes.Index") -> None:
    """Say on stderr why searches of an index take long, where they do."""
    if line := index.slowness:
        console.notice(line)


def words_of(words: str | None, no_words: bool) -> str | None:
    """The words to look for: None for those of the query, "" for none. Raises UsageError for contradicting options."""
    if no_words and words is not None:
        raise UsageError("--no-words: contradicts --words; give one of them")
    return "" if no_words else words


def chosen_prompts(given: list[str] | None, file: Path | None, language: languages.Language) -> list[str]:
    """The given prompts and those in a file, one per line; or the language's first.

    Raises UserError for an unreadable file, and UsageError for a prompt without exactly one {}.
    """
    prompts = list(given or [])
    if file is not None:
        try:
            prompts += [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{file}: cannot read the prompts ({error}); give a text file with one prompt per line"
            ) from error
    prompts = prompts or [language.prompts[0]]
    for template in prompts:
        if template.count("{}") != 1:
            raise UsageError(f"--prompt {template!r}: needs exactly one {{}} for the label")
    return prompts


def show_summary(summary: "stage.Summary", output: Path, as_json: bool) -> None:
    """Print how many rows a stage kept, and why it rejected the others."""
    if as_json:
        figures = {"output": str(output), "before": summary.before, "after": summary.after}
        print(json.dumps(figures | {"rejected": summary.rejected, "rejects": str(rejects.rejects_path(output))}))
        return
    console.output.print(f"{output}: {summary.after:,} of {summary.before:,} rows", markup=False)
    if summary.rejected:
        from rich.table import Table

        table = Table("rejected because", title=f"see {rejects.rejects_path(output)}", title_justify="left")
        table.add_column("count", justify="right")
        for reason, count in summary.rejected.items():
            table.add_row(reason, f"{count:,}")
        console.output.print(table)
