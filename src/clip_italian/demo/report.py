"""The report of the demo: tables, loss curves, and the pictures found for a dozen queries, in one HTML file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_italian import charts
from clip_italian.languages import Language
from clip_italian.pages import write_page
from clip_italian.search.index import Hit
from clip_italian.search.sheet import rows
from clip_italian.tables import Table, figure_table
from clip_italian.train.history import Record, running_steps

RETRIEVAL_ROWS = ("MRR@1", "MRR@5", "MRR@10", "R@1", "R@5", "R@10", "median_rank")
ZEROSHOT_ROWS = ("accuracy@1", "accuracy@5", "accuracy@10")
MAIN_FIGURE = "MRR@10"  # bold


def columns(metrics: Mapping[str, Any], *path: str) -> dict[str, Mapping[str, Any]]:
    """One part of the metrics of the trained model and of each baseline."""

    def part(values: Mapping[str, Any]) -> Mapping[str, Any]:
        for key in path:
            values = values[key]
        return values

    return {"trained": part(metrics), **{name: part(base) for name, base in metrics["baselines"].items()}}


def write(
    path: Path, title: str, language: Language, metrics: Mapping[str, Any], history: Sequence[Record],
    hits: Sequence[tuple[str, Sequence[Hit]]], captions: Mapping[str, str], facts: Mapping[str, str],
    licences: Sequence[tuple[str, str, str]],
) -> None:  # fmt: skip
    """Write the page. `metrics` are those of metrics.json, `captions` the pictures' by id.

    `hits` are the results of the example queries; a licence is (what it is for, licence, home page).
    """
    retrieval, zeroshot = metrics["retrieval"], metrics["zeroshot"]
    tables = [
        figure_table(f"Text to image: {_counts(retrieval['text_to_image'], 'captions', 'pictures')}",
                     columns(metrics, "retrieval", "text_to_image"), RETRIEVAL_ROWS),
        figure_table(f"Image to text: {_counts(retrieval['image_to_text'], 'pictures', 'captions')}",
                     columns(metrics, "retrieval", "image_to_text"), RETRIEVAL_ROWS),
        figure_table(f"Zero-shot classification among {zeroshot['labels']} captions, prompt “{zeroshot['prompt']}”",
                     columns(metrics, "zeroshot"), ZEROSHOT_ROWS),
    ]  # fmt: skip
    write_page(
        path, "report.html", title=title, language=language.code, ties=metrics["ties"], facts=facts, licences=licences,
        tables=[_cells(table) for table in tables], main_figure=MAIN_FIGURE, curves=draw_history(history),
        results=rows(hits, language.sheet, captions),
    )  # fmt: skip


def draw_history(history: Sequence[Record]) -> list[tuple[str, str]]:
    """Titles and SVGs of the losses and of MRR@10 over the steps."""
    steps = running_steps(history)
    validation = charts.Line(steps, [r["validation_loss"] for r in history], "validation", charts.GREEN, dots=True)
    trained = [(step, r["train_loss"]) for step, r in zip(steps, history, strict=True) if "train_loss" in r]
    training = charts.Line(
        [step for step, _ in trained], [loss for _, loss in trained], "training (with dropout)", charts.BLUE, dots=True
    )
    mrr = charts.Line(steps, [r["MRR@10"] for r in history], "MRR@10", charts.GREEN, dots=True)
    return [
        ("Contrastive loss", charts.svg(charts.line_chart([validation, training]))),
        ("MRR@10 on validation", charts.svg(charts.line_chart([mrr], floor=0))),
    ]


def _counts(figures: Mapping[str, Any], queries: str, gallery: str) -> str:
    return f"{figures['queries']} {queries} as queries, {figures['gallery']} {gallery} in the gallery"


def _cells(table: Table) -> dict[str, Any]:
    """A table as the template takes it."""
    lines = [(name, [_number(name, cell.value) for cell in cells if cell]) for name, cells in table.rows]
    return {"caption": table.caption, "columns": table.columns, "lines": lines}


def _number(name: str, value: float) -> str:
    return f"{value:g}" if name == "median_rank" else f"{value:.3f}"
