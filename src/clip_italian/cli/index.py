"""`clip-italian index`: make pictures searchable."""

import json
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console

app = typer.Typer(help="Make pictures searchable.", no_args_is_help=True)


@app.command("build")
def build(
    folder: Annotated[Path, typer.Argument(help="Folder with pictures, searched with its subfolders.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Index folder to write.")],
    model: Annotated[str, typer.Option("--model", help="Model folder, Hub id, or mini.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Embed the pictures of a folder and write an index.

    Example: clip-italian index build ~/Pictures -o photos.idx --model runs/demo/model
    """
    from clip_italian.images import find_pictures
    from clip_italian.model.dual_encoder import DualEncoder
    from clip_italian.search import index

    pictures = find_pictures(folder)
    encoder = DualEncoder.load(model)
    with console.progress("pictures", len(pictures)) as advance:
        errors = index.build(pictures, folder, output, encoder, model, advance)
    done = len(pictures) - len(errors)
    if as_json:
        left_out = [str(error) for error in errors]
        print(json.dumps({"index": str(output), "pictures": done, "left_out": left_out}))
        return
    for error in errors:
        console.notice(f"left out: {error}")
    console.output.print(f"{output}: {done} pictures, {len(errors)} left out", markup=False)


@app.command("info")
def info(
    folder: Annotated[Path, typer.Argument(help="Index folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what an index holds and which model made it.

    Example: clip-italian index info photos.idx
    """
    from clip_italian.search.index import Index

    details = Index.open(folder).info
    if as_json:
        print(json.dumps(details))
        return
    for key, value in details.items():
        console.output.print(f"{key}: {value}", markup=False)
