"""`clip-italian evaluate sets`: published test sets as pairs files."""

import json
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console, languages
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Json, Language
from clip_italian.errors import UsageError

with lazy_imports():
    from clip_italian.evaluate import sets as published


def sets(
    name: Annotated[str | None, typer.Argument(help="Test set. Default: list all.", show_default=False)] = None,
    folder: Annotated[Path | None, typer.Argument(help="Folder of its files.", show_default=False)] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Pairs file to write (.parquet or .jsonl).")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="For ImageNet: JSON list of 1,000 labels. Default: the language's.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Accept a set with missing pictures.")] = False,
    language: Language = languages.DEFAULT,
    as_json: Json = False,
) -> None:
    """Published test sets: list them, show what to download, check a folder, and write it as a pairs file.

    Nothing is downloaded. The pairs file is for evaluate retrieval or, for ImageNet, evaluate zeroshot.

    Example: clip-italian evaluate sets mscoco-it-dev-unvalidated ~/coco -o coco-dev.jsonl
    """
    known = published.known(languages.get(language), published.legacy_labels(labels) if labels else None)
    if name is None:
        from rich.table import Table

        table = Table("name", "what it is", "for")
        for one in known.values():
            table.add_row(one.name, one.title, one.task)
        console.output.print(table)
        return
    if name not in known:
        raise UsageError(f"{name!r}: no such test set; there is {', '.join(known)}")
    chosen = known[name]
    if folder is None:
        console.output.print(f"{chosen.title}\nlicence: {chosen.licence}", markup=False)
        for step in chosen.steps:
            console.output.print(f"- {step}", markup=False)
        console.output.print(f"then: clip-italian evaluate sets {name} FOLDER -o {name}.jsonl", markup=False)
        return
    if output is None:
        raise UsageError("give -o FILE.jsonl, the pairs file to write")
    contents = published.base.load(chosen, folder, partial)
    published.base.write(contents.pairs, output)
    for note in contents.notes:
        console.notice(note)
    captions = sum(len(pair.captions) for pair in contents.pairs)
    figures = {
        "output": str(output),
        "pictures": len(contents.pairs),
        "captions": captions,
        "notes": list(contents.notes),
    }
    if as_json:
        print(json.dumps(figures, ensure_ascii=False))
    else:
        console.output.print(f"{output}: {len(contents.pairs):,} pictures, {captions:,} captions", markup=False)
