"""`clip-italian merge`: interpolate between two models."""

import json
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Json

with lazy_imports():
    from clip_italian.models_torch import dual_encoder
    from clip_italian.models_torch import merge as merging


def merge(
    start: Annotated[str, typer.Argument(help="Model before fine-tuning: folder, Hub id, or mini.")],
    end: Annotated[str, typer.Argument(help="Model after fine-tuning, of the same architecture.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Model folder to write.")],
    weight: Annotated[
        float, typer.Option(min=0, max=1, help="Weight of the second model: 0 is the first, 1 the second.")
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """Interpolate between the weights of two models with the same towers and tokenizer.

    Example: clip-italian merge openai/clip-vit-base-patch32 runs/photos/model -o runs/between --weight 0.5
    """
    merged = merging.merge(
        dual_encoder.DualEncoder.load(start), dual_encoder.DualEncoder.load(end), weight, (start, end)
    )
    merged.save(output)
    if as_json:
        print(json.dumps({"model": str(output), "weight": weight, "weights_hash": merged.weights_hash}))
        return
    console.output.print(f"{output}: {1 - weight:g} of {start}, {weight:g} of {end}", markup=False)
