"""The report of a running or finished run: curves, figures, where the time went, settings; one HTML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any

from clip_italian.charts import BLUE, GREEN, Line, line_chart, svg
from clip_italian.config import Recipe
from clip_italian.pages import write_page
from clip_italian.train.cost import Spent
from clip_italian.train.history import Record, Regression, describe, running_steps
from clip_italian.train.progress import Part, Point, clock_time

REPORT_FILE = "report.html"
_RELOAD = 20  # seconds after which the page of a running run reloads
_TABLE_FIGURES = ("validation_loss", "train_loss", "MRR@1", "MRR@10", "R@1", "R@10", "median_rank")
_ROWS = 24  # evaluations in the table: the first ones and the last ones where there are more


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment; `state` is running, finished or stopped, `note` the reason why it stopped.

    `regressions` are by number of the evaluation, `parts` the sums over the steps by stage. In seconds: `elapsed` since
    the run began (or resumed, after `resumed_at` steps), `rest` of it outside of steps, `eta` to the end of the stage.
    """

    name: str
    state: str
    note: str
    recipe: Recipe
    history: Sequence[Record]
    regressions: Mapping[int, Sequence[Regression]]
    points: Sequence[Point]
    parts: Mapping[str, Part]
    step: int
    elapsed: float
    rest: float
    eta: float | None
    resumed_at: int | None
    summary: Mapping[str, Any]
    spent: Spent | None = None


def write_report(path: Path, run: Snapshot) -> None:
    """Write the page and rename it into place, so that readers always see a whole one."""
    write_page(
        path, "run.html", run=run, updated=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z"),
        reload=_RELOAD if run.state == "running" else None, facts=_facts(run), charts=_charts(run),
        evaluations=_evaluations(run), parts=_parts(run), settings=settings(run.recipe.model_dump(mode="json")),
        stages=stages(run.recipe.model_dump(mode="json")["stage"]),
    )  # fmt: skip


def _facts(run: Snapshot) -> dict[str, str]:
    facts = {name.replace("_", " "): _number(value) for name, value in run.summary.items()}
    if run.history:
        best = min(range(len(run.history)), key=lambda number: _loss_of(run.history[number]))
        record = run.history[best]
        facts["best evaluation"] = f"{record['stage']}, epoch {record['epoch']}: " + ", ".join(
            f"{name.replace('_', ' ')} {_number(record[name])}"
            for name in ("validation_loss", "MRR@10")
            if name in record
        )
    facts["steps"] = f"{run.step:,}" + (f", {run.resumed_at:,} of them before it was resumed" if run.resumed_at else "")
    facts["running for"] = clock_time(run.elapsed) + (" since it was resumed" if run.resumed_at is not None else "")
    if run.spent is not None:
        facts["cost"] = str(run.spent) + (f", all {len(run.spent.parts)} parts" if len(run.spent.parts) > 1 else "")
    if run.state == "running" and run.eta is not None:
        facts["stage ends in"] = f"{clock_time(run.eta)}, sooner where it stops improving"
    return facts


def _charts(run: Snapshot) -> list[tuple[str, str]]:
    """Titles and SVGs; a chart without a point is left out."""
    at = running_steps(run.history)
    starts = [step for step, record in zip(at, run.history, strict=True) if record["step"] == 0][2:]
    worse = {number for number, found in run.regressions.items() if found}

    def evaluated(figure: str, colour: str = GREEN, label: str | None = None) -> Line:
        shown = [(number, step) for number, step in enumerate(at) if run.history[number].get(figure) is not None]
        marked = [place for place, (number, _) in enumerate(shown)
                  if number in worse and any(one.figure == figure for one in run.regressions[number])]  # fmt: skip
        return Line([step for _, step in shown], [run.history[number][figure] for number, _ in shown],
                    label or figure, colour, dots=True, marked=marked)  # fmt: skip

    points = [point for point in run.points if isfinite(point.loss)]
    by_step = [point.step for point in points]
    training = Line(by_step, [point.loss for point in points], "training", BLUE)
    timed = [point for point in run.points if point.seconds > 0]
    speed = Line([p.step for p in timed], [p.samples / p.seconds for p in timed], "samples/s", BLUE)
    waits = Line([p.step for p in timed], [100 * p.data_seconds / p.seconds for p in timed], "data wait", BLUE)
    rates = Line(by_step, [point.learning_rate for point in points], "learning rate", BLUE)
    charts = [
        ("Loss", [training, evaluated("validation_loss", label="validation")], None),
        ("MRR on validation", [evaluated("MRR@10"), evaluated("MRR@1", BLUE)], 0),
        ("Learning rate", [rates], 0),
        ("Samples a second", [speed], 0),
        ("Waiting for data, % of the time", [waits], 0),
    ]
    return [
        (title, svg(line_chart(lines, starts, floor)))
        for title, lines, floor in charts
        if any(line.x for line in lines)
    ]


def _evaluations(run: Snapshot) -> dict[str, Any]:
    figures = [name for name in _TABLE_FIGURES if any(name in record for record in run.history)]
    rows = [
        {
            "stage": record["stage"],
            "epoch": record["epoch"],
            "step": f"{step:,}",
            "cells": [_number(record.get(name)) for name in figures],
            "worse": [any(one.figure == name for one in run.regressions.get(number, ())) for name in figures],
        }
        for number, (record, step) in enumerate(zip(run.history, running_steps(run.history), strict=True))
    ]
    left_out = max(0, len(rows) - _ROWS)
    rows = [*rows[: _ROWS // 4], *rows[_ROWS // 4 + left_out :]] if left_out else rows
    return {"figures": [name.replace("_", " ") for name in figures], "rows": rows, "left_out": left_out,
            "regressions": describe(run.regressions.get(len(run.history) - 1, ()))}  # fmt: skip


def _parts(run: Snapshot) -> list[dict[str, str]]:
    rows = [
        {
            "stage": name,
            "steps": f"{part.steps:,}",
            "training": clock_time(part.seconds - part.data_seconds),
            "waiting": clock_time(part.data_seconds),
            "share": f"{part.data_wait:.1%}",
            "speed": f"{part.samples_per_second:,.0f}",
        }
        for name, part in run.parts.items()
        if part.steps
    ]
    empty = dict.fromkeys(("steps", "waiting", "share", "speed"), "")
    return [*rows, {"stage": "evaluations and the rest", "training": clock_time(run.rest), **empty}] if rows else []


def settings(recipe: Mapping[str, Any]) -> dict[str, str]:
    """A recipe's settings but the stages', by dotted name."""
    found: dict[str, str] = {}

    def walk(values: Mapping[str, Any], before: str) -> None:
        for key, value in values.items():
            if isinstance(value, Mapping):
                walk(value, f"{before}{key}.")
            elif value is not None:
                found[f"{before}{key}"] = _setting(value)

    walk({key: value for key, value in recipe.items() if key != "stage"}, "")
    return found


def stages(given: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The `names` of a recipe's stages, and `rows` of a setting and its value in each."""
    keys = [key for key in given[0] if key != "name"]
    return {"names": [stage["name"] for stage in given],
            "rows": [(key, [_setting(stage[key]) for stage in given]) for key in keys]}  # fmt: skip


def _setting(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {one:g}" for key, one in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) >= 10 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _loss_of(record: Record) -> float:
    loss = record.get("validation_loss")
    return float("inf") if loss is None or loss != loss else loss
