"""A whole training run: recipe → pairs → kept features → stages → model folder.

runs/demo/model/          what transformers loads
runs/demo/history.jsonl   losses and metrics of every evaluation, the first before any step
runs/demo/unreadable.txt  pictures that were left out, and why (where there are any)
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from clip_italian import console, leaks
from clip_italian.config import Recipe
from clip_italian.errors import UserError
from clip_italian.identity import picture_hash
from clip_italian.images import PictureError, decode_batches
from clip_italian.model.base import load_base
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.pairs import Pair, fingerprint, image_path, read
from clip_italian.split.draw import hold_out
from clip_italian.train.fit import fit, prepare
from clip_italian.train.stage import Record

MODEL_FOLDER = "model"
HISTORY_FILE = "history.jsonl"
UNREADABLE_FILE = "unreadable.txt"
_LEAST_PAIRS = 2


@dataclass(frozen=True)
class Run:
    """What a run leaves: the trained encoder, its folder, and every evaluation."""

    encoder: DualEncoder
    folder: Path
    history: list[Record]


def train(recipe: Recipe, report: Callable[[Record], None] = lambda _: None) -> Run:
    """Train as the recipe says and write `recipe.output`; `report` gets each evaluation.

    Raises UserError where the pairs file, a model folder or nearly all pictures cannot be used.
    """
    torch.manual_seed(recipe.seed)
    pairs = _training_pairs(recipe)
    recipe.output.mkdir(parents=True, exist_ok=True)
    pairs, looks = _readable(pairs, recipe.data.pairs, recipe.output / UNREADABLE_FILE)
    paths = [image_path(pair, recipe.data.pairs) for pair in pairs]
    rows = {name: torch.tensor([i for i, p in enumerate(pairs) if p.split == name]) for name in ("train", "val")}
    for name, chosen in rows.items():
        if len(chosen) < _LEAST_PAIRS:
            raise UserError(f"{recipe.data.pairs}: {len(chosen)} readable pairs in split {name!r}, too few to train on")
    encoder = load_base(recipe.model)
    prepared = prepare(recipe, encoder, pairs, paths, rows["train"])

    history: list[Record] = []
    with (recipe.output / HISTORY_FILE).open("w", encoding="utf-8") as file:

        def remember(record: Record) -> None:
            history.append(record)
            file.write(json.dumps(record) + "\n")
            file.flush()
            report(record)

        fit(recipe, encoder, prepared, rows["train"], rows["val"], remember)

    seen = sorted({paths[row] for row in rows["train"].tolist()})
    trained = [pair for pair in pairs if pair.split in rows]
    info = {
        "recipe": recipe.model_dump(mode="json"),
        "language": recipe.language,
        "data": {"pairs": str(recipe.data.pairs), "fingerprint": fingerprint(trained), "train": len(rows["train"])},
        "validation": _best(history),
        leaks.INFO_KEY: leaks.Fingerprints.of(seen, [looks[path] for path in seen]).to_json(),
    }
    encoder = replace(encoder, info=info)
    encoder.save(recipe.output / MODEL_FOLDER)
    return Run(encoder, recipe.output, history)


def _training_pairs(recipe: Recipe) -> list[Pair]:
    pairs = read(recipe.data.pairs)
    if any(pair.split for pair in pairs):
        return [pair for pair in pairs if pair.split in ("train", "val")]
    return hold_out(pairs, recipe.data.validation, seed=str(recipe.seed))


def _readable(pairs: Sequence[Pair], pairs_file: Path, list_file: Path) -> tuple[list[Pair], dict[Path, str]]:
    """Pairs whose pictures can be decoded, and the pictures' hashes; the others are listed in a file and left out."""
    paths = [image_path(pair, pairs_file) for pair in pairs]
    looks: dict[Path, str] = {}
    errors: list[PictureError] = []
    with console.progress("pictures", len(pairs)) as advance:
        for good, hashes, bad in decode_batches(paths, 64, picture_hash):
            looks.update(zip(good, hashes, strict=True))
            errors += bad
            advance(len(good) + len(bad))
    list_file.unlink(missing_ok=True)
    if errors:
        list_file.write_text("".join(f"{error}\n" for error in errors), encoding="utf-8")
        console.notice(f"{len(errors)} of {len(pairs)} pictures cannot be read and are left out: see {list_file}")
    return [pair for pair, path in zip(pairs, paths, strict=True) if path in looks], looks


def _best(history: Sequence[Record]) -> Record:
    return min(history, key=lambda record: record["validation_loss"])
