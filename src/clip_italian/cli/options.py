"""Options and output that several commands share."""

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from clip_italian import console, languages
from clip_italian.cli.lazy import lazy_imports
from clip_italian.errors import UsageError, UserError
from clip_italian.files.names import as_stored

with lazy_imports():
    from clip_italian.pipeline import rejects, stage

F = TypeVar("F", bound=Callable[..., Any])


class Commands(typer.Typer):
    """Commands that get their paths as the disk stores them, in whatever Unicode form they are typed."""

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
    """The path of a pairs file to write; raises UsageError where it can be none."""
    if path.is_dir():
        raise UsageError(f"{path}: a folder; give the name of a file to write, like {path / 'pairs.parquet'}")
    if path.suffix not in (".parquet", ".jsonl"):
        raise UsageError(f"{path}: a pairs file ends in .parquet or .jsonl; choose such a name")
    return path


PairsArgument = Annotated[Path, typer.Argument(help="Pairs file (.parquet or .jsonl).")]
PairsOutput = Annotated[
    Path, typer.Option("-o", "--output", help="Pairs file to write (.parquet or .jsonl).", callback=pairs_output)
]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Worker processes on this machine.")]
Ray = Annotated[str | None, typer.Option("--ray", metavar="ADDRESS", help="Work on this Ray cluster instead.")]
Language = Annotated[str, typer.Option("--language", help="Language of the captions.")]
Model = typer.Option(
    "--model",
    help="Model folder (or exported one), Hub id, mini, mclip, sentence-transformers:TEXT,IMAGES, "
    "or open_clip:NAME/WEIGHTS.",
)
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude", metavar="GLOB", help="Leave out files and folders of this name, or path below the folder; repeat."
    ),
]
HIDDEN_HELP = "Also hidden files, and thumbnails and recycle bins of systems."
CORES = os.cpu_count() or 1


def chosen_prompts(given: list[str] | None, file: Path | None, language: languages.Language) -> list[str]:
    """The prompts given and those of a file (one a line), or the language's first.

    Raises UserError for a file that cannot be read, and UsageError for a prompt without its one {}.
    """
    prompts = list(given or [])
    if file is not None:
        try:
            prompts += [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{file}: cannot read the prompts ({error}); give a text file, one prompt a line"
            ) from error
    prompts = prompts or [language.prompts[0]]
    for template in prompts:
        if template.count("{}") != 1:
            raise UsageError(f"--prompt {template!r}: it needs exactly one {{}} for the label")
    return prompts


def show_summary(summary: "stage.Summary", output: Path, as_json: bool) -> None:
    """What a stage kept and why it rejected the rest, on stdout."""
    if as_json:
        figures = {"output": str(output), "before": summary.before, "after": summary.after}
        print(json.dumps(figures | {"rejected": summary.rejected, "rejects": str(rejects.rejects_path(output))}))
        return
    console.output.print(f"{output}: {summary.after:,} of {summary.before:,} rows", markup=False)
    if summary.rejected:
        table = Table("rejected because", title=f"see {rejects.rejects_path(output)}", title_justify="left")
        table.add_column("count", justify="right")
        for reason, count in summary.rejected.items():
            table.add_row(reason, f"{count:,}")
        console.output.print(table)
