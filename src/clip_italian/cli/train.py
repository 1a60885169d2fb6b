"""`clip-italian train`: one training run from a recipe."""

import json
from typing import Annotated, Any

import typer

from clip_italian import console
from clip_italian.cli.lazy import lazy_imports

with lazy_imports():
    from clip_italian import config
    from clip_italian.train import loop, parallel
    from clip_italian.train import run as training


def train(
    recipe: Annotated[str, typer.Argument(help="Recipe file, or the name of one in the package (mini, distil).")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings as key=value.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the unfinished run in OUTPUT.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Train a model from a recipe; it is written to OUTPUT/model.

    Example: clip-italian train recipes/mini.toml data.pairs=photos.jsonl output=runs/photos

    Example: clip-italian train distil data.pairs=translated.parquet model.teacher=mini output=runs/distil
    """
    settings = config.load_recipe(recipe, overrides or [])

    try:
        run = training.train(settings, show_record, "resume" if resume else "refuse")
    except loop.StoppedError as stopped:
        console.notice(f"{settings.output}: {stopped}")
        parallel.end_process()
        return
    folder = run.folder / training.MODEL_FOLDER
    if as_json:
        print(
            json.dumps(
                {
                    "model": str(folder),
                    "validation": run.encoder.info["validation"],
                    "cost": run.spent and run.spent.to_json(),
                }
            )
        )
    else:
        if run.spent is not None:
            console.notice(f"cost: {run.spent}")
        console.output.print(f"{folder}: trained; measure it with clip-italian evaluate retrieval --model {folder}")
    parallel.end_process()


def show_record(record: dict[str, Any]) -> None:
    """A line on stderr for each evaluation."""
    console.notice(
        f"{record['stage']:<12} epoch {record['epoch']:>3}  validation loss {record['validation_loss']:.3f}"
        f"  MRR@10 {record['MRR@10']:.3f}"
        + (f"  training loss {record['train_loss']:.3f}" if "train_loss" in record else "")
    )
