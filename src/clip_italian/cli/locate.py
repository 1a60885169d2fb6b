"""`clip-italian locate`: find the part of a picture that fits a text."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from clip_italian import console, languages
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Device, Engine, Json, Language
from clip_italian.errors import UsageError

with lazy_imports():
    from clip_italian.files import atomic
    from clip_italian.models import load
    from clip_italian.pictures import decoding
    from clip_italian.search import locate as by_model

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def locate(
    picture: Annotated[Path, typer.Argument(help="Picture to search.")],
    query: Annotated[str, typer.Argument(help="Text to look for.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Picture to write, with heat map and box. Default: NAME-located.jpg."),
    ] = None,
    model: Annotated[str, typer.Option("--model", help="Model folder, Hub id, or mini.")] = "mini",
    language: Language = languages.DEFAULT,
    device: Device = "auto",
    engine: Engine = "auto",
    as_json: Json = False,
) -> None:
    """Find the part of a picture that fits a text best: a heat map, and a box around its peak.

    There is always a best part. Compare its strength with that of other texts to see how well it fits.
    --json adds the heat map, as rows of numbers from 0 to 1 over the whole picture.

    Example: clip-italian locate foto.jpg "il gatto" -o gatto.jpg
    """
    if not query.strip():
        raise UsageError("the query is empty; give a text to look for")
    output = output or Path(f"{picture.stem}-located.jpg")
    if output.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{output}: the output is a picture; choose a name that ends in {', '.join(_SUFFIXES)}")
    if output.exists() and output.samefile(picture):
        raise UsageError(f"{output}: the output would replace the picture itself; choose another name")
    opened = decoding.open_picture(picture)
    encoder = load.load(model, device, engine)
    found = by_model.locate(encoder, opened, query, languages.get(language))
    with atomic.staged(output) as temporary:
        by_model.overlay(opened, found).save(temporary, quality=90)
    if as_json:
        facts: dict[str, Any] = {"picture": str(picture), "query": query, "model": model, "overlay": str(output)}
        facts |= {"size": found.size, "box": found.box, "point": found.point, "strength": round(found.strength, 4)}
        heat = [[round(value, 3) for value in row] for row in found.heat.tolist()]
        print(json.dumps(facts | {"heat": heat}))
        return
    left, top, right, bottom = found.box
    width, height = found.size
    place = f"{left},{top} to {right},{bottom} of {width} x {height} pixels"
    console.output.print(f"{query}: {place}, strength {found.strength:.2f}", markup=False)
    console.output.print(f"overlay: {output}", markup=False)
