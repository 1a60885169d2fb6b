"""Cross-validate a recipe on a pairs file: k folds by identity, features computed once; results and a report.

    python benchmarks/cross_validate.py mini ../shared/flickr8k-it/captions.jsonl -o runs/flickr8k-it

Each fold is the gallery once, with a tenth of the other folds held out for validation as in a run. Every caption is a
query (the paper's way). Beside the recipe two models are measured that nobody trained: its start with random
projections, and for `mini` the class-name bridge (`bridge.py`). With -o each becomes a result of `evaluate`, pooled
over the folds, and all become a report.
"""

import argparse
import copy
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import folds
import numpy as np
import torch
from bridge import bridge

from clip_italian import languages, pairs
from clip_italian.cli.train import show_record
from clip_italian.config import Recipe, load_recipe
from clip_italian.evaluate import ranks, report, results, retrieval
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.evaluate.retrieval import Retrieved
from clip_italian.evaluate.run import EmbeddedPairs, NamedModel, embed_pairs
from clip_italian.models_torch import mini
from clip_italian.models_torch.base import load_base
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.pictures import leaks
from clip_italian.train.checkpoint import Checkpoints
from clip_italian.train.data import Examples, load_examples
from clip_italian.train.history import Record
from clip_italian.train.loop import Prepared, Trainer, prepare
from clip_italian.train.monitor import SilentMonitor

TRAINED, BRIDGE, RANDOM = "trained", "class names, no training", "random projections"


class Shown(SilentMonitor):
    """Says each evaluation and writes nothing."""

    def evaluation(self, record: Record) -> None:
        super().evaluation(record)
        show_record(record)


@dataclass(frozen=True)
class Fold:
    """Results of one fold: its pictures, each system's ranks and facts, and the number of training pictures in it."""

    data: EmbeddedPairs
    found: Mapping[str, Retrieved]
    facts: Mapping[str, dict[str, Any]]
    seen: int


def cross_validate(recipe: Recipe, count: int) -> Iterator[Fold]:
    """Train on all folds but one, measure on that one, `count` times; the untrained systems beside."""
    examples = load_examples(recipe)
    torch.manual_seed(recipe.seed)
    encoder = load_base(recipe.model)
    untrained = {RANDOM: replace(encoder, model=copy.deepcopy(encoder.model))}
    if recipe.model.base == "mini" and recipe.model.vision is None:
        names = [one.label for one in languages.get(recipe.language).imagenet]
        untrained[BRIDGE] = bridge(replace(encoder, model=copy.deepcopy(encoder.model)), mini.classifier(), names)
    data = prepare(recipe, encoder, examples, torch.arange(len(examples)))
    paths = [Path(examples.pictures.name(row)) for row in range(len(examples))]
    _, prints = leaks.fingerprints(paths)
    fold_of = fold_numbers(examples.groups.tolist(), count, recipe.seed)
    for fold in range(count):
        held, rest = (torch.tensor(np.flatnonzero(rows)) for rows in (fold_of == fold, fold_of != fold))
        mine = trained(recipe, encoder, data, rest, fold)
        seen = sum(reason is not None for reason in some(prints, held).found_in(some(prints, rest)))
        yield measured({TRAINED: mine} | untrained, examples, held, recipe.data.pairs, seen)


def trained(recipe: Recipe, encoder: DualEncoder, data: Prepared, rest: torch.Tensor, fold: int) -> DualEncoder:
    """A copy of the encoder, trained on most of the rows `rest` and validated on the others."""
    order = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(fold))]
    validation = order[: round(recipe.data.validation * len(order))].sort().values
    train = order[len(validation) :].sort().values
    mine = replace(encoder, model=copy.deepcopy(encoder.model))
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), keep=1, writes=True)
        Trainer(recipe, mine, data, train, validation, checkpoints, Shown()).run()
    mine.model.eval()
    return mine


