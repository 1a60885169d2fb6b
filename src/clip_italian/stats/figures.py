"""The card's figures as PNG: bars and histograms that say their unit and source."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clip_italian.stats.gather import quantile

INK, GREY, PALE, GREEN, BLUE = "#22272b", "#5a646c", "#e3e7ea", "#1a8a55", "#3b7dd8"
# Colours that the colour-blind can tell apart (Okabe and Ito 2008); stages beyond them repeat.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7a8590")
WIDTH = 9.0
DPI = 130
MAX_BARS = 20
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}


def draw_sources(rows: Sequence[tuple[str, int, int | None]], path: Path) -> None:
    """Captions by source, ours beside the paper's: (name, ours, the paper's or None)."""
    with _figure(path, 1.0 + 0.6 * len(rows)) as axes:
        longest = max(max(ours, paper or 0) for _, ours, paper in rows)
        for place, (_, ours, paper) in enumerate(rows):
            _bar(axes, place - (0.19 if paper is not None else 0), ours, GREEN, longest)
            if paper is not None:
                _bar(axes, place + 0.19, paper, "#9aa5ad", longest)
        axes.set_yticks(range(len(rows)), [_short(name) for name, _, _ in rows])
        axes.barh([0], [0], color=GREEN, label="here")
        axes.barh([0], [0], color="#9aa5ad", label="CLIP-Italian paper, Table 1")
        axes.set_xlim(0, longest * 1.16)
        _finish_bars(axes, "captions")
        axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)


def draw_rejects(rejects: Mapping[str, Counter[str]], path: Path) -> None:
    """Rejects by reason, in the colours of the stages; the most frequent reasons."""
    totals = sum(rejects.values(), Counter[str]())
    reasons = [reason for reason, _ in totals.most_common(MAX_BARS)]
    longest = max(totals.values())
    with _figure(path, 1.2 + 0.32 * len(reasons)) as axes:
        left = [0] * len(reasons)
        for number, (stage, counts) in enumerate(rejects.items()):
            widths = [counts[reason] for reason in reasons]
            axes.barh(range(len(reasons)), widths, 0.7, left, color=COLOURS[number % len(COLOURS)], label=_short(stage))
            left = [before + width for before, width in zip(left, widths, strict=True)]
        for place, total in enumerate(left):
            axes.text(total + longest * 0.01, place, f"{total:,}", va="center", fontsize=9)
        axes.set_yticks(range(len(reasons)), [_short(reason) for reason in reasons])
        axes.set_xlim(0, longest * 1.16)
        _finish_bars(axes, "rejected rows")
        columns = max(1, 100 // (max(len(_short(stage)) for stage in rejects) + 7))
        axes.legend(frameon=False, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)


def draw_lengths(words: Counter[int], path: Path) -> None:
    """Captions by number of words; those beyond the 99.5th percentile stand in the last bar."""
    last = max(quantile(words, 0.995), 10)
    heights = [words[number] for number in range(last)]
    heights.append(sum(count for number, count in words.items() if number >= last))
    beyond = any(number > last for number in words)
    with _figure(path, 3.2) as axes:
        axes.bar(range(last + 1), heights, 0.9, color=GREEN)
        median = quantile(words, 0.5)
        axes.axvline(median, color=INK, linewidth=0.8, linestyle=":")
        axes.text(median, 1.02, f"median {median}", ha="center", transform=axes.get_xaxis_transform(), fontsize=9)
        axes.set(xlabel=f"words{f' (last bar: {last} or more)' if beyond else ''}", ylabel="captions")
        axes.set_xlim(-0.7, last + 0.7)
        _count_axis(axes.yaxis)
        axes.grid(axis="y", color=PALE)


def draw_sizes(sizes: Sequence[tuple[int, int]], path: Path) -> None:
    """Width against height of pictures, in pixels."""
    with _figure(path, 5.5, width=6.0) as axes:
        shares = Counter(sizes)
        places = list(shares)
        areas = [14 + 500 * shares[place] / len(sizes) for place in places]
        axes.scatter(*zip(*places, strict=True), s=areas, color=BLUE, alpha=0.4, linewidths=0)
        low, high = min(map(min, sizes)) * 0.6, max(map(max, sizes)) * 1.7  # room for a tick at least
        axes.plot([low, high], [low, high], color=GREY, linewidth=0.8, linestyle="--", zorder=0)
        axes.annotate("square", (low, low), (16, 6), textcoords="offset points", color=GREY, fontsize=9)
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set(xlabel="width (pixels)", ylabel="height (pixels)")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(_ticker().LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:,.0f}")
            axis.set_minor_locator(_ticker().NullLocator())
        axes.grid(color=PALE)


def _bar(axes: Any, place: float, length: int, colour: str, longest: int) -> None:
    axes.barh(place, length, 0.36, color=colour)
    axes.text(length + longest * 0.01, place, f"{length:,}", va="center", fontsize=9)


def _finish_bars(axes: Any, unit: str) -> None:
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    _count_axis(axes.xaxis)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=PALE)


def _count_axis(axis: Any) -> None:
    axis.set_major_locator(_ticker().MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axis.set_major_formatter("{x:,.0f}")


def _short(name: str) -> str:
    short = name if len(name) <= 30 else f"{name[:29]}…"
    return short.replace("$", r"\$")  # no formulas


@contextmanager
def _figure(path: Path, height: float, width: float = WIDTH) -> Iterator[Any]:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=DPI)
        FigureCanvasAgg(figure)
        yield figure.subplots()
        figure.savefig(path, format="png")


def _ticker() -> Any:
    from matplotlib import ticker

    return ticker
