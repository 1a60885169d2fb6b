"""What each edit of a recipe brings: variants × seeds × data sets, one run each, resumable.

runs/ablation/results.jsonl           one line a finished run
runs/ablation/DATA/VARIANT-SEED-…/    a run's history, steps and report; its weights go when it is finished
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from clip_italian import console
from clip_italian.config import Recipe
from clip_italian.files import digests
from clip_italian.train import journal
from clip_italian.train.checkpoint import FOLDER as CHECKPOINTS
from clip_italian.train.journal import Journal, Record
from clip_italian.train.run import MODEL_FOLDER, train
from clip_italian.train.variants import BASELINE, Variant
from clip_italian.train.watch import STEPS_FILE

RESULTS_FILE = "results.jsonl"
MAIN_FIGURE = "MRR@10"


@dataclass(frozen=True)
class DataSet:
    """Pairs to train on and to validate with, under a name."""

    name: str
    pairs: Path


@dataclass(frozen=True)
class Planned:
    """One run: its place in the comparison, its recipe, and what tells it from a run with other settings."""

    data: str
    variant: str
    seed: int
    recipe: Recipe
    digest: str


def plan(
    recipe: Recipe, variants: Sequence[Variant], data: Sequence[DataSet], seeds: Sequence[int], folder: Path
) -> list[Planned]:
    """All runs, seed by seed, so that every variant has been seen once as early as can be."""
    return list(_plan(recipe, variants, data, seeds, folder))


def run_all(planned: Sequence[Planned], folder: Path) -> list[Record]:
    """Do the runs that are not done; return the results of all of them, in their order.

    A run that was interrupted goes on from its last checkpoint. Raises UserError as `train` does.
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
    """The same less the baseline's, seed by seed: what the seeds share falls out."""
    own, base = (_by_seed(results, data, name, figure) for name in (variant, BASELINE))
    return Spread(tuple(own[seed] - base[seed] for seed in own))


def _by_seed(results: Sequence[Record], data: str, variant: str, figure: str) -> dict[int, float]:
    return {
        result["seed"]: result[figure] for result in results if (result["data"], result["variant"]) == (data, variant)
    }


def _plan(
    recipe: Recipe, variants: Sequence[Variant], data: Sequence[DataSet], seeds: Sequence[int], folder: Path
) -> Iterator[Planned]:
    contents = {one.name: digests.sha256_of(one.pairs) for one in data}
    for seed in seeds:
        for one in data:
            for variant in variants:
                settings = {"seed": seed, "data": recipe.data.model_copy(update={"pairs": one.pairs})}
                changed = variant.change(recipe.model_copy(update=settings))
                free: Any = {"output": True, "checkpoints": True, "tracking": True, "data": {"pairs": True}}
                parts = [one.name, contents[one.name], variant.name, changed.model_dump(mode="json", exclude=free)]
                digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
                # With the digest in its name, what a run with other settings left behind is never gone on with.
                output = folder / one.name / f"{variant.name.replace(' ', '-')}-{seed}-{digest[:6]}"
                yield Planned(one.name, variant.name, seed, changed.model_copy(update={"output": output}), digest)


def _run(one: Planned) -> Record:
    run = train(one.recipe, unfinished="resume")
    best: dict[str, Any] = run.encoder.info["validation"]
    steps = journal.read(one.recipe.output / STEPS_FILE)
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
