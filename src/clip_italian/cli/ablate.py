"""`clip-italian ablate`: the effect of each edit to a recipe."""

import json
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console
from clip_italian.cli.lazy import lazy_imports
from clip_italian.errors import UsageError

with lazy_imports():
    from clip_italian import config, languages
    from clip_italian.demo import run as demo
    from clip_italian.train import ablate as job


BOOK = "picture-book"


def ablate(
    recipe: Annotated[str, typer.Argument(help="Recipe file, or the name of one in the package.")] = "ablation",
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings as key=value.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="NAME[=PAIRS]", help="Data set: picture-book or NAME=PAIRS. Repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds, starting at the recipe's.")] = 3,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="VARIANT", help="Run this variant only. Repeatable.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Page to write; its plot goes next to it.")] = Path(
        "runs/ablation/ablation.md"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON object.")] = False,
) -> None:
    """Train a recipe with one edit at a time and compare: optimiser, frozen stage, scale, augmentation, loss.

    Runs are written below the recipe's output. Finished runs are kept: after an interruption, the same command resumes.

    Example: clip-italian ablate --data picture-book --data photos=photos.jsonl -o ablation.md
    """
    if any(override.startswith("data.pairs=") for override in overrides or []):
        raise UsageError("data.pairs: name the pairs files with --data NAME=PAIRS")
    settings = config.load_recipe(recipe, [*(overrides or []), "data.pairs=given-by-data"])

    chosen = job.choose_variants(only or [])
    sets = [_data_set(name, settings.language) for name in data or [BOOK]]
    numbers = range(settings.seed, settings.seed + seeds)
    results = job.run_all(job.plan(settings, chosen, sets, numbers, settings.output), settings.output)
    command = shlex.join(["clip-italian", *sys.argv[1:]])
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    written = job.write_page(output, settings, chosen, sets, results, command, machine)
    if as_json:
        print(json.dumps({"page": str(written[0]), "plot": str(written[1]), "results": results}))
        return
    for path in written:
        console.output.print(f"{path}: written", markup=False)


def _data_set(text: str, language: str) -> "job.DataSet":
    name, equals, pairs = text.partition("=")
    if text == BOOK:
        return job.DataSet(BOOK, demo.book(languages.get(language)))
    if not equals or not name or "/" in name:
        raise UsageError(f"--data {text!r}: expected NAME=PAIRS (for example photos=photos.jsonl) or {BOOK}")
    if not Path(pairs).is_file():
        raise UsageError(f"--data {text}: no such file: {pairs}")
    return job.DataSet(name, Path(pairs))
