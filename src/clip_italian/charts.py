"""Small line charts as SVG, readable on light and dark pages and as wide as a telephone."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

GREY, GREEN, BLUE, RED = "#7a8590", "#1a9a5c", "#3b7dd8", "#d5443a"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Line:
    """One line of a chart; points whose places are in `marked` are ringed in red."""

    x: Sequence[float]
    y: Sequence[float]
    label: str
    colour: str
    dots: bool = False
    marked: Sequence[int] = ()


def draw(lines: Sequence[Line], borders: Sequence[float] = (), floor: float | None = None) -> str:
    """An SVG element with the lines over steps; dotted uprights at `borders`; the y axis from `floor`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = [line for line in lines if line.x]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(4.4, 2.5))
        # Fixed margins: to find them out takes matplotlib longer than all the drawing.
        figure.subplots_adjust(left=0.12, right=0.98, top=0.9, bottom=0.19)
        for line in lines:
            style = {"marker": "o", "markersize": 3} if line.dots else {"linewidth": 1.1}
            axes.plot(line.x, line.y, color=line.colour, label=line.label, **style)
            axes.plot(
                [line.x[at] for at in line.marked], [line.y[at] for at in line.marked], "o", ms=8, mfc="none", color=RED
            )
        for border in borders:
            axes.axvline(border, color=GREY, linestyle=":", linewidth=1)
        axes.set(xlabel="step")
        if floor is not None:
            axes.set_ylim(floor, None)
        if len(lines) > 1:
            axes.legend(frameon=False)
        sink = io.StringIO()
        figure.savefig(sink, format="svg", transparent=True)
        pyplot.close(figure)
    svg = sink.getvalue()
    return svg[svg.index("<svg") :]
