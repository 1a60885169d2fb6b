"""`clip-italian collect SOURCE`: from a source to a pairs file."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console, languages

app = typer.Typer(help="Collect image-caption pairs from a source into a pairs file.", no_args_is_help=True)


@app.callback()
def sources() -> None:
    """Collect image-caption pairs from a source into a pairs file."""


@app.command("picture-book")
def picture_book(
    output: Annotated[Path, typer.Option("-o", "--output", help="Pairs file to write (.parquet or .jsonl).")],
    language: Annotated[str, typer.Option(help="Language of the captions.")] = "it",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Emoji drawings and Tux Paint stamps with Italian captions: about 2,800 pictures.

    Example: clip-italian collect picture-book -o book/pairs.parquet
    """
    from clip_italian.sources import picture_book as source

    pairs = source.collect(languages.get(language), output, console.notice)
    splits = Counter(pair.split for pair in pairs)
    counts = {"pairs": len(pairs), **{f"{name}": splits[name] for name in ("train", "val", "test")}}
    if as_json:
        print(json.dumps(counts | {"output": str(output)}))
    else:
        console.output.print(f"{output}: {counts['pairs']} pairs, of them {splits['test']} for testing")
