"""All charts of the package, in one style: lines, points with intervals, bars, histograms, scatter plots.

Each function returns a `Chart`, which `svg` and `write_png` draw. Transparent charts, for HTML pages, have grey text,
readable on light and dark backgrounds; text on white is dark.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK, GREY, PALE = "#22272b", "#7a8590", "#a3b8d3"
GREEN, BLUE, RED = "#1a9a5c", "#3b7dd8", "#d5443a"
# Colours that colour-blind people can distinguish (Okabe and Ito 2008) and that show on white and on black. Markers
# distinguish series where colours repeat or cannot be seen.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = ("o", "s", "^", "v", "P", "X", "D")
_DPI = 150
_SMALL = 9  # points, also of legends and of numbers beside bars
_BARS_WIDTH = 9.0  # inches, as the next ones
_INTERVALS_WIDTH, _MARGIN, _SERIES_HEIGHT, _ROW_GAP = 4.6, 1.3, 0.17, 0.16


@dataclass(frozen=True)
class Chart:
    """A chart before it is drawn: width and height in inches, the function that draws it, and its style.

    `baseline`: with a line at the left; `margins`: fixed ones, as shares of width and height, instead of a layout.
    """

    width: float
    height: float
    draw: "Callable[[Figure], None]"
    font_size: int = 10
    baseline: bool = True
    margins: dict[str, float] | None = None


@dataclass(frozen=True)
class Line:
    """A line of a line chart; points at the positions in `marked` get a red ring."""

    x: Sequence[float]
    y: Sequence[float]
    label: str
    colour: str
    dots: bool = False
    marked: Sequence[int] = ()


@dataclass(frozen=True)
class Series:
    """A value for each row of a panel, with its interval; None where there is none. `hollow`: for reference only."""

    label: str
    values: Sequence[float | None]
    intervals: Sequence[tuple[float, float] | None]
    hollow: bool = False


@dataclass(frozen=True)
class Panel:
    """Series over the same rows, in one unit."""

    title: str
    unit: str
    rows: Sequence[str]
    series: Sequence[Series]


@dataclass(frozen=True)
class Dots:
    """Values of each row of a dot chart; a dotted upright marks `reference`."""

    title: str
    values: Sequence[Sequence[float]]
    reference: float


def svg(chart: Chart, background: str | None = None, outlines: bool = False) -> str:
    """The chart as an SVG element, transparent unless it has a `background`.

    `outlines`: letters are drawn as paths, for pages with other fonts. The same chart gives the same text.
    """
    sink = io.StringIO()
    _save(chart, sink, "svg", background, outlines)
    text = sink.getvalue()
    return text[text.index("<svg") :]


def write_png(chart: Chart, path: Path) -> None:
    """Write the chart as PNG on white, whatever the file's suffix."""
    with path.open("wb") as file:
        _save(chart, file, "png", "white", outlines=False)


def line_chart(some: Sequence[Line], borders: Sequence[float] = (), floor: float | None = None) -> Chart:
    """Lines over steps, as wide as a phone's screen; dotted uprights at `borders`; the y axis starts at `floor`."""
    some = [line for line in some if line.x]

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for line in some:
            style: dict[str, Any] = {"marker": "o", "markersize": 3} if line.dots else {"linewidth": 1.1}
            axes.plot(line.x, line.y, color=line.colour, label=line.label, **style)
            ringed = [line.x[at] for at in line.marked], [line.y[at] for at in line.marked]
            axes.plot(*ringed, "o", ms=8, mfc="none", color=RED)
        for border in borders:
            axes.axvline(border, color=GREY, linestyle=":", linewidth=1)
        axes.set(xlabel="step")
        if floor is not None:
            axes.set_ylim(floor, None)
        if len(some) > 1:
            axes.legend(frameon=False)

    # Finding the margins would take matplotlib longer than the rest of the drawing.
    return Chart(4.4, 2.5, draw, _SMALL, margins={"left": 0.12, "right": 0.98, "top": 0.9, "bottom": 0.19})


def interval_chart(panels: Sequence[Panel]) -> Chart:
    """Points with their intervals: panels below each other, a group of points for each row, a colour for a series."""
    heights = [_MARGIN + _rows_height(panel) + 0.2 * len(panel.series) for panel in panels]

    def draw(figure: "Figure") -> None:
        axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for panel, one in zip(panels, axes, strict=True):
            _draw_intervals(one, panel)

    return Chart(_INTERVALS_WIDTH, sum(heights), draw, baseline=False)


