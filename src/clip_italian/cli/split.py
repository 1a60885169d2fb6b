"""`clip-italian split`: train, validation and test sets that share no picture."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import CORES, Json, PairsArgument, PairsOutput, Ray, Workers, show_summary
from clip_italian.errors import UsageError

with lazy_imports():
    from clip_italian.models_torch import copy_features
    from clip_italian.split import splitting


def split(
    pairs: PairsArgument,
    output: PairsOutput,
    val: Annotated[float, typer.Option(min=0, max=1, help="Fraction for validation.")] = 0.05,
    test: Annotated[float, typer.Option(min=0, max=1, help="Fraction for testing.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 1,
    redraw: Annotated[bool, typer.Option("--redraw", help="Ignore published splits.")] = False,
    copies: Annotated[
        bool, typer.Option("--copies/--no-copies", help="Also find cropped, mirrored and brightened copies.")
    ] = True,
    workers: Workers = CORES,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Split pairs so that no picture, and no copy of one, is in two sets. Published splits are kept.

    Two rows show the same picture if they share id, URL or file, or look nearly the same. With --copies, local
    pictures are also compared for crops, mirror images, and changes of brightness, contrast and colour: the packaged
    vision tower proposes candidates, and an alignment confirms them. The fractions refer to pictures without a
    published split. Copies of published test pictures are rejected.

    Example: clip-italian split clean.parquet -o train.parquet --val 0.02 --test 0
    """
    if val + test > 1:
        raise UsageError(f"--val {val:g} and --test {test:g}: their sum exceeds 1, so nothing is left for training")

    encoder = copy_encoder if copies else None
    summary = splitting.split(pairs, output, splitting.Plan(val, test, seed, redraw), workers, ray, encoder)
    if as_json:
        print(json.dumps({"output": str(output)} | asdict(summary)))
        return
    show_summary(summary, output, as_json)
    parts = ", ".join(f"{name} {count:,}" for name, count in summary.splits.items())
    typer.echo(f"{parts}; {summary.pictures:,} different pictures")


def copy_encoder() -> "copy_features.CopyFeatures | None":
    """The packaged vision tower, or None, with a notice, where it is not available."""

    return copy_features.CopyFeatures.load_or_warn()
