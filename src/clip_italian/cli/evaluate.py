"""`clip-italian evaluate`: metrics of models on test pictures, and reports over several results."""

import json
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from clip_italian import console, languages
from clip_italian.cli import paper, probes, sets
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Commands, Device, Language, Model, chosen_prompts
from clip_italian.errors import UsageError, UserError

with lazy_imports():
    from clip_italian import pairs as pairs_files
    from clip_italian import tables
    from clip_italian.evaluate import bootstrap, labelled, leaks, results, run
    from clip_italian.evaluate import report as reports

_MAX_CONFUSIONS = 10  # printed
_NOT_IN_FILE_NAMES = re.compile(r"[^\w.+-]+")

app = Commands(help="Measure models on test pictures; report on several.", no_args_is_help=True)
app.command("sets")(sets.sets)
app.command("paper")(paper.paper)
app.command("probe")(probes.probe)
app.command("bias")(probes.bias)

Models = Annotated[list[str], Model]
PairsOption = Annotated[Path, typer.Option("--pairs", help="Pairs file (.parquet or .jsonl).")]
SplitOption = Annotated[
    str | None, typer.Option("--split", help="Split to use. Default: test where the file has one, else all.")
]
EvaluateEngine = Annotated[
    Literal["auto", "onnx", "torch"],
    typer.Option("--engine", help="torch (float32), onnx or auto: as searches run, on the CPU often in int8."),
]
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
    engine: EvaluateEngine = "torch",
    as_json: JsonOption = False,
) -> None:
    """MRR@1/5/10, R@1/5/10/50/100, median and mean rank with 95 % intervals, text to image and image to text.

    Repeat --model to compare models on the same pictures, each decoded once. Fails if a model was trained on some of
    the pictures, or on copies of them.

    Example: clip-italian evaluate retrieval --model runs/demo/model --pairs photos.jsonl --json

    Example: clip-italian evaluate retrieval --model mini --model mclip --pairs photos.jsonl -o results
    """
    names = run.model_names(model, name or [])
    files = _result_files(output, names, pairs)
    chosen = run.choose_pairs(pairs, split)
    embedded = _embed_pairs(_load(model, names, language, device, engine), chosen, pairs, allow_overlap)
    resampling, merge = bootstrap.Resampling(resamples, seed), captions == "distinct"
    measured = _write((run.retrieval_result(one, merge, resampling) for one in embedded), files)
    if as_json:
        _print_json(measured)
        return
    for direction in ("text_to_image", "image_to_text"):
        _print_table(measured, direction, direction.replace("_", " "))
    _print_notes(measured)


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
            help="Labels of --pictures: a file (JSON {class: label or labels}, or a list in order), or for ImageNet "
            "curated or curated-synonyms. Repeat to compare.",
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
    engine: EvaluateEngine = "torch",
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
    names = run.model_names(model, name or [])
    resampling = bootstrap.Resampling(resamples, seed)
    if pairs is not None:
        files = _result_files(output, names, pairs)
        chosen = run.choose_pairs(pairs, split)
        embedded = _embed_pairs(_load(model, names, language, device, engine), chosen, pairs, allow_overlap)
        measured = _write((run.zeroshot_result(one, prompts, resampling) for one in embedded), files)
    else:
        with tempfile.TemporaryDirectory(prefix="clip-italian-") as folder:
            label_sets = labelled.load(pictures or [], labels or [], languages.get(language), Path(folder), allow_empty)
            files = _result_files(output, run.result_names(names, [data.labels for data in label_sets]))
            models = _load(model, names, language, device, engine)
            ids = dict(zip(label_sets[0].paths, label_sets[0].ids, strict=True))
            overlaps = leaks.check({one.name: one.encoder for one in models}, ids, label_sets[0].place, allow_overlap)
            classes = run.embed_classes(models, label_sets, overlaps)
            measured = _write((run.classes_result(one, prompts, resampling) for one in classes), files)
    if as_json:
        _print_json(measured)
        return
    title = f"zero-shot, {' + '.join(f'“{text}”' for text in prompts[:3])}{' …' if len(prompts) > 3 else ''}"
    _print_table(measured, None, title)
    _print_notes(measured)


