"""Cross-validate a recipe on a pairs file: k folds by identity, features computed once.

    python benchmarks/cross_validate.py mini ../shared/flickr8k-it/captions.jsonl --folds 5

Each fold is the gallery once, with a tenth of the other folds held out for validation as in a
run. Prints the figures of every fold and their mean. 800 photos take 4 to 5 minutes on 2 cores.
"""

import argparse
import copy
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from clip_italian.cli.train import show_record
from clip_italian.config import load_recipe
from clip_italian.evaluate import ranks
from clip_italian.model.base import load_base
from clip_italian.train.checkpoint import Checkpoints
from clip_italian.train.examples import load_examples
from clip_italian.train.fit import fit, prepare
from clip_italian.train.processes import Processes
from clip_italian.train.stage import Record, Surroundings
from clip_italian.train.watch import NoWatch


class Shown(NoWatch):
    """Says each evaluation and writes nothing."""

    def evaluation(self, record: Record) -> None:
        super().evaluation(record)
        show_record(record)


def cross_validate(recipe_name: str, pairs_file: Path, folds: int) -> list[dict[str, float]]:
    """Text-to-image figures of each fold, after the last stage."""
    recipe = load_recipe(recipe_name, [f"data.pairs={pairs_file}", "output=unused"])
    examples = load_examples(recipe)
    torch.manual_seed(recipe.seed)
    encoder = load_base(recipe.model)
    data = prepare(recipe, encoder, examples, torch.arange(len(examples)))
    fold_of = fold_numbers(examples.groups.tolist(), folds, recipe.seed)
    figures = []
    for fold in range(folds):
        held, rest = (torch.tensor(np.flatnonzero(rows)) for rows in (fold_of == fold, fold_of != fold))
        order = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(fold))]
        validation = order[: round(recipe.data.validation * len(order))].sort().values
        train = order[len(validation) :].sort().values
        mine = replace(encoder, model=copy.deepcopy(encoder.model))
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = Checkpoints(Path(folder), keep=1, writes=True)
            around = Surroundings(checkpoints, {}, 0, Shown(), Processes(), lambda: False)
            judge = fit(recipe, mine, data, train, validation, around)
        figures.append(judge(held))
        print(f"fold {fold}: {json.dumps(ranks.rounded(figures[-1]))}", flush=True)
    return figures


def fold_numbers(identities: list[int], folds: int, seed: int) -> np.ndarray:
    """A fold for each row, the same for rows of one identity, folds about equally large."""
    names = np.unique(identities)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    number = dict(zip(names.tolist(), (shuffled % folds).tolist(), strict=True))
    return np.array([number[identity] for identity in identities])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    results = cross_validate(arguments.recipe, arguments.pairs, arguments.folds)
    means = {key: float(np.mean([figures[key] for figures in results])) for key in results[0]}
    print("mean", json.dumps(ranks.rounded(means)))
    spread = np.std([figures["MRR@10"] for figures in results], ddof=1)
    print(f"MRR@10 {means['MRR@10']:.3f}, standard deviation over folds {spread:.3f}")
