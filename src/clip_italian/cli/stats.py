"""`clip-italian stats`: a data card."""

import json
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Json

with lazy_imports():
    from clip_italian import pairs as pairs_files
    from clip_italian.clean import language_id
    from clip_italian.stats import card, gather


def stats(
    pairs: Annotated[list[Path], typer.Argument(help="Pairs files (.parquet or .jsonl).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the card and its figures.")],
    rejects: Annotated[
        list[Path] | None,
        typer.Option(help="Rejects file. Repeatable. Default: all next to the pairs files."),
    ] = None,
    title: Annotated[str, typer.Option(help="Heading of the card.")] = "Image–caption pairs",
    seed: Annotated[int, typer.Option(help="Random seed of the samples.")] = 0,
    as_json: Json = False,
) -> None:
    """Write a data card: README.md with figures on sources, rejects, lengths, sizes, languages and licences.

    Example: clip-italian stats train.parquet -o card --title "Our pairs"
    """
    with console.progress("stats", sum(map(pairs_files.count, pairs))) as advance:
        found = rejects or gather.beside(pairs)
        facts = gather.gather(pairs, found, seed, language_id.identifier("py3langid"), advance)
    written = card.write(facts, title, output)
    if as_json:
        counted = {name: value for name, value in vars(facts).items() if name not in ("pictures", "sizes")}
        print(json.dumps({"output": [str(path) for path in written]} | counted))
        return
    console.output.print(
        f"{written[0]}: {facts.images.total():,} images, {facts.captions.total():,} captions", markup=False
    )
