"""`clip-italian classify`: labels for pictures, with probabilities."""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from clip_italian import console, languages
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import HIDDEN_HELP, Device, Engine, Exclude, Json, Language, chosen_prompts
from clip_italian.errors import UsageError, UserError

with lazy_imports():
    from clip_italian.evaluate import labelled
    from clip_italian.evaluate import labels as label_files
    from clip_italian.models import encoder as encoders
    from clip_italian.models import load
    from clip_italian.pictures import walk
    from clip_italian.search import calibrate as calibration
    from clip_italian.search import classify as by_model


def classify(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders with their subfolders.")],
    labels: Annotated[str | None, typer.Option("--labels", help="Labels, separated by commas.")] = None,
    labels_file: Annotated[
        Path | None,
        typer.Option("--labels-file", help="File of labels, one per line; or JSON with several names per label."),
    ] = None,
    model: Annotated[str, typer.Option("--model", help="Model folder, Hub id, or mini.")] = "mini",
    multi: Annotated[
        bool, typer.Option("--multi", help="Judge each label independently: none, one or several may fit.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0, max=1, help="With --multi: minimum probability of a label. Default: 0.5."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate", help="With --multi: folder of label/picture.jpg to calibrate the probabilities on."
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="Prompt with one {}. Repeat to average several. Default: the language's first."),
    ] = None,
    exclude: Exclude = None,
    hidden: Annotated[bool, typer.Option("--hidden", help=HIDDEN_HELP)] = False,
    most: Annotated[int, typer.Option("-k", help="Number of labels to show for each picture.", min=1)] = 5,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="CSV file to write: one row per picture, with all probabilities."),
    ] = None,
    language: Language = languages.DEFAULT,
    device: Device = "auto",
    engine: Engine = "auto",
    as_json: Json = False,
) -> None:
    """Find the labels that fit each picture. Adds missing articles, and puts each label into a prompt.

    Probabilities sum to one over the labels: exactly one is assumed to be right. With --multi they are independent.
    Unreadable pictures are listed and skipped.

    Example: clip-italian classify gatto.jpg --labels gatto,cane,"una pizza margherita"

    Example: clip-italian classify ~/Pictures --labels-file labels.txt --multi --threshold 0.7 -o labels.csv
    """
    if not multi and (calibrate is not None or threshold is not None):
        raise UsageError("--threshold and --calibrate need --multi; without it the probabilities sum to one")
    if output is not None and output.suffix != ".csv":
        raise UsageError(f"{output}: the output is a CSV file; choose a name ending in .csv")
    words = languages.get(language)
    names = _names(labels, labels_file, words)
    least = (0.5 if threshold is None else threshold) if multi else 0.0
    choice = walk.Choice(tuple(exclude or ()), hidden)
    paths = [file for one in pictures for file in (_below(one, choice) if one.is_dir() else [one])]
    encoder = load.load(model, device, engine)
    classifier = by_model.make(encoder, names, chosen_prompts(prompt, None, words), words, multi)
    if calibrate is not None:
        classifier = _calibrated(encoder, classifier, calibrate, words)
    if output is not None:
        with console.progress("pictures", len(paths)) as advance:
            batches = by_model.classify_files(encoder, classifier, paths, advance)
            done, left_out = by_model.write_csv(output, classifier, batches, least)
        _show_summary(output, done, left_out, as_json)
        return
    found: list[dict[str, Any]] = []
    left_out = []
    for batch in by_model.classify_files(encoder, classifier, paths):
        left_out += [str(error) for error in batch.errors]
        some = _rows(batch, classifier, most, least)
        if as_json:
            found += some
        else:
            _show(some, batch)
    if len(left_out) == len(paths):
        raise UserError(f"none of the {len(paths):,} pictures could be read (first reason: {left_out[0]})")
    if as_json:
        facts = {"model": model, "multi": multi, "names": {name: list(some) for name, some in names.items()}}
        print(json.dumps(facts | {"pictures": found, "left_out": left_out}))


def _below(folder: Path, choice: "walk.Choice") -> list[Path]:
    """The pictures in a folder; reports on stderr what else is there."""

    found = walk.require_pictures(walk.walk(folder, choice), folder)
    for place, reason in found.unreadable:
        console.notice(f"left out: {place}: {reason}")
    if skipped := str(found.skipped):
        console.notice(f"{folder}: {skipped}")
    return found.pictures


def _names(given: str | None, file: Path | None, words: languages.Language) -> "label_files.Names":
    if given is not None and file is None:
        return label_files.own(given.split(","), "--labels", words)
    if given is None and file is not None:
        return label_files.read_own(file, words)
    raise UsageError("give either --labels a,b,c or --labels-file FILE")


def _calibrated(
    encoder: "encoders.SearchEncoder", classifier: "by_model.Classifier", folder: Path, words: languages.Language
) -> "by_model.Classifier":
    with tempfile.TemporaryDirectory(prefix="clip-italian-") as room:
        (data,) = labelled.load([folder], [], words, Path(room))
        found = calibration.calibrate_labels(encoder, classifier, data)
    console.notice(
        f"calibrated on {found.pictures:,} pictures: mean squared error of the probabilities "
        f"{found.before:.3f} before, {found.after:.3f} after (five folds)"
    )
    return found.classifier


def _rows(batch: "by_model.Batch", classifier: "by_model.Classifier", most: int, least: float) -> list[dict[str, Any]]:
    return [
        {
            "path": str(path),
            "labels": [
                {"label": classifier.names[label], "probability": round(float(row[label]), 4)}
                for label in by_model.best(row, most, least)
            ],
        }
        for path, row in zip(batch.paths, batch.probabilities, strict=True)
    ]


def _show(rows: list[dict[str, Any]], batch: "by_model.Batch") -> None:
    # No table: a long path must stay on one line, to be copied.
    for row in rows:
        print(row["path"].encode(errors="replace").decode())
        for one in row["labels"]:
            print(f"  {one['probability']:.3f}  {one['label']}")
        if not row["labels"]:
            print("  none of the labels")
    for error in batch.errors:
        console.notice(f"left out: {error}")


def _show_summary(output: Path, done: int, left_out: list[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"output": str(output), "pictures": done, "left_out": left_out}))
        return
    for line in left_out:
        console.notice(f"left out: {line}")
    console.output.print(f"{output}: {done:,} pictures, {len(left_out):,} left out", markup=False)
