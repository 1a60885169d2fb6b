"""Plots of a comparison: every figure of every model as a point with its interval."""

import io
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_italian.evaluate.comparison import PUBLISHED, RANKS, ComparedSet, Table

# Colours that the colour-blind can tell apart (Okabe and Ito 2008), those that show on white and on black;
# markers tell models apart where colours repeat or are not seen.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = ("o", "s", "^", "v", "P", "X", "D")
_GREY = "#7a8590"  # readable on light and dark pages
_WIDTH, _ROOM, _LINE, _GROUP = 4.6, 1.3, 0.17, 0.16  # inches
_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"], "font.size": 10, "svg.fonttype": "none", "text.color": _GREY,
    "axes.labelcolor": _GREY, "axes.edgecolor": _GREY, "xtick.color": _GREY, "ytick.color": _GREY,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One direction: rows of one unit (shares), models as colours."""

    title: str
    table: Table


def panels(part: ComparedSet) -> list[Panel]:
    """The plots of a set: all shares of each direction in one."""
    if len(part.tables) == 1:
        return [Panel("Zero-shot", _shares(part.tables[0]))]
    first, second, third = part.tables
    return [Panel("Text to image", _joined(first, second)), Panel("Image to text", _shares(third))]


def svg(some: Sequence[Panel], background: str | None = None) -> str:
    """The panels below each other as SVG, transparent unless a background is given."""
    sink = io.StringIO()
    _save(some, sink, "svg", background)
    text = sink.getvalue()
    return text[text.index("<svg") :]


def write_png(some: Sequence[Panel], path: Path) -> None:
    """The panels below each other as PNG on white."""
    with path.open("wb") as file:
        _save(some, file, "png", "white")


def _save(some: Sequence[Panel], sink: Any, form: str, background: str | None) -> None:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [_height(panel.table) for panel in some]
    # The same figure gives the same bytes: no date, and ids of the SVG from a salt.
    with rc_context(_STYLE | {"svg.hashsalt": some[0].title}), nullcontext():
        figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained", dpi=150)
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(some), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for panel, one in zip(some, axes, strict=True):
            _draw(one, panel)
        metadata = {"Date": None} if form == "svg" else None
        figure.savefig(
            sink, format=form, metadata=metadata, facecolor=background or "none", transparent=background is None
        )


def _draw(axes: Any, panel: Panel) -> None:
    table = panel.table
    scale = 100 if table.percent else 1
    step = 1 / (len(table.columns) + 1)
    for place, column in enumerate(table.columns):
        published = column.endswith(PUBLISHED)
        colour = _GREY if published else _COLOURS[place % len(_COLOURS)]
        marker = _MARKERS[place % len(_MARKERS)]
        cells = [(row, cells[place]) for row, (_, cells) in enumerate(table.rows)]
        points = [(scale * c.value, row + (place + 1) * step - 0.5, c.interval) for row, c in cells if c is not None]
        axes.plot(
            [x for x, _, _ in points], [y for _, y, _ in points], marker, ms=5, color=colour, label=_short(column),
            mfc="none" if published else colour, clip_on=False,
        )  # fmt: skip
        for _, y, interval in points:
            if interval is not None:
                axes.plot([scale * edge for edge in interval], [y, y], "-", lw=1.6, color=colour, alpha=0.7)
    axes.set_yticks(range(len(table.rows)), [name.replace("accuracy", "Accuracy") for name, _ in table.rows])
    axes.set(ylim=(len(table.rows) - 0.5, -0.5), xlim=(0, None), title=panel.title)
    axes.set_xlabel("%" if table.percent else "MRR, share of queries")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=_GREY, alpha=0.25)
    for row in range(1, len(table.rows)):
        axes.axhline(row - 0.5, color=_GREY, alpha=0.25, lw=0.6)
    axes.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.45, -0.42 / _axes_height(table)))


def _axes_height(table: Table) -> float:
    return len(table.rows) * (_GROUP + _LINE * len(table.columns))


def _height(table: Table) -> float:
    return _ROOM + _axes_height(table) + 0.2 * len(table.columns)


def _joined(first: Table, second: Table) -> Table:
    """Both tables' shares over the columns of the first, which the second may lack."""
    more = [(name, (*cells, *[None] * (len(first.columns) - len(cells)))) for name, cells in _shares(second).rows]
    return Table(first.caption, first.columns, (*_shares(first).rows, *more), first.percent)


def _shares(table: Table) -> Table:
    rows = tuple(row for row in table.rows if row[0] not in RANKS)
    return Table(table.caption, table.columns, rows, table.percent)


def _short(name: str) -> str:
    short = name if len(name) <= 40 else f"…{name[-39:]}"
    return short.replace("$", r"\$")  # no formulas
