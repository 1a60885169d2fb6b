"""`clip-italian evaluate`: metrics of a model on test pictures, and reports over several results."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from clip_italian import console, languages
from clip_italian.cli import probes, sets
from clip_italian.errors import UsageError, UserError

app = typer.Typer(help="Measure a model on test pictures; report on several.", no_args_is_help=True)
app.command("sets")(sets.sets)
app.command("probe")(probes.probe)
app.command("bias")(probes.bias)

ModelOption = Annotated[str, typer.Option("--model", help="Model folder, Hub id, or mini.")]
PairsOption = Annotated[Path, typer.Option("--pairs", help="Pairs file (.parquet or .jsonl).")]
SplitOption = Annotated[str | None, typer.Option("--split", help="Split to use; by default test if named, else all.")]
OverlapOption = Annotated[
    bool, typer.Option("--allow-overlap", help="Measure also where the model was trained on some of the pictures.")
]
OutputOption = Annotated[
    Path | None, typer.Option("-o", "--output", help="Result file to write, for clip-italian evaluate report.")
]
NameOption = Annotated[str | None, typer.Option("--name", help="What reports call the model; by default as given.")]
ResamplesOption = Annotated[int, typer.Option("--resamples", min=1, help="Resamples of the bootstrap.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

_LISTED = 10  # confusions shown
_NO_FIGURES = ("format", "left_out")  # numbers of a result that are none


@app.command("retrieval")
def retrieval(
    model: ModelOption,
    pairs: PairsOption,
    split: SplitOption = None,
    captions: Annotated[
        Literal["distinct", "all"],
        typer.Option(
            help="distinct: equal captions are one query, right with any of their pictures; all: as the paper."
        ),
    ] = "distinct",
    allow_overlap: OverlapOption = False,
    output: OutputOption = None,
    name: NameOption = None,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """MRR@1/5/10, R@1/5/10/50/100, median and mean rank with 95 % intervals, text to image and image to text.

    Refused where the model was trained on some of the pictures, or on copies of them.

    Example: clip-italian evaluate retrieval --model runs/demo/model --pairs photos.jsonl --json
    """
    from clip_italian.evaluate import run
    from clip_italian.evaluate.bootstrap import Resampling

    subject = run.Subject(model, name or model, Resampling(resamples, seed), allow_overlap)
    measured = run.retrieval_on_pairs(subject, pairs, split, captions == "distinct")
    if _written(measured.result, output, as_json):
        return
    for direction in ("text_to_image", "image_to_text"):
        shown = {"model": measured.result[direction], "chance": measured.chance[direction]}
        show(direction.replace("_", " "), shown, measured.result[direction]["intervals"])
    console.output.print(f"ties: {measured.result['ties']}")


@app.command("zeroshot")
def zeroshot(
    model: ModelOption,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", help="Pairs file (.parquet or .jsonl): its captions are the labels.")
    ] = None,
    pictures: Annotated[
        list[Path] | None,
        typer.Option("--pictures", help="Folder of class/picture.jpg, or WebDataset shards (repeat, or their folder)."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Labels of --pictures: JSON {class: label or labels}, or a list in order."),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="Prompt with one {}; repeat to average several; default: the language's first."),
    ] = None,
    prompts_file: Annotated[
        Path | None, typer.Option("--prompts", help="File of prompts to average, one a line.")
    ] = None,
    language: Annotated[str, typer.Option(help="Language of the default prompt and of articles.")] = "it",
    split: SplitOption = None,
    allow_overlap: OverlapOption = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Keep labels without pictures as wrong answers.")
    ] = False,
    output: OutputOption = None,
    name: NameOption = None,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Accuracy@1/5/10/100 with 95 % intervals: pictures against labels, or against all captions of a pairs file.

    With --pictures also by class, with the worst confusions; labels without article get one.
    Refused where the model was trained on some of the pictures, or on copies of them.

    Example: clip-italian evaluate zeroshot --model runs/demo/model --pictures animals/ -o result.json
    """
    from clip_italian.evaluate import labelled, run
    from clip_italian.evaluate.bootstrap import Resampling

    if (pairs is None) == (not pictures):
        raise UsageError("give either --pairs or --pictures")
    prompts = _prompts(prompt, prompts_file, languages.get(language))
    subject = run.Subject(model, name or model, Resampling(resamples, seed), allow_overlap)
    if pairs is not None:
        measured = run.zeroshot_on_pairs(subject, pairs, split, prompts)
    else:
        with tempfile.TemporaryDirectory(prefix="clip-italian-") as room:
            data = labelled.load(pictures or [], labels, languages.get(language), Path(room), allow_empty)
            measured = run.zeroshot_on_classes(subject, data, prompts)
    if _written(measured.result, output, as_json):
        return
    title = f"zero-shot, {' + '.join(f'“{text}”' for text in prompts[:3])}{' …' if len(prompts) > 3 else ''}"
    show(title, {"model": measured.result, "chance": measured.chance}, measured.result["intervals"])
    for mistake in measured.result.get("confusions", [])[:_LISTED]:
        line = f"{mistake['class']} taken for {mistake['taken_for']}: {mistake['count']} ({mistake['share']:.0%})"
        console.output.print(line, markup=False)
    console.output.print(f"ties: {measured.result['ties']}")


