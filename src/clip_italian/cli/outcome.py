"""Output of `evaluate`: result files, and tables that compare models."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from clip_italian import console
from clip_italian.cli.lazy import lazy_imports
from clip_italian.errors import UsageError, UserError

with lazy_imports():
    from clip_italian import pairs
    from clip_italian.evaluate import results, run


_LISTED = 10  # confusions shown
_NO_FIGURES = ("format", "left_out")  # numbers of a result that are none
_NO_FILE_NAME = re.compile(r"[^\w.+-]+")


def result_files(output: Path | None, names: Sequence[str], source: Path | None = None) -> list[Path | None]:
    """Where the results of these names go: one into the file `output`; several, or one where it is a folder, into it.

    Raises UsageError where several results would go into one file, or one into `source`, and UserError where nothing
    can be written: better now than after an hour of measuring.
    """
    if output is None:
        return [None] * len(names)
    if len(names) == 1 and not output.is_dir():
        files = [output]
    elif output.is_file() or output.suffix == ".json":
        raise UsageError(f"{output}: there are {len(names)} results; give -o a folder for them")
    else:
        files = [output / f"{_NO_FILE_NAME.sub('-', name).strip('-.') or 'model'}.json" for name in names]
    twice = next((file for file in files if files.count(file) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice}: two results would go there; give the models other names by --name")
    for file in files:
        if source is not None:
            pairs.apart(source, file)
        there = next(folder for folder in file.absolute().parents if folder.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise UserError(f"{file}: cannot be written ({there} is no folder to write into); choose another output")
    return list(files)


def keep(measured: Iterable["run.Measured"], files: Sequence[Path | None]) -> list["run.Measured"]:
    """Collect all results, writing each to its file as soon as it is available."""

    kept = []
    for one, file in zip(measured, files, strict=True):
        if file is not None:
            results.write(file, one.result)
        kept.append(one)
    return kept


def print_json(measured: Sequence["run.Measured"]) -> None:
    """Print one JSON object: the result, or `results` if there are several, without ranks."""

    shown = [run.for_people(one.result) for one in measured]
    print(json.dumps(shown[0] if len(shown) == 1 else {"results": shown}))


def print_tables(measured: Sequence["run.Measured"], part: str | None, title: str) -> None:
    """Print a table that compares all results and chance; `part` is the key that holds the figures."""
    columns, intervals = {}, {}
    for one in measured:
        name = one.result["name"] if len(measured) > 1 else "model"
        columns[name] = one.result[part] if part else one.result
        intervals[name] = columns[name]["intervals"]
    chance = measured[0].chance[part] if part else measured[0].chance
    show(title, columns | {"chance": chance}, intervals)


def print_notes(measured: Sequence["run.Measured"]) -> None:
    """Print notes: overlap with training pictures, worst confusions of a single result, how ties count."""
    for one in measured:
        seen = one.result["overlap"].get("pictures")
        if seen:
            who = one.result["name"] if len(measured) > 1 else "the model"
            console.output.print(f"careful: {who} was trained on {seen:,} of these pictures", markup=False)
    if len(measured) == 1:
        for mistake in measured[0].result.get("confusions", [])[:_LISTED]:
            line = f"{mistake['class']} taken for {mistake['taken_for']}: {mistake['count']} ({mistake['share']:.0%})"
            console.output.print(line, markup=False)
    console.output.print(f"ties: {measured[0].result['ties']}")


def show(
    title: str,
    columns: Mapping[str, Mapping[str, Any]],
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
) -> None:
    """Print a table: a row per figure, a column per model, and intervals where available.

    Intervals of a single model are in a column of their own, those of several below the figures: a narrower table.
    """
    known = intervals or {}
    beside = len(known) == 1
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
        if beside and name in known:
            table.add_column("95 % interval", justify="right")
    first = next(iter(columns.values()))
    for key, value in first.items():
        if isinstance(value, int | float) and key not in _NO_FIGURES:
            cells = []
            for name, column in columns.items():
                figure = _cell(column[key]) if key in column else ""
                interval = " – ".join(map(_cell, known[name][key])) if key in known.get(name, {}) else ""
                if name not in known:
                    cells.append(figure)
                else:
                    cells += [figure, interval] if beside else [f"{figure}\n{interval}".rstrip()]
            table.add_row(key, *cells)
    console.output.print(table)


def _cell(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) and value < 1 else f"{value:g}"
