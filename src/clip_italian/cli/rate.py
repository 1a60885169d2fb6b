"""`clip-italian rate`: human ratings of translations."""

import json
import re
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Commands, Json, PairsArgument
from clip_italian.errors import UsageError

with lazy_imports():
    from clip_italian.translate import rating, sheet


app = Commands(help="Have people rate a sample of translations.", no_args_is_help=True)


class Delimiter(StrEnum):
    """Column delimiters. Excel expects semicolons in most of Europe, and commas elsewhere."""

    semicolon = "semicolon"
    comma = "comma"
    tab = "tab"


@app.callback()
def rate() -> None:
    """Have people rate a sample of translations."""


@app.command()
def sample(
    pairs: PairsArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the raters' files.")],
    raters: Annotated[str, typer.Option(metavar="NAME,NAME…", help="Names of the raters; each gets a file.")],
    size: Annotated[int, typer.Option(min=1, help="Number of translations to sample.")] = 100,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    delimiter: Annotated[Delimiter, typer.Option(help="Column delimiter that the raters' Excel expects.")] = (
        Delimiter.semicolon
    ),
    as_json: Json = False,
) -> None:
    """Sample translations into one CSV file per rater, each next to its original.

    Example: clip-italian rate sample cc-it.parquet -o rating --raters anna,bruno
    """
    names = _names(raters)

    drawn = rating.draw(pairs, size, seed)
    if len(drawn) < size:
        console.notice(f"{pairs}: only {len(drawn)} different translations in it")
    paths = rating.write_sheets(drawn, names, output, sheet.DELIMITERS[delimiter])
    if as_json:
        files = {"files": [str(path) for path in paths], "scale": str(output / rating.EXPLANATION)}
        print(json.dumps(files | {"translations": len(drawn), "seed": seed}))
        return
    for path in paths:
        console.output.print(f"{path}: {len(drawn)} translations to rate", markup=False)
    console.output.print(f"{output / rating.EXPLANATION}: what 1 to 4 mean, for the raters", markup=False)


@app.command()
def score(
    files: Annotated[list[Path], typer.Argument(help="Completed files of the raters.")],
    as_json: Json = False,
) -> None:
    """Mean, distribution and agreement (Gwet's AC1 and AC2) of the raters' files. Ratings may be missing.

    Example: clip-italian rate score rating/anna.csv rating/bruno.csv
    """
    found = rating.score(files)
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        _show(found)


def _names(raters: str) -> list[str]:
    names = [name.strip() for name in raters.split(",")]
    for name in names:
        if not re.fullmatch(r"\w[\w. -]*", name):
            raise UsageError(f"--raters {raters}: {name!r} cannot name a file; separate names by commas")
    if len({name.casefold() for name in names}) < len(names):
        raise UsageError(f"--raters {raters}: a name is there twice")
    return names


def _show(found: "rating.Score") -> None:
    grades = list(found.together.distribution)
    from rich.table import Table

    table = Table("rater", title=f"{found.items} translations, 1 = meaning lost … 4 = perfect", title_justify="left")
    for column in ("mean", *map(str, grades), "missing"):
        table.add_column(column, justify="right")
    for name, ratings in found.raters.items():
        table.add_row(name, *_cells(ratings))
    if len(found.raters) > 1:
        table.add_section()
        table.add_row("all", *_cells(found.together))
    console.output.print(table)
    if not found.agreement:
        console.notice("no agreement: it needs a translation that two raters rated")
        return
    shared = next(iter(found.agreement.values())).shared
    agreement = Table(
        "weights", title=f"agreement, {shared} translations with two ratings or more", title_justify="left"
    )
    for column in ("coefficient", "standard error", "95 % confidence", "percent agreement"):
        agreement.add_column(column, justify="right")
    for weighting, figures in found.agreement.items():
        name = "AC1" if weighting == "identity" else "AC2"
        known = figures.standard_error is not None
        agreement.add_row(
            str(weighting),
            f"{name} {figures.coefficient:.3f}",
            f"{figures.standard_error:.3f}" if known else "–",
            f"{figures.low:.3f} to {figures.high:.3f}" if known else "–",
            f"{figures.observed:.1%}",
        )
    console.output.print(agreement)


def _cells(ratings: "rating.Ratings") -> list[str]:
    mean = "–" if ratings.mean is None else f"{ratings.mean:.2f}"
    return [mean, *(str(number) for number in ratings.distribution.values()), str(ratings.missing)]
