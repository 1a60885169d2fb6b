"""`clip-italian evaluate`: metrics of a model on a pairs file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from clip_italian import console, languages

app = typer.Typer(help="Measure a model on a pairs file.", no_args_is_help=True)

ModelOption = Annotated[str, typer.Option("--model", help="Model folder, Hub id, or mini.")]
PairsOption = Annotated[Path, typer.Option("--pairs", help="Pairs file (.parquet or .jsonl).")]
SplitOption = Annotated[str | None, typer.Option("--split", help="Split to use; by default test if named, else all.")]
OverlapOption = Annotated[
    bool, typer.Option("--allow-overlap", help="Measure also where the model was trained on some of the pictures.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("retrieval")
def retrieval(
    model: ModelOption,
    pairs: PairsOption,
    split: SplitOption = None,
    allow_overlap: OverlapOption = False,
    as_json: JsonOption = False,
) -> None:
    """MRR@1/5/10, R@1/5/10 and median rank, text to image and image to text.

    Refused where the model was trained on some of the pictures, or on copies of them.

    Example: clip-italian evaluate retrieval --model runs/demo/model --pairs photos.jsonl --json
    """
    from clip_italian.evaluate import measure
    from clip_italian.model.dual_encoder import DualEncoder

    chosen = measure.choose(pairs, split)
    encoder = DualEncoder.load(model)
    overlap = measure.overlap(encoder, chosen, pairs, allow_overlap)
    data = measure.embed(encoder, chosen, pairs)
    figures = measure.retrieval_figures(encoder, data) | {"overlap": overlap}
    if as_json:
        print(json.dumps(figures))
        return
    _warn(overlap)
    chance = measure.retrieval_chance(data)
    for direction in ("text_to_image", "image_to_text"):
        show(direction.replace("_", " "), {"model": figures[direction], "chance": chance[direction]})
    console.output.print(f"ties: {figures['ties']}")


@app.command("zeroshot")
def zeroshot(
    model: ModelOption,
    pairs: PairsOption,
    prompt: Annotated[str | None, typer.Option(help="Prompt with one {}; by default the language's first.")] = None,
    language: Annotated[str, typer.Option(help="Language of the default prompt.")] = "it",
    split: SplitOption = None,
    allow_overlap: OverlapOption = False,
    as_json: JsonOption = False,
) -> None:
    """Accuracy@1/5/10 of each picture against all captions of the set, put into a prompt.

    Refused where the model was trained on some of the pictures, or on copies of them.

    Example: clip-italian evaluate zeroshot --model runs/demo/model --pairs book/pairs.parquet
    """
    from clip_italian.errors import UsageError
    from clip_italian.evaluate import measure
    from clip_italian.model.dual_encoder import DualEncoder

    template = prompt if prompt is not None else languages.get(language).prompts[0]
    if template.count("{}") != 1:
        raise UsageError(f"--prompt {template!r}: it needs exactly one {{}} for the label")
    chosen = measure.choose(pairs, split)
    encoder = DualEncoder.load(model)
    overlap = measure.overlap(encoder, chosen, pairs, allow_overlap)
    data = measure.embed(encoder, chosen, pairs)
    figures = measure.zeroshot_figures(encoder, data, template)
    if as_json:
        print(json.dumps(figures | {"overlap": overlap}))
        return
    _warn(overlap)
    show(f"zero-shot, “{template}”", {"model": figures, "chance": measure.zeroshot_chance(data)})


def show(title: str, columns: Mapping[str, Mapping[str, Any]]) -> None:
    """A table on stdout: a row for each figure, a column for each model."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    first = next(iter(columns.values()))
    for key in first:
        if key != "prompt":
            table.add_row(key, *(_cell(column.get(key)) for column in columns.values()))
    console.output.print(table)


def _warn(overlap: Mapping[str, Any]) -> None:
    if overlap.get("pictures"):
        console.output.print(f"careful: the model was trained on {overlap['pictures']:,} of these pictures")


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) and value < 1 else f"{value:g}"
