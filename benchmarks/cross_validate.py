"""Cross-validate a recipe on a pairs file: k folds by identity, features computed once.

    python benchmarks/cross_validate.py mini ../shared/flickr8k-it/captions.jsonl --folds 5

Each fold is the gallery once, with a tenth of the other folds held out for validation as in a
run. Prints the figures of every fold and their mean. 800 photos take 4 to 5 minutes on 2 cores.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from clip_italian import console
from clip_italian.config import load_recipe
from clip_italian.evaluate import ranks, retrieval
from clip_italian.model.base import load_base
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.pairs import Pair, image_path, read
from clip_italian.split import concept_groups
from clip_italian.train import batches, freeze, run
from clip_italian.train.stage import Examples, run_stage
from clip_italian.train.towers import Towers, keep, open_towers


def cross_validate(recipe_name: str, pairs_file: Path, folds: int) -> list[dict[str, float]]:
    """Text-to-image figures of each fold, after the last stage."""
    recipe = load_recipe(recipe_name, [f"data.pairs={pairs_file}", "output=unused"])
    pairs = read(pairs_file)
    paths = [image_path(pair, pairs_file) for pair in pairs]
    captions = batches.flatten_captions(pairs, with_original=recipe.data.original_captions > 0)
    groups = batches.identity_numbers(pairs)
    fold_of = fold_numbers(concept_groups(pairs), folds, recipe.seed)

    encoder = load_base(recipe.model)
    everywhere = [pattern for stage in recipe.stage for pattern in stage.trainable]
    freeze.apply(encoder.model, everywhere, ["*"])
    views = max(stage.views for stage in recipe.stage)
    with console.progress("features", len(paths) * (views + 1)) as advance:
        kept = keep(encoder, paths, captions.texts, views, recipe.augmentation, advance)
    untrained = {name: value.clone() for name, value in encoder.model.state_dict().items()}

    figures = []
    for fold in range(folds):
        encoder.model.load_state_dict(untrained)
        held, rest = (torch.tensor(np.flatnonzero(rows)) for rows in (fold_of == fold, fold_of != fold))
        order = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(fold))]
        validation = order[: round(recipe.data.validation * len(order))].sort().values
        train_rows = order[len(validation) :].sort().values
        examples = Examples(train_rows, captions, groups, recipe.data.original_captions)
        generator = torch.Generator().manual_seed(recipe.seed)
        for number, stage in enumerate(recipe.stage):
            moving = freeze.apply(encoder.model, stage.trainable, stage.frozen)
            towers = open_towers(kept, encoder, paths, captions.texts, recipe.augmentation, recipe.seed + number)
            judge = run.make_judge(encoder, towers, pairs, validation, captions)
            if number == 0 and recipe.model.start == "ridge":
                run.start_in_closed_form(encoder, towers, examples)
                start = measure(encoder, towers, pairs, held, captions)
                print(f"fold {fold} closed-form start: {json.dumps(ranks.rounded(start))}", flush=True)
            run_stage(stage, encoder.model, moving, towers, examples, generator, judge, lambda _: None)
            figures_now = measure(encoder, towers, pairs, held, captions)
            print(f"fold {fold} after {stage.name}: {json.dumps(ranks.rounded(figures_now))}", flush=True)
        figures.append(figures_now)
    return figures


def fold_numbers(identities: list[int], folds: int, seed: int) -> np.ndarray:
    """A fold for each row, the same for rows of one identity, folds about equally large."""
    names = np.unique(identities)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    number = dict(zip(names.tolist(), (shuffled % folds).tolist(), strict=True))
    return np.array([number[identity] for identity in identities])


@torch.no_grad()
def measure(
    encoder: DualEncoder, towers: Towers, pairs: list[Pair], rows: torch.Tensor, captions: batches.Captions
) -> dict[str, float]:
    """Text-to-image figures on `rows`, plain view."""
    held = [pairs[row] for row in rows.tolist()]
    data = retrieval.retrieval_set(held)
    number = {captions.texts[text]: text for row in rows.tolist() for text in captions.own[row]}
    texts = run.pooled_texts(towers, torch.tensor([number[caption] for caption in data.captions]))
    unit = torch.nn.functional.normalize
    images = unit(encoder.model.visual_projection(run.pooled_images(towers, rows)), dim=1).numpy()
    queries = unit(encoder.model.text_projection(texts), dim=1).numpy()
    return ranks.summary(ranks.ranks(queries, images, data.images_of), len(images))


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
