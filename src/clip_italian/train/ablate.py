"""Ablations of a recipe: one edit at a time, variants × seeds × data sets, and the page that compares them.

runs/ablation/results.jsonl           one line a finished run
runs/ablation/DATA/VARIANT-SEED-…/    a run's history, steps and report; its weights are removed when it is finished
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from clip_italian import charts, console
from clip_italian.config import Recipe, Stage
from clip_italian.errors import UsageError, UserError
from clip_italian.files import digests
from clip_italian.files.atomic import staged
from clip_italian.tables import aligned_markdown
from clip_italian.train import history
from clip_italian.train.checkpoint import FOLDER as CHECKPOINTS
from clip_italian.train.history import STEPS_FILE, Journal, Record
from clip_italian.train.run import MODEL_FOLDER, train

RESULTS_FILE = "results.jsonl"
MAIN_FIGURE = "MRR@10"
BASELINE = "as it is"
MARK = "<!-- Written by `clip-italian ablate`; the next run writes it again. -->"


@dataclass(frozen=True)
class Variant:
    """A name, its change in one line, and the change, which leaves the given recipe untouched."""

    name: str
    what: str
    change: Callable[[Recipe], Recipe]


def _unchanged(recipe: Recipe) -> Recipe:
    return recipe


def _adamw(recipe: Recipe) -> Recipe:
    return _stages(_part(recipe, "optimizer", name="adamw", eps=None), clipping=0.0)


def _without_frozen_stage(recipe: Recipe) -> Recipe:
    """The last stage alone, for as many epochs as all stages have; every weight at the rate that it has in the recipe.

    What the first stage trains keeps that stage's rate: new projections would get nowhere at the towers' rate.
    """
    first, last = recipe.stage[0], recipe.stage[-1]
    rates = dict.fromkeys(first.trainable, first.learning_rate / last.learning_rate)
    changes = {
        "epochs": sum(stage.epochs for stage in recipe.stage),
        # As patient as the stage that it replaces, or it would end before that one does.
        "patience": max(stage.patience for stage in recipe.stage),
        "rates": rates | last.rates,
    }
    return recipe.model_copy(update={"stage": (last.model_copy(update=changes),)})


def _learned_scale(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"stage": tuple(_also_trains(stage, "logit_scale") for stage in recipe.stage)})


def _scale_100(recipe: Recipe) -> Recipe:
    return _part(recipe, "model", logit_scale=100.0)


def _without_augmentation(recipe: Recipe) -> Recipe:
    return _stages(recipe, views=0)


def _sigmoid(recipe: Recipe) -> Recipe:
    """SigLIP's loss with its own start (Zhai et al. 2023, section 3.2): scale 10, bias -10, both learned."""
    learned = tuple(_also_trains(stage, "logit_scale", "logit_bias") for stage in recipe.stage)
    changed = _part(_part(recipe, "loss", kind="sigmoid", bias=-10.0), "model", logit_scale=10.0)
    return changed.model_copy(update={"stage": learned})


VARIANTS = (
    Variant(
        BASELINE, "AdaBelief with adaptive clipping, frozen towers first, scale 20, augmented, InfoNCE", _unchanged
    ),
    Variant("AdamW", "AdamW without clipping instead of AdaBelief with it", _adamw),
    Variant("no frozen stage", "everything that moves at the end moves from the first step", _without_frozen_stage),
    Variant("learned scale", "the logit scale starts at 20 and is trained", _learned_scale),
    Variant("scale 100", "the logit scale is fixed at 100", _scale_100),
    Variant("no augmentation", "plain pictures only", _without_augmentation),
    Variant("sigmoid loss", "SigLIP's loss with learned scale and bias instead of InfoNCE", _sigmoid),
)


def choose_variants(names: list[str]) -> tuple[Variant, ...]:
    """Variants by name, in their usual order, the baseline first; none: all. Raises UsageError for unknown names."""
    known = [variant.name for variant in VARIANTS]
    for name in names:
        if name not in known:
            raise UsageError(f"{name!r}: no such variant; choose among {', '.join(known)}")
    return tuple(variant for variant in VARIANTS if not names or variant.name in (BASELINE, *names))


def _part(recipe: Recipe, name: str, /, **values: Any) -> Recipe:
    return recipe.model_copy(update={name: getattr(recipe, name).model_copy(update=values)})


def _stages(recipe: Recipe, **values: Any) -> Recipe:
    return recipe.model_copy(update={"stage": tuple(stage.model_copy(update=values) for stage in recipe.stage)})


def _also_trains(stage: Stage, *patterns: str) -> Stage:
    return stage.model_copy(update={"trainable": (*stage.trainable, *patterns)})


@dataclass(frozen=True)
class DataSet:
    """Pairs to train and validate on, with a name."""

    name: str
    pairs: Path


@dataclass(frozen=True)
class Planned:
    """One run: its place in the comparison, its recipe, and a digest of its settings and data."""

    data: str
    variant: str
    seed: int
    recipe: Recipe
    digest: str


