"""`clip-italian index`: build, update and check an index of pictures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from clip_italian import console, languages
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import (
    HIDDEN_HELP,
    Commands,
    Device,
    Engine,
    Exclude,
    Json,
    PairsArgument,
    Ray,
    written_page,
)

with lazy_imports():
    from clip_italian import errors
    from clip_italian.models import load
    from clip_italian.pictures import walk
    from clip_italian.pipeline import rejects
    from clip_italian.search import calibrate as calibration
    from clip_italian.search import duplicates as doubles
    from clip_italian.search import exchange, sheet, storage, update
    from clip_italian.search import index as indexes
    from clip_italian.search import inputs as index_inputs
    from clip_italian.search import verify as checks
    from clip_italian.search import watch as watching


Folder = Annotated[Path, typer.Argument(help="Index folder.", metavar="IDX")]
Inputs = Annotated[
    list[Path],
    typer.Argument(help="Folders of pictures, pairs files, shards (.tar) or embeddings.", metavar="INPUT…"),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Remove pictures even if their whole folder is gone (its disk may be unmounted)."),
]
Pictures = Annotated[Path | None, typer.Option(help="Base folder of the relative paths in embeddings.")]
Hidden = Annotated[
    bool | None, typer.Option("--hidden/--no-hidden", help=f"{HIDDEN_HELP} Default: the index's setting.")
]
_SHOWN = 20

app = Commands(help="Build, update and check an index of pictures.", no_args_is_help=True)


@app.command("build")
def build(
    inputs: Inputs,
    output: Annotated[Path, typer.Option("-o", "--output", help="Index folder to write.")],
    model: Annotated[str, typer.Option("--model", help="Model folder, Hub id, or mini.")],
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with every vector, at any size of the index.")
    ] = False,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="Store vectors and rows in milvus://HOST:PORT/COLLECTION.")
    ] = None,
    pictures: Pictures = None,
    force: Force = False,
    exclude: Exclude = None,
    language: Annotated[
        str | None,
        typer.Option(
            help="Language of names, keywords and captions, for searching by words. Default: the index's, "
            f"at first {languages.DEFAULT}."
        ),
    ] = None,
    hidden: Hidden = None,
    device: Device = "auto",
    engine: Engine = "auto",
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Build an index of the inputs, or bring it up to date: only new and changed pictures are embedded.

    A killed run leaves the index unchanged; run the same command again to resume. The index remembers --exclude and
    --hidden. --exclude replaces earlier patterns; --exclude "" clears them.

    Example: clip-italian index build ~/Pictures -o photos.idx --model runs/demo/model
    """
    if language is not None:
        languages.get(language)
    _check(inputs)
    patterns = _patterns(exclude)
    loaded = _model(model, device, engine)
    change = update.build(
        output, inputs, loaded, exact, store, ray, pictures, force=force, exclude=patterns, hidden=hidden,
        language=language,
    )  # fmt: skip
    _show(change, output, as_json, patterns or [])


