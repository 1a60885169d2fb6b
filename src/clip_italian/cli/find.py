"""`clip-italian find`: search a folder of pictures, indexing what is new first."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console, languages
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import (
    Camera,
    Engine,
    Keywords,
    Near,
    NoWords,
    Since,
    Until,
    Within,
    Words,
    notice_slowness,
    words_of,
    written_page,
)
from clip_italian.cli.search import as_data, filter_of, print_hits
from clip_italian.errors import UserError

with lazy_imports():
    from clip_italian.models import graphs, load
    from clip_italian.pipeline import parts
    from clip_italian.search import embed, sheet, update
    from clip_italian.search import index as indexes
    from clip_italian.search import pictures as searched
    from clip_italian.search import query as searching

_FEW = 50  # pictures that are indexed without a word
_LONG = 600  # seconds of work that `find` asks about
_PAUSE = 0.5  # seconds between two looks at whether another run has ended
_PREVIEW_WIDTH = 40  # columns of the terminal


def find(
    query: Annotated[str, typer.Argument(help="Words, or a picture file.", metavar="QUERY")],
    folder: Annotated[Path, typer.Argument(help="Folder of pictures.", metavar="FOLDER")] = Path(),
    k: Annotated[int, typer.Option("-k", help="Number of results.", min=1)] = 10,
    words: Words = None,
    no_words: NoWords = False,
    since: Since = None,
    until: Until = None,
    near: Near = None,
    within: Within = None,
    keywords: Keywords = None,
    camera: Camera = None,
    model: Annotated[str, typer.Option("--model", help="Model folder, Hub id, or mini.")] = "mini",
    engine: Engine = "auto",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before more than ten minutes of work.")] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show the pictures in the terminal (kitty, iTerm2, sixel).")
    ] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a contact sheet to this file.")] = None,
    open_sheet: Annotated[bool, typer.Option("--open", help="Open the contact sheet in the browser.")] = False,
    language: Annotated[str, typer.Option(help="Language of the contact sheet.")] = languages.DEFAULT,
    paths: Annotated[bool, typer.Option("--paths", help="Print paths only, for other programs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find pictures in a folder, by default the current one. What is new in it is indexed first.

    The index is kept in the cache. Ctrl-C keeps what is done: the same command resumes.

    Example: clip-italian find "due cani sulla neve" ~/Pictures
    """
    place = folder.expanduser().resolve()
    if not place.is_dir():
        raise UserError(f"{place}: {'a file' if place.exists() else 'no such folder'}; give a folder of pictures")
    named = words_of(words, no_words)
    chosen = filter_of(since=since, until=until, near=near, within=within, keywords=keywords or [], camera=camera)
    model = load.lasting_name(model)
    kept = searched.cached_index(place, model)
    kept.parent.mkdir(parents=True, exist_ok=True)
    encoder = load.load(model, engine=engine)
    if model == graphs.MINI:
        console.notice("model: mini, for research only, like the photos it was trained on")
    change = _indexed(kept, place, update.Model(encoder, model), yes)
    if change.left_out:
        console.notice(f"{len(change.left_out):,} pictures cannot be read; the first: {change.left_out[0].id}")
    for one in change.kept:
        console.notice(f"{one.folder}: all {one.pictures:,} pictures of this folder are gone; the index keeps them")
    texts, examples = searching.divide([query])
    opened = indexes.Index.open(kept)
    notice_slowness(opened)
    hits = searching.find(searching.Query(texts, examples, words=named), encoder, opened, k, where=chosen)

    def write(file: Path) -> None:
        sheet.write_sheet(file, [(query, hits)], language)

    with written_page(html, open_sheet, kept / "last-search.html", "contact sheet", write):
        if as_json:
            print(json.dumps({"folder": str(place), "query": query, "hits": [as_data(hit) for hit in hits]}))
        elif preview:
            _show(hits)
        else:
            print_hits([(query, hits)], paths, filtered=chosen is not None)


def _indexed(kept: Path, place: Path, model: "update.Model", yes: bool) -> "update.Change":
    """Bring the index of a folder up to date; while another run does that, wait for it."""
    waits = False
    while True:
        try:
            return update.build(kept, [place], model, before_embedding=lambda todo: _announce(todo, place, yes))
        except parts.BusyError:
            if not waits:
                console.notice(f"{place}: another run is indexing it; waiting for it")
            waits = True
            time.sleep(_PAUSE)


def _announce(todo: "embed.Todo", place: Path, yes: bool) -> None:
    """Say how many pictures will be indexed and how long that takes. Raises UserError where the answer is no."""
    if todo.count <= _FEW:
        return
    seconds = todo.estimate()
    length = f"{seconds / 60:.0f} minutes" if seconds >= 100 else f"{max(seconds, 1):.0f} seconds"
    console.notice(f"{place}: indexing {todo.count:,} pictures, about {length}; Ctrl-C keeps what is done")
    if seconds <= _LONG or yes:
        return
    if not sys.stdin.isatty():
        raise UserError(f"{place}: indexing takes about {length}; give --yes to do it")
    if not typer.confirm("Start?", default=True, err=True):
        raise UserError(f"{place}: not indexed; give a smaller folder, or --yes")


def _show(hits: "list[indexes.Hit]") -> None:
    """Show pictures in the terminal, each above its path. Raises UserError where the library is missing."""
    try:
        from textual_image.renderable import Image  # asks the terminal what it can
    except ImportError as error:
        raise UserError("--preview: textual-image is missing; pip install 'clip-italian[preview]'") from error
    for hit in hits:
        console.output.print(Image(hit.open(at_least=800), width=_PREVIEW_WIDTH, height="auto"))
        print(f"{hit.rank:>4}  {hit.score:.3f}  {hit.path}")
