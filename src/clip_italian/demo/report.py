"""The report of a run: tables, the loss curve and pictures found for a dozen queries, in one HTML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_italian import charts, languages
from clip_italian.pages import write_page
from clip_italian.search.index import Hit
from clip_italian.train.history import Record, running_steps
from clip_italian.search.sheet import rows

# Figures in the order of the tables, and the one that is set in bold.
RETRIEVAL_ROWS = ("MRR@1", "MRR@5", "MRR@10", "R@1", "R@5", "R@10", "median_rank")
ZEROSHOT_ROWS = ("accuracy@1", "accuracy@5", "accuracy@10")
MAIN_FIGURE = "MRR@10"


@dataclass(frozen=True)
class Report:
    """What the page shows. `metrics` has the shape of metrics.json."""

    title: str
    language: str
    metrics: Mapping[str, Any]
    history: Sequence[Record]
    results: Sequence[tuple[str, Sequence[Hit]]]
    captions: Mapping[str, str]
    facts: Mapping[str, str]
    licences: Sequence[tuple[str, str, str]]


def columns(metrics: Mapping[str, Any], *path: str) -> dict[str, Mapping[str, Any]]:
    """One part of the metrics beside the same part of each baseline."""

    def dig(values: Mapping[str, Any]) -> Mapping[str, Any]:
        for key in path:
            values = values[key]
        return values

    return {"trained": dig(metrics), **{name: dig(base) for name, base in metrics["baselines"].items()}}


def write(path: Path, report: Report) -> None:
    """Write the page."""
    retrieval = report.metrics["retrieval"]
    tables = [
        _table(f"Text to image: {_counts(retrieval['text_to_image'], 'captions', 'pictures')}",
               RETRIEVAL_ROWS, columns(report.metrics, "retrieval", "text_to_image")),
        _table(f"Image to text: {_counts(retrieval['image_to_text'], 'pictures', 'captions')}",
               RETRIEVAL_ROWS, columns(report.metrics, "retrieval", "image_to_text")),
        _table(f"Zero-shot classification among {report.metrics['zeroshot']['labels']} captions, "
               f"prompt “{report.metrics['zeroshot']['prompt']}”",
               ZEROSHOT_ROWS, columns(report.metrics, "zeroshot")),
    ]  # fmt: skip
    words = languages.get(report.language).sheet
    write_page(
        path, "report.html", report=report, tables=tables, main_figure=MAIN_FIGURE,
        curves=draw_history(report.history), results=rows(report.results, words, report.captions),
    )  # fmt: skip


def draw_history(history: Sequence[Record]) -> list[tuple[str, str]]:
    """Losses and MRR@10 over the steps: titles and SVGs."""
    steps = running_steps(history)
    validation = charts.Line(steps, [r["validation_loss"] for r in history], "validation", charts.GREEN, dots=True)
    trained = [(step, r["train_loss"]) for step, r in zip(steps, history, strict=True) if "train_loss" in r]
    training = charts.Line(
        [step for step, _ in trained], [loss for _, loss in trained], "training (with dropout)", charts.BLUE, dots=True
    )
    found = charts.Line(steps, [r["MRR@10"] for r in history], "MRR@10", charts.GREEN, dots=True)
    return [
        ("Contrastive loss", charts.draw([validation, training])),
        ("MRR@10 on validation", charts.draw([found], floor=0)),
    ]


def _counts(figures: Mapping[str, Any], queries: str, gallery: str) -> str:
    return f"{figures['queries']} {queries} as queries, {figures['gallery']} {gallery} in the gallery"


def _table(caption: str, names: Sequence[str], values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    lines = [(name, [_number(name, column[name]) for column in values.values()]) for name in names]
    return {"caption": caption, "columns": list(values), "lines": lines}


def _number(name: str, value: float) -> str:
    return f"{value:g}" if name == "median_rank" else f"{value:.3f}"
