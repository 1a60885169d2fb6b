"""`clip-italian card`: a model card, written from the model's own files."""

import json
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Json

with lazy_imports():
    from clip_italian.release import card as cards
    from clip_italian.release import facts


def card(
    model: Annotated[str, typer.Argument(metavar="RUN_OR_MODEL", help="Run folder, model folder, or mini.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write. Default: README.md in the model folder.")
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option(help="Result file of evaluate, or a folder of them. Repeatable. RUN/results is always read."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model: its repository id, like you/model.")] = None,
    licence: Annotated[
        str | None,
        typer.Option("--license", help="Licence of the weights, by the Hub's identifier. Default: the recipe's."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a model card in the Hub's format, and failures.jpg with mistakes on drawings. Reports what is missing.

    Example: clip-italian card runs/photos --name you/photos
    """
    model_facts = cards.with_licence(facts.gather(model, results or [], name), licence)
    target = output or (model_facts.folder and model_facts.folder / cards.CARD)
    if target is not None:
        cards.publish(model_facts, target)
    for what in model_facts.missing:
        console.notice(f"missing: {what}")
    if as_json:
        print(
            json.dumps(
                {"card": target and str(target), "missing": model_facts.missing, "results": len(model_facts.results)}
            )
        )
    elif target is None:
        print(cards.card(model_facts), end="")
    else:
        console.output.print(f"{target}: {len(model_facts.results)} results", markup=False)
