"""`clip-italian search`: pictures of an index that fit Italian words."""

import json
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console


def search(
    index: Annotated[Path, typer.Argument(help="Index folder, from clip-italian index build.")],
    query: Annotated[str, typer.Argument(help="What to look for, in words.")],
    k: Annotated[int, typer.Option("-k", help="How many pictures.", min=1)] = 10,
    model: Annotated[str | None, typer.Option("--model", help="Model folder; by default the index's own.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a contact sheet to this file.")] = None,
    open_sheet: Annotated[bool, typer.Option("--open", help="Show the contact sheet in the browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list of rank, id, path, score.")] = False,
) -> None:
    """Find the pictures that fit the words best.

    Example: clip-italian search runs/demo/index "un gatto che dorme" -k 5 --json
    """
    from clip_italian.errors import UsageError
    from clip_italian.model.dual_encoder import DualEncoder
    from clip_italian.search.contact_sheet import write_sheet
    from clip_italian.search.index import Index

    if not query.strip():
        raise UsageError("the query is empty; say what to look for, for example «un gatto che dorme»")
    opened = Index.open(index)
    encoder = DualEncoder.load(model if model is not None else opened.info["model_name"])
    opened.check_model(encoder)
    hits = opened.search(encoder.encode_text([query])[0], k)
    if open_sheet and html is None:
        html = index / "last-search.html"
    if html is not None:
        write_sheet(html, [(query, hits)])
        console.notice(f"contact sheet: {html}")
    if as_json:
        print(json.dumps([{"rank": h.rank, "id": h.id, "path": str(h.path), "score": round(h.score, 4)} for h in hits]))
    else:
        # No table: a long path must stay on one line, to be copied.
        for hit in hits:
            print(f"{hit.rank:>4}  {hit.score:.3f}  {hit.path}")
    if open_sheet and html is not None:
        webbrowser.open(html.resolve().as_uri())
