"""`clip-italian search`: search an index by text, by picture, or both."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

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
from clip_italian.errors import UsageError

with lazy_imports():
    from clip_italian.models import load
    from clip_italian.search import filters, sheet
    from clip_italian.search import index as indexes
    from clip_italian.search import query as searching


def search(
    index: Annotated[Path, typer.Argument(help="Index folder, from clip-italian index build.", metavar="IDX")],
    queries: Annotated[
        list[str] | None,
        typer.Argument(help="Text, or a picture file; each is a search of its own.", metavar="QUERY…"),
    ] = None,
    like: Annotated[
        list[Path] | None, typer.Option("--like", help="Picture that the results should also resemble.")
    ] = None,
    unlike: Annotated[
        list[str] | None, typer.Option("--not", help="Text or picture file that the results should not resemble.")
    ] = None,
    words: Words = None,
    no_words: NoWords = False,
    average: Annotated[bool, typer.Option("--average", help="Treat the queries as wordings of one search.")] = False,
    prompts: Annotated[
        list[str] | None, typer.Option("--prompt", help="Prompt with {} for the query. Repeat to average several.")
    ] = None,
    paper: Annotated[bool, typer.Option("--paper-queries", help="Search for the four queries of the paper.")] = False,
    k: Annotated[int, typer.Option("-k", help="Number of results.", min=1)] = 10,
    page: Annotated[int, typer.Option(min=1, help="Page of k results.")] = 1,
    folder: Annotated[str | None, typer.Option(help="Only pictures below this folder.")] = None,
    source: Annotated[str | None, typer.Option(help="Only pictures from this source.")] = None,
    since: Since = None,
    until: Until = None,
    near: Near = None,
    within: Within = None,
    keywords: Keywords = None,
    camera: Camera = None,
    where: Annotated[list[str] | None, typer.Option(help="Only rows with FIELD=TEXT, like license=CC0.")] = None,
    copies: Annotated[bool, typer.Option("--copies", help="Show copies of a picture as separate results.")] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with every vector, even if the index is large.")
    ] = False,
    model: Annotated[str | None, typer.Option("--model", help="Model folder. Default: the model of the index.")] = None,
    engine: Engine = "auto",
    language: Annotated[
        str, typer.Option(help="Language of the contact sheet and the paper's queries.")
    ] = languages.DEFAULT,
    html: Annotated[Path | None, typer.Option("--html", help="Write a contact sheet to this file.")] = None,
    open_sheet: Annotated[bool, typer.Option("--open", help="Open the contact sheet in the browser.")] = False,
    paths: Annotated[bool, typer.Option("--paths", help="Print paths only, for other programs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find the pictures that fit a text, a picture, or both; --not excludes what you do not want.

    Words of a text also count where they are in names, keywords, places and dates. --words alone looks only there.

    Example: clip-italian search runs/demo/index "un gatto che dorme" -k 5 --json

    Example: clip-italian search photos.idx --words "Sardegna 2019"
    """
    named = words_of(words, no_words)
    texts = (list(languages.get(language).paper_queries) if paper else []) + (queries or [])
    searches = _queries(texts, like or [], unlike or [], prompts or [], average, named)
    chosen = filter_of(folder, source, since, until, near, within, keywords or [], camera, where or [])
    opened = indexes.Index.open(index)
    encoder = None
    if any(one.has_looks for _, one in searches):
        notice_slowness(opened)
        encoder = load.load(model if model is not None else opened.manifest.model_name, engine=engine)
    results = [
        (
            name,
            searching.find(one, encoder, opened, k, skip=(page - 1) * k, where=chosen, group=not copies, exact=exact),
        )
        for name, one in searches
    ]

    def write(file: Path) -> None:
        sheet.write_sheet(file, results, language)

    with written_page(html, open_sheet, index / "last-search.html", "contact sheet", write):
        if as_json:
            found = [{"query": name, "hits": [as_data(hit) for hit in hits]} for name, hits in results]
            print(json.dumps({"index": str(index), "model": opened.manifest.model_name, "results": found}))
        else:
            print_hits(results, paths, chosen is not None and page == 1)


def _queries(
    words: Sequence[str], like: Sequence[Path], unlike: Sequence[str], prompts: Sequence[str], average: bool,
    named: str | None,
) -> list[tuple[str, "searching.Query"]]:  # fmt: skip
    """Searches with their names."""

    not_texts, not_pictures = searching.divide(unlike)
    _, examples = searching.divide(like)
    groups = [list(words)] if average or not words else [[one] for one in words]
    found = []
    for group in groups:
        texts, pictures = searching.divide(group)
        query = searching.Query(
            texts, (*pictures, *examples), not_texts, not_pictures, tuple(prompts) or ("{}",), named
        )
        name = ", ".join([*group, *(path.name for path in like), *([named] if named else [])]) + "".join(
            f" − {one}" for one in unlike
        )
        found.append((name, query))
    return found


def filter_of(
    folder: str | None = None, source: str | None = None, since: str | None = None, until: str | None = None,
    near: str | None = None, within: str | None = None, keywords: Sequence[str] = (), camera: str | None = None,
    where: Sequence[str] = (),
) -> "filters.Filter | None":  # fmt: skip
    """The filter that options ask for, None without any. Raises UsageError."""
    equal = []
    for one in where:
        name, sign, value = one.partition("=")
        if not sign:
            raise UsageError(f"--where {one}: give FIELD=TEXT, like license=CC0")
        equal.append((name, value))
    first = filters.days("--since", since)[0] if since is not None else None
    last = filters.days("--until", until)[1] if until is not None else None
    if within is not None and near is None:
        raise UsageError("--within: give a place too, like --near Milano")
    circle = filters.near("--near", near, within or filters.WITHIN) if near is not None else None
    found = filters.Filter(folder, source, first, last, tuple(equal), camera, tuple(keywords), circle)
    return None if found == filters.Filter() else found


def as_data(hit: "indexes.Hit") -> dict[str, Any]:
    """A hit as JSON."""
    data = {"rank": hit.rank, "id": hit.id, "path": str(hit.path), "score": round(hit.score, 4), "row": hit.row}
    probability = None if hit.probability is None else round(hit.probability, 4)
    taken = hit.taken.isoformat() if hit.taken else None
    return data | {
        "probability": probability, "copies": [copy.id for copy in hit.copies], "taken": taken,
        "latitude": hit.latitude, "longitude": hit.longitude,
    }  # fmt: skip


def print_hits(results: Sequence[tuple[str, Sequence["indexes.Hit"]]], paths: bool, filtered: bool) -> None:
    """Print the hits of named searches, one line each; `paths`: their paths only."""
    for number, (name, hits) in enumerate(results):
        if paths:
            for hit in hits:
                print(hit.path)
            continue
        if len(results) > 1:
            print(("\n" if number else "") + name)
        # No table: a long path must stay on one line, to be copied.
        for hit in hits:
            probability = "" if hit.probability is None else f"  {hit.probability:4.0%}"
            more = f"  (+{len(hit.copies)} copies)" if hit.copies else ""
            inside = f"  {hit.id}" if hit.part else ""
            print(f"{hit.rank:>4}  {hit.score:.3f}{probability}  {hit.path}{inside}{more}")
        if not hits:
            console.notice(f"no pictures found{'; the filters leave none' if filtered else ''}")