def plan(
    recipe: Recipe, variants: Sequence[Variant], data: Sequence[DataSet], seeds: Sequence[int], folder: Path
) -> list[Planned]:
    """All runs, seed by seed, so that every variant is seen once as early as possible."""
    contents = {one.name: digests.sha256_of(one.pairs) for one in data}
    planned = []
    for seed in seeds:
        for one in data:
            for variant in variants:
                settings = {"seed": seed, "data": recipe.data.model_copy(update={"pairs": one.pairs})}
                changed = variant.change(recipe.model_copy(update=settings))
                free: Any = {"output": True, "checkpoints": True, "tracking": True, "data": {"pairs": True}}
                parts = [one.name, contents[one.name], variant.name, changed.model_dump(mode="json", exclude=free)]
                digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
                # With the digest in its name, a run never resumes one with other settings.
                output = folder / one.name / f"{variant.name.replace(' ', '-')}-{seed}-{digest[:6]}"
                changed = changed.model_copy(update={"output": output})
                planned.append(Planned(one.name, variant.name, seed, changed, digest))
    return planned


def run_all(planned: Sequence[Planned], folder: Path) -> list[Record]:
    """Do the runs that are not done yet; return the results of all, in their order.

    An interrupted run resumes from its last checkpoint. Raises UserError as `train` does.
    """
    done: dict[str, Record] = {}

    def remember(result: Record) -> None:
        done[result["digest"]] = result

    results = Journal.reopen(folder / RESULTS_FILE, lambda _: True, remember)
    for number, one in enumerate(planned, start=1):
        if one.digest not in done:
            console.notice(f"run {number} of {len(planned)}: {one.data}, {one.variant}, seed {one.seed}")
            result = _run(one)
            results.append(result)
            remember(result)
            for name in (MODEL_FOLDER, CHECKPOINTS):
                shutil.rmtree(one.recipe.output / name, ignore_errors=True)
    results.close()
    return [done[one.digest] for one in planned]


def _run(one: Planned) -> Record:
    run = train(one.recipe, unfinished="resume")
    best: dict[str, Any] = run.encoder.info["validation"]
    steps = history.read(one.recipe.output / STEPS_FILE)
    result: Record = {"digest": one.digest, "data": one.data, "variant": one.variant, "seed": one.seed}
    start = run.history[0]
    return (
        result
        | best
        | {
            "untrained": start[MAIN_FIGURE],
            "scale": run.encoder.parts.logit_scale.exp().item(),
            "steps": len(steps),
            "seconds": sum(step["seconds"] for step in steps),
        }
    )


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (0 of one value) of some values."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Arithmetic mean."""
        return fmean(self.values)

    @property
    def deviation(self) -> float:
        """Sample standard deviation."""
        return stdev(self.values) if len(self.values) > 1 else 0.0


def spread(results: Sequence[Record], data: str, variant: str, figure: str) -> Spread:
    """A figure of one variant on one data set over its seeds."""
    return Spread(tuple(_by_seed(results, data, variant, figure).values()))


def difference(results: Sequence[Record], data: str, variant: str, figure: str) -> Spread:
    """The same minus the baseline's, seed by seed, which cancels what a seed changes in both."""
    own, base = (_by_seed(results, data, name, figure) for name in (variant, BASELINE))
    return Spread(tuple(own[seed] - base[seed] for seed in own))


def _by_seed(results: Sequence[Record], data: str, variant: str, figure: str) -> dict[int, float]:
    return {
        result["seed"]: result[figure] for result in results if (result["data"], result["variant"]) == (data, variant)
    }


def write_page(
    page: Path, recipe: Recipe, variants: Sequence[Variant], data: Sequence[DataSet], results: Sequence[Record],
    command: str, machine: str,
) -> list[Path]:  # fmt: skip
    """Write the page in Markdown and its plot with the same name; return both paths.

    Raises UserError where the page exists and was not written by this function.
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
        f" features not counted; {machine}. One command, which resumes after an interruption:",
        f"    {command}",
        "A recipe's figure for one seed moves by as much as the standard deviation says: differences that are not"
        " clearly larger are no differences.",
    ]
    return "\n\n".join(parts) + "\n"


def draw(variants: Sequence[Variant], data: Sequence[DataSet], results: Sequence[Record]) -> str:
    """An SVG: a panel for each data set, a row for each variant, a dot for each seed and a bar for their mean."""
    names = [variant.name for variant in variants]
    columns = [
        charts.Dots(
            one.name,
            [spread(results, one.name, name, MAIN_FIGURE).values for name in names],
            spread(results, one.name, BASELINE, MAIN_FIGURE).mean,
        )
        for one in data
    ]
    # Letters as outlines: pages that show the plot have other fonts.
    return charts.svg(charts.dot_chart(columns, names, f"{MAIN_FIGURE}, validation"), outlines=True)


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
    return aligned_markdown(header, rows)


def _spread(found: Spread) -> str:
    return f"{found.mean:.3f} ± {found.deviation:.3f}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
