"""`clip-italian evaluate paper`: the paper's Tables 3 and 4, measured again."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console, languages
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Device, Json
from clip_italian.errors import UsageError, UserError

with lazy_imports():
    from clip_italian.evaluate import bootstrap, leaks, results, run
    from clip_italian.evaluate import paper as papers
    from clip_italian.evaluate import report as reports


def paper(
    coco: Annotated[
        Path | None,
        typer.Option("--coco", help="Folder of MSCOCO-IT's development set and its pictures. Default: no Table 3."),
    ] = None,
    imagenet: Annotated[
        Path | None, typer.Option("--imagenet", help="Folder of ImageNet's validation set. Default: no Table 4.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Labels of 2021 (TSV or JSON). Default: imagenet_labels_IT.tsv in --imagenet."),
    ] = None,
    clip_italian: Annotated[
        str, typer.Option("--clip-italian", help="The published CLIP-Italian: Hub id or folder.")
    ] = "clip-italian/clip-italian",
    mclip: Annotated[
        str, typer.Option("--mclip", help="mCLIP: mclip from the Hub, or sentence-transformers:TEXT,IMAGES (folders).")
    ] = "mclip",
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Download missing captions and pictures of MSCOCO-IT, and labels.")
    ] = False,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Measure even if a model was trained on some of the pictures.")
    ] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Measure on incomplete test sets too.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for result files and the report.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """The paper's Tables 3 and 4 beside the published figures; exit with 1 unless all are within 0.01 of these.

    Measures the published CLIP-Italian and mCLIP on MSCOCO-IT's development set and on ImageNet's validation set, whose
    terms must be accepted at image-net.org. Everything may be a local path.

    Example: clip-italian evaluate paper --coco ~/coco --imagenet ~/imagenet --fetch -o runs/paper-tables
    """
    if coco is None and imagenet is None:
        raise UsageError("give --coco FOLDER for Table 3, --imagenet FOLDER for Table 4, or both")
    if output is not None and output.is_file():
        raise UsageError(f"{output}: is a file; give a folder for results and report")
    italian, resampling = languages.get(languages.DEFAULT), bootstrap.Resampling()
    if fetch:
        _fetch(coco, imagenet, labels)
    with tempfile.TemporaryDirectory(prefix="clip-italian-") as room:
        pairs = None if coco is None else papers.retrieval_set(coco, partial)
        classes = (
            None if imagenet is None else papers.classification_set(imagenet, labels, italian, Path(room), partial)
        )
        for note in pairs.notes if pairs else ():
            console.notice(note)
        models = papers.load_models([clip_italian, mclip], italian, device)
        encoders = {one.name: one.encoder for one in models}
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)  # fails before anything is measured
        files: list[Path] = []
        checked = []
        if pairs is not None and coco is not None:
            place = coco / papers.CAPTIONS_FILE
            overlaps = leaks.check(encoders, run.picture_ids(pairs.pairs, place), str(coco), allow_overlap)
            found = papers.measure_retrieval(models, pairs, place, overlaps, resampling)
            files += papers.write_results(found, output) if output else []
            checked.append(papers.check_retrieval(found, reports.PUBLISHED_RETRIEVAL))
        if classes is not None:
            ids = dict(zip(classes.paths, classes.ids, strict=True))
            overlaps = leaks.check(encoders, ids, classes.place, allow_overlap)
            found = papers.measure_zeroshot(models, classes, overlaps, resampling)
            files += papers.write_results(found, output) if output else []
            checked.append(papers.check_zeroshot(found, reports.PUBLISHED_ZEROSHOT))
    if output is not None:
        compared = reports.compare([(file, results.read(file)) for file in files], resampling)
        reports.write(compared, "The paper's Tables 3 and 4", output)
    passed = all(table.passed for table in checked)
    if as_json:
        shown = [table.to_json() for table in checked]
        print(json.dumps({"tolerance": papers.TOLERANCE, "passed": passed, "tables": shown}))
    else:
        for table in checked:
            _print_table(table)
        if output is not None:
            console.output.print(f"report: {output / 'report.html'}", markup=False)
    if coco is None:
        console.notice(f"Table 3 was not measured; give --coco FOLDER: {papers.COCO_HELP}")
    if imagenet is None:
        console.notice(f"Table 4 was not measured; give --imagenet FOLDER: {papers.IMAGENET_HELP}")
    if not passed:
        raise typer.Exit(1)


def _fetch(coco: Path | None, imagenet: Path | None, labels: Path | None) -> None:
    """Download captions, pictures and labels. ImageNet's terms must be accepted first: raises UserError without it."""
    if imagenet is not None and not imagenet.is_dir():
        raise UserError(f"{imagenet}: no such folder; {papers.IMAGENET_HELP}")
    if coco is not None:
        files = papers.fetch_coco(coco)
        console.notice(f"{coco}: {files:,} files downloaded")
    if imagenet is not None and labels is None:
        papers.fetch_labels(imagenet)


def _print_table(table: "papers.CheckedTable") -> None:
    """Print a table of the paper, a row a figure, and whether it passed."""
    from rich.table import Table

    title = f"Table {table.number}: {table.title}, {table.queries:,} queries among {table.gallery:,}"
    shown = Table("model", "figure", title=title, title_justify="left")
    for column in ("measured", "published", "difference"):
        shown.add_column(column, justify="right")
    shown.add_column("")
    for check in table.checks:
        numbers = f"{check.measured:.4f}", f"{check.published:.4f}", f"{check.difference:+.4f}"
        verdict = ("passed" if check.passed else "failed") if table.whole else "–"
        shown.add_row(check.model, check.figure, *numbers, verdict)
    console.output.print(shown)
    if not table.whole:
        size = f"{table.published.queries:,} queries among {table.published.gallery:,}"
        verdict = f"not comparable: the published figures are of {size}"
    else:
        within = sum(check.passed for check in table.checks)
        share = f"{within} of {len(table.checks)} figures within ±{papers.TOLERANCE} of the published ones"
        verdict = f"{'passed' if table.passed else 'failed'}: {share}"
    console.output.print(f"Table {table.number} {verdict}", markup=False)
