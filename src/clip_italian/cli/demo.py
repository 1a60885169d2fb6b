"""`clip-italian demo`: train, measure and search on packaged data."""

import json
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console, languages
from clip_italian.cli.lazy import lazy_imports

with lazy_imports():
    from clip_italian import tables
    from clip_italian.cli import train
    from clip_italian.demo import report
    from clip_italian.demo import run as job
    from clip_italian.files import assets


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for model, index, results and report.")] = Path(
        "runs/demo"
    ),
    language: Annotated[str, typer.Option(help="Language of captions and queries.")] = languages.DEFAULT,
    overrides: Annotated[list[str] | None, typer.Argument(help="Recipe settings as key=value.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as one JSON object.")] = False,
) -> None:
    """Make a picture book, train on it, measure it, and write a report: about 5 minutes on 2 cores.

    Leaves result files in OUTPUT/results, for evaluate report.

    Example: clip-italian demo -o runs/demo
    """
    make = job.run  # imports torch: where it is missing, that is all there is to say
    for wheel in assets.WHEELS:
        console.notice(f"{wheel.package} {wheel.version}: {wheel.provides}; {wheel.license}; {wheel.home}")
    console.notice(f"{assets.STAMPS_PACKAGE}: stamps; {assets.STAMPS_LICENSE}; {assets.STAMPS_HOME}")
    done = make(language, output, overrides or [], train.show_record)
    if as_json:
        print(json.dumps(done.metrics))
        return
    for direction in ("text_to_image", "image_to_text"):
        columns = report.columns(done.metrics, "retrieval", direction)
        tables.show(tables.figure_table(direction.replace("_", " "), columns))
    tables.show(tables.figure_table("zero-shot", report.columns(done.metrics, "zeroshot")))
    console.output.print(f"report: {output / 'report.html'}", markup=False)
    query = languages.get(language).example_queries[0]
    console.output.print(f'search: clip-italian search {output / "index"} "{query}" -k 5', markup=False)
