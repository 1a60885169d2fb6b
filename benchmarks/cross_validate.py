"""Cross-validate a recipe on a pairs file: k folds by identity, features computed once.

    python benchmarks/cross_validate.py mini ../shared/flickr8k-it/captions.jsonl --folds 5

Each fold is the gallery once, with a tenth of the other folds held out for validation as in a
run. Prints the figures of every fold and their mean. 800 photos take 4 to 5 minutes on 2 cores.
"""

import argparse
import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from clip_italian.cli.train import show_record
from clip_italian.config import load_recipe
from clip_italian.evaluate import ranks
from clip_italian.model.base import load_base
from clip_italian.pairs import image_path, read
from clip_italian.train.fit import fit, judge, prepare


def cross_validate(recipe_name: str, pairs_file: Path, folds: int) -> list[dict[str, float]]:
    """Text-to-image figures of each fold, after the last stage."""
    recipe = load_recipe(recipe_name, [f"data.pairs={pairs_file}", "output=unused"])
    pairs = read(pairs_file)
    paths = [image_path(pair, pairs_file) for pair in pairs]
    encoder = load_base(recipe.model)
    data = prepare(recipe, encoder, pairs, paths, torch.arange(len(pairs)))
    fold_of = fold_numbers(data.groups.tolist(), folds, recipe.seed)
    figures = []
    for fold in range(folds):
        held, rest = (torch.tensor(np.flatnonzero(rows)) for rows in (fold_of == fold, fold_of != fold))
        order = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(fold))]
        validation = order[: round(recipe.data.validation * len(order))].sort().values
        train = order[len(validation) :].sort().values
        mine = replace(encoder, model=copy.deepcopy(encoder.model))
        towers = fit(recipe, mine, data, train, validation, show_record)
        figures.append(judge(mine, towers, data, held))
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