@app.command("add")
def add(
    index: Folder,
    inputs: Inputs,
    model: Annotated[str | None, typer.Option("--model", help="Model folder. Default: the model of the index.")] = None,
    pictures: Pictures = None,
    exclude: Exclude = None,
    hidden: Hidden = None,
    device: Device = "auto",
    engine: Engine = "auto",
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Add pictures, and embed changed ones again.

    The index remembers --hidden and --exclude, which extends earlier patterns.

    Example: clip-italian index add photos.idx ~/Pictures/2026
    """
    _check(inputs)
    name = model or storage.read_manifest(index).model_name
    patterns = _patterns(exclude) or []
    change = update.add(index, inputs, _model(name, device, engine), ray, pictures, exclude=patterns, hidden=hidden)
    _show(change, index, as_json, patterns)


@app.command("watch")
def watch(
    index: Folder,
    model: Annotated[str | None, typer.Option("--model", help="Model folder. Default: the model of the index.")] = None,
    every: Annotated[
        float, typer.Option(min=0.1, metavar="MINUTES", help="Minutes between two looks at everything.")
    ] = 10,
    device: Device = "auto",
    engine: Engine = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per update.")] = False,
) -> None:
    """Keep an index up to date with its folders until Ctrl-C or SIGTERM.

    Updates start two seconds after the last change. Pictures of a disk that is not mounted stay in the index.

    Example: clip-italian index watch photos.idx
    """
    with watching.until_signal() as stop:
        manifest = watching.manifest_to_follow(index)
        loaded = _model(model or manifest.model_name, device, engine)
        console.notice(f"{index}: watching {', '.join(manifest.inputs)}; Ctrl-C ends it")
        before: update.Change | None = None
        for change in watching.follow(index, loaded, stop, watching.Pace(full=60 * every)):
            if change.is_news(before):
                if as_json:
                    _print_json(change, index)
                else:
                    known = set(before.left_out) if before else set()
                    _print_left_out([one for one in change.left_out if one not in known], index)
                    console.output.print(f"{index}: {change}", markup=False)
            before = change


@app.command("remove")
def remove(
    index: Folder,
    what: Annotated[
        list[str] | None, typer.Argument(help="Ids, paths, folders or patterns (*.png).", metavar="WHAT…")
    ] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Remove pictures whose file is gone.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Remove pictures from an index. Files are not touched.

    Example: clip-italian index remove photos.idx 2019/holiday "*.gif"
    """
    if not what and not missing:
        raise errors.UsageError("say what to remove: ids, paths, folders, patterns or --missing")
    _show(update.remove(index, what or [], missing, force), index, as_json)


@app.command("info")
def info(index: Folder, as_json: Json = False) -> None:
    """Show the contents of an index and the model that made it.

    Example: clip-italian index info photos.idx
    """
    details = indexes.Index.open(index).info | {"bytes": update.size(index), "waiting": update.waiting(index)}
    if as_json:
        print(json.dumps(details))
        return
    for key, value in details.items():
        console.output.print(f"{key}: {', '.join(value) if isinstance(value, list) else value}", markup=False)


@app.command("verify")
def verify(index: Folder, as_json: Json = False) -> None:
    """Check the integrity of an index; exit with 1 if it is damaged.

    Example: clip-italian index verify photos.idx
    """
    problems = checks.verify(index)
    missing = checks.missing(indexes.Index.open(index)) if not problems else 0
    if as_json:
        print(json.dumps({"index": str(index), "problems": problems, "missing_files": missing}))
    else:
        for problem in problems:
            console.output.print(problem, markup=False)
        if missing:
            console.notice(f"{missing:,} pictures have lost their file; see clip-italian index remove --missing")
        if not problems:
            console.output.print(f"{index}: intact", markup=False)
    if problems:
        raise typer.Exit(1)


@app.command("duplicates")
def duplicates(
    index: Folder,
    kind: Annotated[Literal["copies", "bursts", "all"], typer.Option(help="What to list.")] = "all",
    cosine: Annotated[
        float, typer.Option(min=0, max=1, help="Minimum cosine of two shots of a burst; the scale is the model's.")
    ] = 0.9,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with thumbnails to this file.")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    language: Annotated[str, typer.Option(help="Language of the page.")] = languages.DEFAULT,
    paths: Annotated[
        bool, typer.Option("--paths", help="Print only the paths of the pictures that are not the best.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List copies of a picture, and bursts: similar shots taken within ten seconds of each other. Nothing is deleted.

    Copies have the same bytes, or the same look at any size and compression. The best of a group comes first: most
    pixels, then the largest file, the oldest, the shortest path. --paths leaves out pictures inside archives.

    Example: clip-italian index duplicates photos.idx --kind copies --html duplicates.html --open
    """
    languages.get(language)
    groups = [one for one in doubles.find(index, cosine) if kind in (one.kind, "all")]

    def write(file: Path) -> None:
        sheet.write_duplicates(file, groups, language)

    with written_page(html, open_page, index / "duplicates.html", "page", write):
        if as_json:
            print(json.dumps({"index": str(index), "groups": [_group_data(one) for one in groups]}))
        elif paths:
            for file in dict.fromkeys(one.hit.file for group in groups for one in group.others):
                print(file)
        else:
            _print_groups(groups)


@app.command("compact")
def compact(
    index: Folder,
    exact: Annotated[
        bool | None, typer.Option("--exact/--lists", help="From now on, compare with every vector, or use lists.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rewrite an index as one segment without removed rows: smaller and faster.

    Example: clip-italian index compact photos.idx
    """
    _show(update.compact(index, exact), index, as_json)


@app.command("calibrate")
def calibrate(
    index: Folder,
    pairs: PairsArgument,
    model: Annotated[str | None, typer.Option("--model", help="Model folder. Default: the model of the index.")] = None,
    engine: Engine = "auto",
    as_json: Json = False,
) -> None:
    """Fit a score-to-probability calibration from captions of pictures in the index; searches then show it.

    Example: clip-italian index calibrate photos.idx captions.jsonl
    """
    found = calibration.calibrate(
        index, pairs, load.load(model or storage.read_manifest(index).model_name, engine=engine)
    )
    if as_json:
        print(json.dumps({"index": str(index)} | found.model_dump()))
    else:
        text = f"{index}: calibrated on {found.captions:,} captions, Brier score {found.brier:.3f}"
        console.output.print(text, markup=False)


@app.command("export")
def export(
    index: Folder,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder in clip-retrieval's layout, or .parquet file.")
    ],
    as_json: Json = False,
) -> None:
    """Export embeddings and rows for other programs; `index build` reads them back.

    Example: clip-italian index export photos.idx -o embeddings
    """
    count = exchange.export(indexes.Index.open(index), output)
    if as_json:
        print(json.dumps({"output": str(output), "pictures": count}))
    else:
        console.output.print(f"{output}: {count:,} pictures", markup=False)


def _check(inputs: list[Path]) -> None:
    """Check the inputs before a model is loaded."""

    for path in inputs:
        index_inputs.kind(path)


def _patterns(given: list[str] | None) -> list[str] | None:
    """The patterns of --exclude, checked before a model is loaded; none for --exclude ""."""

    return None if given is None else list(walk.Choice(() if given == [""] else tuple(given)).exclude)


def _group_data(group: "doubles.Group") -> dict[str, Any]:
    pictures = [
        {
            "id": one.hit.id, "path": one.hit.file, "row": one.hit.row, "part": one.hit.part,
            "taken": one.taken.isoformat() if one.taken else None, "width": one.width, "height": one.height,
            "bytes": one.bytes, "problem": one.problem, "best": one is group.best,
        }
        for one in group.pictures
    ]  # fmt: skip
    return {"kind": group.kind, "spare_bytes": group.spare, "pictures": pictures}


def _print_groups(groups: "Sequence[doubles.Group]") -> None:
    """Print groups, a picture a line, and their sums."""
    for group in groups:
        print(f"{group.kind}: {len(group.pictures)} pictures")
        for one in group.pictures:
            facts = one.problem or f"{one.width} x {one.height}, {one.weight}"
            inside = f"  {one.hit.id}" if one.hit.part else ""
            print(f"  {'*' if one is group.best else ' '} {facts:>21}  {one.hit.file}{inside}")
    for kind in ("copies", "bursts"):
        some = [group for group in groups if group.kind == kind]
        if some:
            rest = {one.hit.file: one.bytes for group in some for one in group.others}
            size = sum(rest.values()) / 1e6
            console.notice(f"{kind}: {len(some):,} groups; {len(rest):,} pictures beside the best, {size:,.1f} MB")
    if not groups:
        console.notice("no duplicates found")


def _model(name: str, device: str, engine: Engine) -> "update.Model":
    return update.Model(load.load(name, device, engine), load.lasting_name(name))


def _show(change: "update.Change", index: Path, as_json: bool, patterns: Sequence[str] = ()) -> None:
    """Print the result of an update, and those of `patterns` that match nothing."""
    for pattern in patterns:
        if pattern not in change.aside.excluded:
            console.notice(f"--exclude {pattern}: matches no name, and no path below the given folders")
    if as_json:
        _print_json(change, index)
        return
    for name in change.unmatched:
        console.notice(f"{index}: nothing in it matches {name}")
    for one in change.kept:
        console.notice(
            f"{one.folder}: all {one.pictures:,} pictures of this folder are gone; they stay in the index. "
            "Mount it or move it back, or remove them with --force"
        )
    _print_left_out(change.left_out, index)
    console.output.print(f"{index}: {change}", markup=False)
    if aside_line := str(change.aside):
        console.output.print(aside_line, markup=False)


def _print_json(change: "update.Change", index: Path) -> None:
    """Print the result of an update as a line of JSON."""
    kept = [{"folder": one.folder, "pictures": one.pictures} for one in change.kept]
    more = {"unmatched": list(change.unmatched), "kept": kept}
    figures = {"pictures": change.pictures, "added": change.added, "embedded": change.embedded}
    aside = {"other_media": dict(change.aside.other), "excluded": dict(change.aside.excluded)}
    left_out = [{"id": one.id, "reason": one.reason, "detail": one.detail} for one in change.left_out]
    rows = {"removed": change.removed, "left_out": left_out}
    print(json.dumps({"index": str(index)} | figures | rows | aside | more), flush=True)


def _print_left_out(left_out: "Sequence[rejects.Reject]", index: Path) -> None:
    """List the first pictures that were left out."""
    for one in left_out[:_SHOWN]:
        console.notice(f"left out: {one.id}: {one.detail or one.reason}")
    if len(left_out) > _SHOWN:
        console.notice(f"… and {len(left_out) - _SHOWN:,} more; see left-out-*.jsonl in {index}")
