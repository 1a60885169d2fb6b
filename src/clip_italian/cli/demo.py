"""`clip-italian demo`: the main job on packaged data."""

import json
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import assets, console, languages


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for model, index and report.")] = Path(
        "runs/demo"
    ),
    language: Annotated[str, typer.Option(help="Language of captions and queries.")] = languages.DEFAULT,
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings of the recipe as key=value.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as one JSON object.")] = False,
) -> None:
    """Make a picture book, train on it, measure, and write a report: about 5 minutes on 2 cores.

    Example: clip-italian demo -o runs/demo
    """
    from clip_italian import demo as job
    from clip_italian.cli.outcome import show
    from clip_italian.cli.train import show_record
    from clip_italian.evaluate.report import columns

    for wheel in assets.WHEELS:
        console.notice(f"{wheel.package} {wheel.version}: {wheel.provides}; {wheel.license}; {wheel.home}")
    console.notice(f"{assets.STAMPS_PACKAGE}: stamps; {assets.STAMPS_LICENSE}; {assets.STAMPS_HOME}")
    done = job.run(language, output, overrides or [], show_record)
    if as_json:
        print(json.dumps(done.metrics))
        return
    for direction in ("text_to_image", "image_to_text"):
        show(direction.replace("_", " "), columns(done.metrics, "retrieval", direction))
    show("zero-shot", columns(done.metrics, "zeroshot"))
    console.output.print(f"report: {output / 'report.html'}", markup=False)
    query = languages.get(language).example_queries[0]
    console.output.print(f'search: clip-italian search {output / "index"} "{query}" -k 5', markup=False)
