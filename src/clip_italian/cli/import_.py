"""`clip-italian import`: checkpoints of the original project."""

import json
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Json

with lazy_imports():
    from clip_italian.models_torch import flax_checkpoint


def import_(
    checkpoint: Annotated[Path, typer.Argument(help="Folder with flax_model.msgpack and config.json.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Model folder to write.")],
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="Folder or Hub id, for a checkpoint without a tokenizer.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert a Flax HybridCLIP checkpoint, the format of the original CLIP-Italian, into a model folder.

    Example: clip-italian import flax -o models/clip-italian --tokenizer dbmdz/bert-base-italian-xxl-uncased
    """
    encoder = flax_checkpoint.load(checkpoint, tokenizer)
    encoder.save(output)
    if as_json:
        print(json.dumps({"model": str(output), "weights_hash": encoder.weights_hash, "dim": encoder.dim}))
        return
    console.output.print(f"{output}: {encoder.parameters:,} parameters from {checkpoint}", markup=False)
