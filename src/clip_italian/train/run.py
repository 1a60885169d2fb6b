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

from clip_italian import console
from clip_italian.config import Recipe
from clip_italian.errors import UserError
from clip_italian.evaluate import ranks, retrieval
from clip_italian.images import PictureError, decode_batches
from clip_italian.model.base import load_base
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.pairs import Pair, fingerprint, image_path, read
from clip_italian.split import hold_out
from clip_italian.train import batches, freeze, start
from clip_italian.train.loss import contrastive_loss
from clip_italian.train.stage import Examples, Record, run_stage
from clip_italian.train.towers import Towers, keep, open_towers

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
    pairs = _readable(pairs, recipe.data.pairs, recipe.output / UNREADABLE_FILE)
    paths = [image_path(pair, recipe.data.pairs) for pair in pairs]
    rows = {name: torch.tensor([i for i, p in enumerate(pairs) if p.split == name]) for name in ("train", "val")}
    for name, chosen in rows.items():
        if len(chosen) < _LEAST_PAIRS:
            raise UserError(f"{recipe.data.pairs}: {len(chosen)} readable pairs in split {name!r}, too few to train on")
    captions = batches.flatten_captions(pairs, with_original=recipe.data.original_captions > 0)
    examples = Examples(rows["train"], captions, batches.identity_numbers(pairs), recipe.data.original_captions)

    encoder = load_base(recipe.model)
    model = encoder.model
    everywhere = [pattern for stage in recipe.stage for pattern in stage.trainable]
    freeze.apply(model, everywhere, ["*"])
    views = max(stage.views for stage in recipe.stage)
    with console.progress("features", len(paths) * (views + 1)) as advance:
        kept = keep(encoder, paths, captions.texts, views, recipe.augmentation, advance)

    history: list[Record] = []
    generator = torch.Generator().manual_seed(recipe.seed)
    with (recipe.output / HISTORY_FILE).open("w", encoding="utf-8") as file:

        def remember(record: Record) -> None:
            history.append(record)
            file.write(json.dumps(record) + "\n")
            file.flush()
            report(record)

        for number, stage in enumerate(recipe.stage):
            moving = freeze.apply(model, stage.trainable, stage.frozen)
            towers = open_towers(kept, encoder, paths, captions.texts, recipe.augmentation, recipe.seed + number)
            judge = make_judge(encoder, towers, pairs, rows["val"], captions)
            if number == 0:
                remember(judge() | {"stage": "untrained", "epoch": 0, "step": 0})
                if recipe.model.start == "ridge":
                    start_in_closed_form(encoder, towers, examples)
            run_stage(stage, model, moving, towers, examples, generator, judge, remember)

    trained = [pair for pair in pairs if pair.split in rows]
    info = {
        "recipe": recipe.model_dump(mode="json"),
        "language": recipe.language,
        "data": {"pairs": str(recipe.data.pairs), "fingerprint": fingerprint(trained), "train": len(rows["train"])},
        "validation": _best(history),
    }
    encoder = replace(encoder, info=info)
    encoder.save(recipe.output / MODEL_FOLDER)
    return Run(encoder, recipe.output, history)


def _training_pairs(recipe: Recipe) -> list[Pair]:
    pairs = read(recipe.data.pairs)
    if any(pair.split for pair in pairs):
        return [pair for pair in pairs if pair.split in ("train", "val")]
    return hold_out(pairs, recipe.data.validation, seed=str(recipe.seed))


def _readable(pairs: Sequence[Pair], pairs_file: Path, list_file: Path) -> list[Pair]:
    """Pairs whose pictures can be decoded; the others are counted, listed in a file, and left out."""
    paths = [image_path(pair, pairs_file) for pair in pairs]
    readable: set[Path] = set()
    errors: list[PictureError] = []
    with console.progress("pictures", len(pairs)) as advance:
        for good, _, bad in decode_batches(paths, 64, lambda image: None):
            readable.update(good)
            errors += bad
            advance(len(good) + len(bad))
    list_file.unlink(missing_ok=True)
    if errors:
        list_file.write_text("".join(f"{error}\n" for error in errors), encoding="utf-8")
        console.notice(f"{len(errors)} of {len(pairs)} pictures cannot be read and are left out: see {list_file}")
    return [pair for pair, path in zip(pairs, paths, strict=True) if path in readable]


@torch.no_grad()
def start_in_closed_form(encoder: DualEncoder, towers: Towers, examples: Examples) -> None:
    """Put the closed-form start into the projections, from all own captions of the training pairs."""
    own = [examples.captions.own[row] for row in examples.train.tolist()]
    texts = torch.tensor([text for texts in own for text in texts])
    owners = torch.tensor([picture for picture, texts in enumerate(own) for _ in texts])
    visual, text = start.projections(
        pooled_images(towers, examples.train), pooled_texts(towers, texts), owners, encoder.dim
    )
    encoder.model.visual_projection.weight.copy_(visual)
    encoder.model.text_projection.weight.copy_(text)


def make_judge(
    encoder: DualEncoder, towers: Towers, pairs: Sequence[Pair], rows: torch.Tensor, captions: batches.Captions
) -> Callable[[], Record]:
    """A function that measures the model as it is on the validation rows, plain view."""
    held = [pairs[row] for row in rows.tolist()]
    data = retrieval.retrieval_set(held)
    text_rows = {captions.texts[text]: text for row in rows.tolist() for text in captions.own[row]}
    queries = torch.tensor([text_rows[caption] for caption in data.captions])
    first_captions = torch.tensor([own[0] for own in data.captions_of])
    groups = batches.identity_numbers(held)
    model = encoder.model

    @torch.no_grad()
    def judge() -> Record:
        images = torch.nn.functional.normalize(model.visual_projection(pooled_images(towers, rows)), dim=1)
        texts = torch.nn.functional.normalize(model.text_projection(pooled_texts(towers, queries)), dim=1)
        loss = contrastive_loss(images, texts[first_captions], model.logit_scale.exp(), groups)
        found = ranks.ranks(texts.numpy(), images.numpy(), data.images_of)
        return {"validation_loss": loss.item(), "MRR@10": ranks.mrr(found, 10), "R@1": ranks.recall(found, 1)}

    return judge


def pooled_images(towers: Towers, rows: torch.Tensor) -> torch.Tensor:
    """Pooled features (n, hidden) of the plain view of some rows."""
    return torch.cat([towers.images(part, torch.zeros_like(part)) for part in rows.split(64)])


def pooled_texts(towers: Towers, rows: torch.Tensor) -> torch.Tensor:
    """Pooled features (n, hidden) of some texts."""
    return torch.cat([towers.texts(part) for part in rows.split(256)])


def _best(history: Sequence[Record]) -> Record:
    return min(history, key=lambda record: record["validation_loss"])
