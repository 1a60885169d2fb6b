"""`clip-italian evaluate`: metrics of models on test pictures, and reports over several results."""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from clip_italian import console, languages
from clip_italian.cli import outcome, probes, sets
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Commands, Device, Language, Model, chosen_prompts
from clip_italian.errors import UsageError

with lazy_imports():
    from clip_italian.evaluate import bootstrap, comparison, labelled, measure, render, results, run, subjects
    from clip_italian.models_torch import devices


app = Commands(help="Measure models on test pictures; report on several.", no_args_is_help=True)
app.command("sets")(sets.sets)
app.command("probe")(probes.probe)
app.command("bias")(probes.bias)

Models = Annotated[list[str], Model]
PairsOption = Annotated[Path, typer.Option("--pairs", help="Pairs file (.parquet or .jsonl).")]
SplitOption = Annotated[str | None, typer.Option("--split", help="Split to use. Default: test where the file has one, else all.")]
OverlapOption = Annotated[
    bool, typer.Option("--allow-overlap", help="Measure even if a model was trained on some of the pictures.")
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", help="Result file to write, for clip-italian evaluate report. A folder for several results."
    ),
]
NamesOption = Annotated[
    list[str] | None,
    typer.Option("--name", help="Name of the model in reports, once per --model. Default: the model as given."),
]
ResamplesOption = Annotated[int, typer.Option("--resamples", min=1, help="Number of bootstrap resamples.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Random seed of the bootstrap.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("retrieval")
def retrieval(
    model: Models,
    pairs: PairsOption,
    split: SplitOption = None,
    captions: Annotated[
        Literal["distinct", "all"],
        typer.Option(
            help="distinct: equal captions are one query, and each of their pictures is right; all: as in the paper."
        ),
    ] = "distinct",
    allow_overlap: OverlapOption = False,
    output: OutputOption = None,
    name: NamesOption = None,
    language: Language = languages.DEFAULT,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    device: Device = "auto",
    as_json: JsonOption = False,
) -> None:
    """MRR@1/5/10, R@1/5/10/50/100, median and mean rank with 95 % intervals, text to image and image to text.

    Repeat --model to compare models on the same pictures, each decoded once. Fails if a model was trained on some of
    the pictures, or on copies of them.

    Example: clip-italian evaluate retrieval --model runs/demo/model --pairs photos.jsonl --json

    Example: clip-italian evaluate retrieval --model mini --model mclip --pairs photos.jsonl -o results
    """
    names = subjects.named(model, name or [])
    files = outcome.result_files(output, names, pairs)
    chosen = measure.choose(pairs, split)
    measured = outcome.keep(
        run.retrieval_on_pairs(
            _loaded(model, names, language, device), chosen, pairs, captions == "distinct",
            _rules(resamples, seed, allow_overlap),
        ),
        files,
    )  # fmt: skip
    if as_json:
        outcome.print_json(measured)
        return
    for direction in ("text_to_image", "image_to_text"):
        outcome.print_tables(measured, direction, direction.replace("_", " "))
    outcome.print_notes(measured)


@app.command("zeroshot")
def zeroshot(
    model: Models,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", help="Pairs file (.parquet or .jsonl) whose captions are the labels.")
    ] = None,
    pictures: Annotated[
        list[Path] | None,
        typer.Option(
            "--pictures",
            help="Folder of class/picture.jpg, ImageNet's validation set, or WebDataset shards (repeat, or a folder).",
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels",
            help="Labels of --pictures, repeat to compare: a file (JSON {class: label or labels}, or a list in order), "
            "or for ImageNet curated or curated-synonyms.",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="Prompt with one {}. Repeat to average several. Default: the language's first."),
    ] = None,
    prompts_file: Annotated[
        Path | None, typer.Option("--prompts", help="File of prompts to average, one per line.")
    ] = None,
    language: Annotated[
        str, typer.Option(help="Language of the default prompt, of articles and of the texts.")
    ] = languages.DEFAULT,
    split: SplitOption = None,
    allow_overlap: OverlapOption = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Keep labels that have no pictures, as wrong answers.")
    ] = False,
    output: OutputOption = None,
    name: NamesOption = None,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    device: Device = "auto",
    as_json: JsonOption = False,
) -> None:
    """Accuracy@1/5/10/100 with 95 % intervals: pictures against labels, or against all captions of a pairs file.

    With --pictures also per class, with the worst confusions; labels without an article get one. Repeat --model and
    --labels to compare on the same pictures, each decoded once. Fails if a model was trained on some of the pictures,
    or on copies of them.

    Example: clip-italian evaluate zeroshot --model runs/demo/model --pictures animals/ -o result.json

    Example: clip-italian evaluate zeroshot --model mini --pictures imagenet/ --labels curated --labels it-2021.json
    """
    if (pairs is None) == (not pictures):
        raise UsageError("give either --pairs or --pictures")
    if pairs is not None and labels:
        raise UsageError("--labels are for --pictures; with --pairs the captions are the labels")
    prompts = chosen_prompts(prompt, prompts_file, languages.get(language))
    names = subjects.named(model, name or [])
    rules = _rules(resamples, seed, allow_overlap)
    if pairs is not None:
        files = outcome.result_files(output, names, pairs)
        chosen = measure.choose(pairs, split)
        loaded = _loaded(model, names, language, device)
        measured = outcome.keep(run.zeroshot_on_pairs(loaded, chosen, pairs, prompts, rules), files)
    else:
        with tempfile.TemporaryDirectory(prefix="clip-italian-") as room:
            data = labelled.load(pictures or [], labels or [], languages.get(language), Path(room), allow_empty)
            files = outcome.result_files(output, run.result_names(names, [one.labels for one in data]))
            loaded = _loaded(model, names, language, device)
            measured = outcome.keep(run.zeroshot_on_classes(loaded, data, prompts, rules), files)
    if as_json:
        outcome.print_json(measured)
        return
    title = f"zero-shot, {' + '.join(f'“{text}”' for text in prompts[:3])}{' …' if len(prompts) > 3 else ''}"
    outcome.print_tables(measured, None, title)
    outcome.print_notes(measured)


@app.command("report")
def report(
    files: Annotated[list[Path], typer.Argument(help="Result files from evaluate … -o.", metavar="RESULT…")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the report.")] = Path("report"),
    title: Annotated[str, typer.Option(help="Title of the report.")] = "Evaluation",
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """The paper's Tables 3 and 4 with models as columns, published figures, intervals and paired differences.

    Writes report.md, report.tex, report.html and a plot (PNG and SVG). Each model is compared with the first one
    measured on the same test set.

    Example: clip-italian evaluate report a.json b.json -o runs/report
    """
    compared = comparison.compare([(file, results.read(file)) for file in files], bootstrap.Resampling(resamples, seed))
    written = render.write(compared, title, output)
    if as_json:
        print(json.dumps({"output": str(output), "files": written, "sets": [part.to_json() for part in compared]}))
        return
    console.output.print((output / "report.md").read_text(encoding="utf-8"), markup=False)
    console.output.print(f"report: {output / 'report.html'}", markup=False)


def _loaded(models: list[str], names: list[str], language: str, device: str) -> "list[subjects.Subject]":
    return subjects.load(models, names, languages.get(language), str(devices.choose_device(device)))


def _rules(resamples: int, seed: int, allow_overlap: bool) -> "run.Rules":
    return run.Rules(bootstrap.Resampling(resamples, seed), allow_overlap)