def measured(
    systems: Mapping[str, DualEncoder], examples: Examples, held: torch.Tensor, pairs_file: Path, seen: int
) -> Fold:
    """Measure all systems on the rows `held`, whose pictures are decoded once."""
    models = [NamedModel(name, name, encoder) for name, encoder in systems.items()]
    embedded = embed_pairs(models, examples.pairs(held), pairs_file, {})
    found = {
        one.model.name: retrieval.measure(one.model.encoder, one.images, one.pairs, merge=False) for one in embedded
    }
    facts = {name: encoder.facts() for name, encoder in systems.items()}
    return Fold(embedded[0], found, facts, seen)


def some(prints: leaks.Fingerprints, rows: torch.Tensor) -> leaks.Fingerprints:
    """The fingerprints of some rows."""
    chosen = rows.numpy()
    return leaks.Fingerprints(prints.contents[chosen], prints.outlines[chosen], prints.colours[chosen])


def fold_numbers(identities: list[int], count: int, seed: int) -> np.ndarray:
    """A fold for each row, the same for rows of one identity, folds about equally large."""
    names = np.unique(identities)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    number = dict(zip(names.tolist(), (shuffled % count).tolist(), strict=True))
    return np.array([number[identity] for identity in identities])


def result(
    system: str, name: str, source: str, done: Sequence[Fold], recipe: Recipe, settings: Resampling
) -> dict[str, Any]:
    """What `evaluate retrieval -o` would write, of all folds together; `folds` is what the trained ones share."""
    weights = dict.fromkeys(fold.facts[system]["weights_sha256"] for fold in done)
    used = [pair for fold in done for pair in fold.data.pairs]
    paths = [path for fold in done for path in fold.data.paths]
    left_out = [line for fold in done for line in fold.data.left_out]
    checked = {"checked": True, "pictures": sum(fold.seen for fold in done)}
    folded = {"folds": {"count": len(done), "recipe": recipe.model_dump(mode="json")}} if system == TRAINED else {}
    return {
        "format": results.FORMAT,
        "kind": results.RETRIEVAL,
        "name": name,
        "model": {"source": source} | done[0].facts[system] | {"weights_sha256": ", ".join(weights)},
        "data": results.data_facts(str(recipe.data.pairs), [], pairs.fingerprint(used), paths, left_out),
        "bootstrap": settings.facts(),
        "versions": results.versions(),
        "overlap": checked if system == TRAINED else {"checked": False},
        **folded,
        **folds.pooled([fold.found[system] for fold in done], len(left_out), settings),
    }


def write(done: Sequence[Fold], recipe_name: str, recipe: Recipe, output: Path, settings: Resampling) -> list[Path]:
    """A result of each system, and the report of all; return the results' files, the recipe's first."""
    named = Path(recipe_name).stem
    names = {TRAINED: (named, f"recipe {recipe_name}, trained in each of {len(done)} folds")}
    names |= {system: (system, f"the start of recipe {recipe_name}") for system in (BRIDGE, RANDOM)}
    files = []
    for system in (system for system in names if system in done[0].found):
        file = output / f"{names[system][0].replace(', ', '-').replace(' ', '-')}.json"
        results.write(file, result(system, *names[system], done, recipe, settings))
        files.append(file)
    compared = report.compare([(file, results.read(file)) for file in files], settings)
    report.write(compared, f"{recipe.data.pairs.parent.name}, {len(done)} folds", output / "report")
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("pairs", type=Path)
    parser.add_argument("-o", "--output", type=Path, help="folder for the results and the report")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    recipe = load_recipe(options.recipe, [f"data.pairs={options.pairs.resolve()}", "output=unused"])
    done = []
    for number, fold in enumerate(cross_validate(recipe, options.folds)):
        done.append(fold)
        for system, found in fold.found.items():
            print(f"fold {number}, {system}: {json.dumps(found.figures['text_to_image'])}", flush=True)
    for system in done[0].found:
        each = [ranks.mrr(fold.found[system].ranks.text_to_image, 10) for fold in done]
        print(f"{system}: MRR@10 {np.mean(each):.3f}, standard deviation over folds {np.std(each, ddof=1):.3f}")
    chance = folds.chance([fold.found[TRAINED].answers for fold in done])
    print("chance", json.dumps(ranks.rounded(chance)))
    if options.output:
        write(done, options.recipe, recipe, options.output, Resampling(options.resamples))
        print(options.output / "report" / "report.md")


if __name__ == "__main__":
    main()