def dot_chart(columns: Sequence[Dots], rows: Sequence[str], unit: str) -> Chart:
    """Panels beside each other: in each row a dot for each value, and a bar for their mean."""

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        figure.set_layout_engine("constrained", w_pad=0.12)
        for axes, column in zip(panels, columns, strict=True):
            for row, values in enumerate(column.values):
                mean = sum(values) / len(values)
                axes.plot(values, [row] * len(values), "o", ms=4, color=GREY, alpha=0.8, mew=0)
                axes.plot([mean, mean], [row - 0.28, row + 0.28], color=GREEN, linewidth=2.5)
            axes.axvline(column.reference, color=GREY, linestyle=":", linewidth=1, zorder=0)
            axes.set(title=column.title, xlabel=unit)
            axes.set_yticks(range(len(rows)), rows)
        panels[0].invert_yaxis()

    return Chart(1.6 + 3.4 * len(columns), 0.9 + 0.34 * len(rows), draw, _SMALL)


def paired_bars(rows: Sequence[tuple[str, int, int | None]], labels: tuple[str, str], unit: str) -> Chart:
    """Two bars for each row, (name, first, second or None), with their numbers."""
    longest = max(max(first, second or 0) for _, first, second in rows)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for place, (_, first, second) in enumerate(rows):
            for shift, length, colour in ((-0.19 if second is not None else 0, first, GREEN), (0.19, second, PALE)):
                if length is not None:
                    axes.barh(place + shift, length, 0.36, color=colour)
                    _number(axes, length, place + shift, longest)
        for label, colour in zip(labels, (GREEN, PALE), strict=True):
            axes.barh([0], [0], color=colour, label=label)
        _finish_bars(axes, [name for name, _, _ in rows], unit, longest, legend_columns=2)

    return Chart(_BARS_WIDTH, 1.0 + 0.6 * len(rows), draw)


