"""The page of an ablation: Markdown with a table and a plot for each data set."""

import io
from collections.abc import Sequence
from pathlib import Path

from clip_italian.charts import GREEN, GREY, STYLE
from clip_italian.config import Recipe
from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.stats.card import table
from clip_italian.train.ablate import MAIN_FIGURE, DataSet, Spread, difference, spread
from clip_italian.train.journal import Record
from clip_italian.train.variants import BASELINE, Variant

MARK = "<!-- Written by `clip-italian ablate`; the next run writes it again. -->"


def write(
    page: Path, recipe: Recipe, variants: Sequence[Variant], data: Sequence[DataSet], results: Sequence[Record],
    command: str, machine: str,
) -> list[Path]:  # fmt: skip
    """Write the page and, beside it under the same name, its plot; return both paths.

    Raises UserError where the page is there already and is not ours.
    """
    if page.exists() and MARK not in page.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{page}: written by somebody else; choose another page (-o)")
    plot = page.with_suffix(".svg")
    with staged(plot) as temporary:
        temporary.write_text(draw(variants, data, results), encoding="utf-8")
    with staged(page) as temporary:
        temporary.write_text(markdown(recipe, variants, data, results, plot.name, command, machine), encoding="utf-8")
    return [page, plot]


def markdown(
    recipe: Recipe, variants: Sequence[Variant], data: Sequence[DataSet], results: Sequence[Record], plot: str,
    command: str, machine: str,
) -> str:  # fmt: skip
    """The page's text."""
    seeds = sorted({result["seed"] for result in results})
    minutes = sum(result["seconds"] for result in results) / 60
    start = {"random": "random projections", "ridge": "the closed-form start", "kept": "the base's projections"}
    parts = [
        MARK,
        "# What each edit brings",
        f"One edit of the recipe at a time, from {start[recipe.model.start]}, over {_plural(len(seeds), 'seed')}"
        f" ({', '.join(map(str, seeds))}). {MAIN_FIGURE}, text to image, on the validation pictures, at the best"
        " validation loss of each run: what training keeps. ± is the sample standard deviation over the seeds. The"
        " last columns are taken seed by seed, a variant less the recipe as it is, so that what the seeds share falls"
        " out. A seed draws the first weights, the order, the augmentation and, where the pairs file names no splits,"
        " the validation pictures.",
        f"![{MAIN_FIGURE} of every run]({plot})",
        "\n".join(f"- **{variant.name}**: {variant.what}" for variant in variants),
    ]
    for one in data:
        of_data = [result for result in results if result["data"] == one.name]
        queries, gallery, untrained = of_data[0]["queries"], of_data[0]["gallery"], of_data[0]["untrained"]
        parts += [
            f"## {one.name}",
            f"{queries:,} captions as queries, {gallery:,} pictures in the gallery; {MAIN_FIGURE} before training"
            f" {untrained:.3f}.",
            _table(variants, results, one.name),
        ]
    parts += [
        "## How",
        f"{_plural(len(results), 'run')}, {minutes:.0f} minutes of steps in all, evaluations and the frozen layers'"
        f" features not counted; {machine}. One command, which goes on where it was interrupted:",
        f"    {command}",
        "A recipe's figure for one seed moves by as much as the standard deviation says: differences that are not"
        " clearly larger are no differences.",
    ]
    return "\n\n".join(parts) + "\n"


def draw(variants: Sequence[Variant], data: Sequence[DataSet], results: Sequence[Record]) -> str:
    """An SVG: a panel for each data set, a row for each variant, a dot for each seed and a bar for their mean."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [variant.name for variant in variants]
    # Letters as outlines: the picture stands in pages whose fonts are not ours.
    with pyplot.rc_context({**STYLE, "svg.fonttype": "path", "svg.hashsalt": "ablation"}):
        figure, panels = pyplot.subplots(
            1, len(data), figsize=(1.6 + 3.4 * len(data), 0.9 + 0.34 * len(names)), sharey=True, squeeze=False
        )
        figure.set_layout_engine("constrained", w_pad=0.12)
        for axes, one in zip(panels[0], data, strict=True):
            for row, name in enumerate(names):
                found = spread(results, one.name, name, MAIN_FIGURE)
                axes.plot(found.values, [row] * len(found.values), "o", ms=4, color=GREY, alpha=0.8, mew=0)
                axes.plot([found.mean] * 2, [row - 0.28, row + 0.28], color=GREEN, linewidth=2.5)
            base = spread(results, one.name, BASELINE, MAIN_FIGURE).mean
            axes.axvline(base, color=GREY, linestyle=":", linewidth=1, zorder=0)
            axes.set(title=one.name, xlabel=f"{MAIN_FIGURE}, validation")
            axes.set_yticks(range(len(names)), names)
        panels[0][0].invert_yaxis()
        sink = io.StringIO()
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None})
        pyplot.close(figure)
    return sink.getvalue()


def _table(variants: Sequence[Variant], results: Sequence[Record], data: str) -> str:
    rows = []
    for variant in variants:
        name = variant.name
        apart = difference(results, data, name, MAIN_FIGURE)
        rows.append(
            (
                name,
                _spread(spread(results, data, name, MAIN_FIGURE)),
                _spread(spread(results, data, name, "R@10")),
                "" if name == BASELINE else f"{apart.mean:+.3f} ± {apart.deviation:.3f}",
                f"{spread(results, data, name, 'scale').mean:.1f}",
                f"{spread(results, data, name, 'seconds').mean:.0f} s",
            )
        )
    header = ("variant", MAIN_FIGURE, "R@10", f"{MAIN_FIGURE}, difference", "scale at the end", "steps took")
    return table(header, rows)


def _spread(found: Spread) -> str:
    return f"{found.mean:.3f} ± {found.deviation:.3f}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