@app.command("report")
def report(
    files: Annotated[list[Path], typer.Argument(help="Result files that evaluate … -o wrote.", metavar="RESULT…")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the report.")] = Path("report"),
    title: Annotated[str, typer.Option(help="Title of the report.")] = "Evaluation",
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """The paper's Tables 3 and 4 with models as columns, published figures, intervals and paired differences.

    Writes report.md, report.tex, report.html and a plot (PNG and SVG) into a folder. Every model is compared with the
    first one that was measured on the same set.

    Example: clip-italian evaluate report a.json b.json -o runs/report
    """
    from clip_italian.evaluate import comparison, render, results
    from clip_italian.evaluate.bootstrap import Resampling

    compared = comparison.compare([(file, results.read(file)) for file in files], Resampling(resamples, seed))
    written = render.write(compared, title, output)
    if as_json:
        print(json.dumps({"output": str(output), "files": written, "sets": [part.to_json() for part in compared]}))
        return
    console.output.print((output / "report.md").read_text(encoding="utf-8"), markup=False)
    console.output.print(f"report: {output / 'report.html'}", markup=False)


def show(
    title: str, columns: Mapping[str, Mapping[str, Any]], intervals: Mapping[str, tuple[float, float]] | None = None
) -> None:
    """A table on stdout: a row for each figure, a column for each model, and the intervals of the first."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    if intervals:
        table.add_column("95 % interval", justify="right")
    first = next(iter(columns.values()))
    for key, value in first.items():
        if isinstance(value, int | float) and key not in _NO_FIGURES:
            cells = [_cell(column[key]) if key in column else "" for column in columns.values()]
            if intervals:
                cells.append(" – ".join(map(_cell, intervals[key])) if key in intervals else "")
            table.add_row(key, *cells)
    console.output.print(table)


def _written(result: Mapping[str, Any], output: Path | None, as_json: bool) -> bool:
    """Write the result file if wanted; print the JSON if wanted, else the warnings; whether all is said."""
    from clip_italian.evaluate import results, run

    if output is not None:
        results.write(output, result)
    if as_json:
        print(json.dumps(run.for_people(result)))
        return True
    if result["overlap"].get("pictures"):
        console.output.print(f"careful: the model was trained on {result['overlap']['pictures']:,} of these pictures")
    return False


def _prompts(given: list[str] | None, file: Path | None, language: languages.Language) -> list[str]:
    prompts = list(given or [])
    if file is not None:
        try:
            prompts += [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{file}: cannot read the prompts ({error}); give a text file, one prompt a line"
            ) from error
    prompts = prompts or [language.prompts[0]]
    for template in prompts:
        if template.count("{}") != 1:
            raise UsageError(f"--prompt {template!r}: it needs exactly one {{}} for the label")
    return prompts


def _cell(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) and value < 1 else f"{value:g}"