@app.command("report")
def report(
    files: Annotated[
        list[Path], typer.Argument(help="Result files of evaluate … -o, or of the demo.", metavar="RESULT…")
    ],
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
    compared = reports.compare([(file, results.read(file)) for file in files], bootstrap.Resampling(resamples, seed))
    written = reports.write(compared, title, output)
    if as_json:
        print(json.dumps({"output": str(output), "files": written, "sets": [part.to_json() for part in compared]}))
        return
    console.output.print((output / "report.md").read_text(encoding="utf-8"), markup=False)
    console.output.print(f"report: {output / 'report.html'}", markup=False)


def _load(
    models: list[str], names: list[str], language: str, device: str, engine: EvaluateEngine
) -> "list[run.NamedModel]":
    return run.load_models(models, names, languages.get(language), device, engine)


def _embed_pairs(
    models: "list[run.NamedModel]", chosen: "list[pairs_files.Pair]", pairs: Path, allow_overlap: bool
) -> "list[run.EmbeddedPairs]":
    encoders = {one.name: one.encoder for one in models}
    overlaps = leaks.check(encoders, run.picture_ids(chosen, pairs), str(pairs), allow_overlap)
    return run.embed_pairs(models, chosen, pairs, overlaps)


def _result_files(output: Path | None, names: Sequence[str], source: Path | None = None) -> list[Path | None]:
    """Paths of the results: `output` itself for a single one, unless it is a folder; else files by name in it.

    Checked before measuring: raises UsageError for several results in one file or one that would replace `source`, and
    UserError for a place that cannot be written.
    """
    if output is None:
        return [None] * len(names)
    if len(names) == 1 and not output.is_dir():
        files = [output]
    elif output.is_file() or output.suffix == ".json":
        raise UsageError(f"{output}: there are {len(names)} results; give -o a folder for them")
    else:
        files = [output / f"{_NOT_IN_FILE_NAMES.sub('-', name).strip('-.') or 'model'}.json" for name in names]
    duplicate = next((file for file in files if files.count(file) > 1), None)
    if duplicate is not None:
        raise UsageError(f"{duplicate}: two results would go there; give the models other names by --name")
    for file in files:
        if source is not None:
            pairs_files.refuse_overwrite(source, file)
        folder = next(parent for parent in file.absolute().parents if parent.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise UserError(f"{file}: cannot be written ({folder} is no folder to write into); choose another output")
    return list(files)


def _write(measured: "Iterable[run.Measured]", files: Sequence[Path | None]) -> "list[run.Measured]":
    """Compute the results, writing each to its file as soon as it is ready."""
    done = []
    for one, file in zip(measured, files, strict=True):
        if file is not None:
            results.write(file, one.result)
        done.append(one)
    return done


def _print_json(measured: "Sequence[run.Measured]") -> None:
    """Print one JSON object, without ranks: the result, or `results` if there are several."""
    shown = [results.without_ranks(one.result) for one in measured]
    print(json.dumps(shown[0] if len(shown) == 1 else {"results": shown}))


def _print_table(measured: "Sequence[run.Measured]", part: str | None, title: str) -> None:
    """Print all results beside chance; `part` is the key of a result that holds the figures."""
    columns = {one.result["name"] if len(measured) > 1 else "model": one.result for one in measured}
    columns["chance"] = measured[0].chance
    tables.show(tables.figure_table(title, {name: one[part] if part else one for name, one in columns.items()}))


def _print_notes(measured: "Sequence[run.Measured]") -> None:
    """Print overlaps with training pictures, the most frequent confusions of a single result, and the rule of ties."""
    for one in measured:
        seen = one.result["overlap"].get("pictures")
        if seen:
            who = one.result["name"] if len(measured) > 1 else "the model"
            console.output.print(f"careful: {who} was trained on {seen:,} of these pictures", markup=False)
    if len(measured) == 1:
        for mistake in measured[0].result.get("confusions", [])[:_MAX_CONFUSIONS]:
            line = f"{mistake['class']} taken for {mistake['taken_for']}: {mistake['count']} ({mistake['share']:.0%})"
            console.output.print(line, markup=False)
    console.output.print(f"ties: {measured[0].result['ties']}")