def stacked_bars(rows: Sequence[str], parts: Sequence[tuple[str, Sequence[int]]], unit: str) -> Chart:
    """A bar for each row with its sum, stacked from `parts`: a label, and a length for each row."""
    totals = [sum(lengths) for lengths in zip(*(lengths for _, lengths in parts), strict=True)]
    labels = [_short(label, 30) for label, _ in parts]

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        left = [0] * len(rows)
        for number, (_, lengths) in enumerate(parts):
            colour = COLOURS[number % len(COLOURS)]
            axes.barh(range(len(rows)), lengths, 0.7, left, color=colour, label=labels[number])
            left = [before + length for before, length in zip(left, lengths, strict=True)]
        for place, total in enumerate(totals):
            _number(axes, total, place, max(totals))
        _finish_bars(axes, rows, unit, max(totals), legend_columns=max(1, 100 // (max(map(len, labels)) + 7)))

    return Chart(_BARS_WIDTH, 1.2 + 0.32 * len(rows), draw)


def histogram(heights: Sequence[int], median: int, xlabel: str, ylabel: str) -> Chart:
    """A bar for each whole number from 0, and a dotted upright at the median."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.bar(range(len(heights)), heights, 0.9, color=GREEN)
        axes.axvline(median, color=INK, linewidth=0.8, linestyle=":")
        axes.text(median, 1.02, f"median {median}", ha="center", transform=axes.get_xaxis_transform(), fontsize=_SMALL)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.set_xlim(-0.7, len(heights) - 0.3)
        _count_axis(axes.yaxis)
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=GREY, alpha=0.25)

    return Chart(_BARS_WIDTH, 3.2, draw)


def scatter(points: Sequence[tuple[int, int]], areas: Sequence[float], xlabel: str, ylabel: str) -> Chart:
    """Points of given areas (square points) on equal logarithmic axes, and a dashed diagonal marked “square”."""
    low, high = min(map(min, points)) * 0.6, max(map(max, points)) * 1.7  # room for at least one tick

    def draw(figure: "Figure") -> None:
        from matplotlib.ticker import LogLocator, NullLocator

        axes = figure.subplots()
        x, y = zip(*points, strict=True)
        axes.scatter(x, y, s=areas, color=BLUE, alpha=0.4, linewidths=0)
        axes.plot([low, high], [low, high], color=GREY, linewidth=0.8, linestyle="--", zorder=0)
        axes.annotate("square", (low, low), (16, 6), textcoords="offset points", color=GREY, fontsize=_SMALL)
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set(xlabel=xlabel, ylabel=ylabel)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:,.0f}")
            axis.set_minor_locator(NullLocator())
        axes.set_axisbelow(True)
        axes.grid(color=GREY, alpha=0.25)

    return Chart(6.0, 5.5, draw)


def _save(chart: Chart, sink: IO[Any], form: str, background: str | None, outlines: bool) -> None:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    text = INK if background else GREY
    style: dict[Any, Any] = {
        "font.family": ["DejaVu Sans", "sans-serif"], "font.size": chart.font_size, "text.color": text,
        "axes.labelcolor": text, "axes.edgecolor": GREY, "xtick.color": text, "ytick.color": text,
        "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": chart.baseline,
        "svg.fonttype": "path" if outlines else "none",
    }  # fmt: skip
    # matplotlib reads the style when it makes a part of the chart, some parts only when it saves them.
    with rc_context(style):
        figure = Figure(figsize=(chart.width, chart.height), dpi=_DPI)
        FigureCanvasAgg(figure)
        if chart.margins:
            figure.subplots_adjust(**chart.margins)
        else:
            figure.set_layout_engine("constrained")
        chart.draw(figure)
        # No date, and ids from a salt: the same chart gives the same bytes.
        with rc_context({"svg.hashsalt": figure.axes[0].get_title() or "clip-italian"}):
            metadata = {"Date": None} if form == "svg" else None
            figure.savefig(
                sink, format=form, metadata=metadata, facecolor=background or "none", transparent=background is None
            )


def _draw_intervals(axes: "Axes", panel: Panel) -> None:
    step = 1 / (len(panel.series) + 1)
    for place, series in enumerate(panel.series):
        colour = GREY if series.hollow else COLOURS[place % len(COLOURS)]
        points = [
            (value, row + (place + 1) * step - 0.5, interval)
            for row, (value, interval) in enumerate(zip(series.values, series.intervals, strict=True))
            if value is not None
        ]
        axes.plot(
            [x for x, _, _ in points], [y for _, y, _ in points], _MARKERS[place % len(_MARKERS)], ms=5, color=colour,
            label=_short(series.label, 40, keep_end=True), mfc="none" if series.hollow else colour, clip_on=False,
        )  # fmt: skip
        for _, y, interval in points:
            if interval is not None:
                axes.plot(interval, [y, y], "-", lw=1.6, color=colour, alpha=0.7)
    axes.set_yticks(range(len(panel.rows)), panel.rows)
    axes.set(ylim=(len(panel.rows) - 0.5, -0.5), xlim=(0, None), title=panel.title)
    axes.set_xlabel(panel.unit)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=GREY, alpha=0.25)
    for row in range(1, len(panel.rows)):
        axes.axhline(row - 0.5, color=GREY, alpha=0.25, lw=0.6)
    below = (0.45, -0.42 / _rows_height(panel))
    axes.legend(frameon=False, fontsize=_SMALL, loc="upper center", bbox_to_anchor=below)


def _rows_height(panel: Panel) -> float:
    return len(panel.rows) * (_ROW_GAP + _SERIES_HEIGHT * len(panel.series))


def _number(axes: "Axes", length: int, place: float, longest: int) -> None:
    """Write a bar's length beside its end."""
    axes.text(length + longest * 0.01, place, f"{length:,}", va="center", fontsize=_SMALL)


def _finish_bars(axes: "Axes", rows: Sequence[str], unit: str, longest: int, legend_columns: int) -> None:
    axes.set_yticks(range(len(rows)), [_short(name, 30) for name in rows])
    axes.set_xlim(0, longest * 1.16)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    _count_axis(axes.xaxis)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=GREY, alpha=0.25)
    axes.legend(frameon=False, ncols=legend_columns, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)


def _count_axis(axis: "Axis") -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axis.set_major_formatter("{x:,.0f}")


def _short(name: str, most: int, keep_end: bool = False) -> str:
    """A name cut to so many letters at its end, or with `keep_end` at its beginning; $ starts no formula."""
    if len(name) > most:
        name = f"…{name[1 - most :]}" if keep_end else f"{name[: most - 1]}…"
    return name.replace("$", r"\$")
