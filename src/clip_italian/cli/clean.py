"""`clip-italian clean`: remove captions and pictures that are no use for training."""

from typing import Annotated

import typer

from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import CORES, Json, PairsArgument, PairsOutput, Ray, Workers, show_summary

with lazy_imports():
    from clip_italian.clean import cleaning
    from clip_italian.clean import recipe as recipes
    from clip_italian.cli import split


def clean(
    pairs: PairsArgument,
    output: PairsOutput,
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings of the recipe as key=value.")] = None,
    recipe: Annotated[str, typer.Option(help="Recipe file, or the name of one in the package.")] = "paper",
    workers: Workers = CORES,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Filter captions and pictures by a recipe. PAIRS.rejects.jsonl lists what is removed, with reasons.

    duplicates.copies=true also removes cropped, mirrored and brightened copies.

    Example: clip-italian clean wit.parquet names.share=0.9 -o clean.parquet --recipe paper
    """
    settings = recipes.load_clean_recipe(recipe, overrides or [])

    show_summary(cleaning.clean(pairs, output, settings, workers, ray, split.copy_encoder), output, as_json)
