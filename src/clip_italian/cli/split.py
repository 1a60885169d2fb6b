"""`clip-italian split`: train, validation and test parts that share no picture."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import CORES, Json, PairsArgument, PairsOutput, Ray, Workers, show_summary
from clip_italian.errors import UsageError

with lazy_imports():
    from clip_italian.models_torch import copy_features
    from clip_italian.split import run


def split(
    pairs: PairsArgument,
    output: PairsOutput,
    val: Annotated[float, typer.Option(min=0, max=1, help="Share for validation.")] = 0.05,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share for testing.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Another seed is another draw.")] = 1,
    redraw: Annotated[bool, typer.Option("--redraw", help="Draw published splits anew too.")] = False,
    copies: Annotated[
        bool, typer.Option("--copies/--no-copies", help="Find cropped, mirrored and brightened copies too.")
    ] = True,
    workers: Workers = CORES,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Divide pairs so that no picture, and no copy of it, stands on two sides; published splits stay.

    One picture is what has the same id, address or file, or nearly the same look; among local pictures also what is
    cropped, mirrored, brighter, of more contrast or grey (--copies; the packaged vision tower proposes, an alignment
    confirms). The shares are of
    the pictures without a published split; copies of published test pictures go to the rejects.

    Example: clip-italian split clean.parquet -o train.parquet --val 0.02 --test 0
    """
    if val + test > 1:
        raise UsageError(f"--val {val:g} and --test {test:g}: together more than 1, nothing is left to train on")

    encoder = copy_encoder if copies else None
    summary = run.split(pairs, output, run.Plan(val, test, seed, redraw), workers, ray, encoder)
    if as_json:
        print(json.dumps({"output": str(output)} | asdict(summary)))
        return
    show_summary(summary, output, as_json)
    parts = ", ".join(f"{name} {count:,}" for name, count in summary.splits.items())
    typer.echo(f"{parts}; {summary.pictures:,} different pictures")


def copy_encoder() -> "copy_features.CopyFeatures | None":
    """The packaged vision tower; None, with a line that says so, where it cannot be had."""

    return copy_features.CopyFeatures.load_or_say()
