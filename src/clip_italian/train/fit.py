"""All stages of a run on given rows, with everything that is computed once prepared before."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch.nn.functional import normalize

from clip_italian import console, languages
from clip_italian.config import Recipe
from clip_italian.errors import UsageError
from clip_italian.evaluate import ranks, retrieval
from clip_italian.model.cut import cut
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.pairs import Pair
from clip_italian.train import batches, freeze
from clip_italian.train.closed_form import set_head, set_projections
from clip_italian.train.loss import contrastive_loss
from clip_italian.train.stage import Examples, Record, run_stage
from clip_italian.train.towers import Kept, Towers, keep, open_towers, pooled_images, pooled_texts


@dataclass(frozen=True)
class Prepared:
    """Pairs with their pictures' paths, captions, identity numbers and kept trunk outputs.

    `class_names` are those that the recipe wants as a first guess, often none.
    """

    pairs: Sequence[Pair]
    paths: Sequence[Path]
    captions: batches.Captions
    groups: torch.Tensor
    class_names: Sequence[str]
    kept: Kept


def prepare(
    recipe: Recipe, encoder: DualEncoder, pairs: Sequence[Pair], paths: Sequence[Path], rows: torch.Tensor
) -> Prepared:
    """Run the layers that no stage trains over all pictures and captions, or read them from the cache.

    Augmented views are made of the pictures `rows`, those that may be trained on.
    """
    class_names = _class_names(recipe)
    captions = batches.flatten_captions(pairs, with_original=recipe.data.original_captions > 0)
    freeze.apply(encoder.model, _ever_trainable(recipe), ["*"])
    views = max(stage.views for stage in recipe.stage)
    shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(recipe.seed))]
    distorted = shuffled[: math.ceil(recipe.augmentation.share * len(rows))].sort().values
    with console.progress("features", len(paths) + views * len(distorted)) as advance:
        kept = keep(encoder, paths, captions.texts, views, distorted, recipe.augmentation, advance)
    return Prepared(pairs, paths, captions, batches.identity_numbers(pairs), class_names, kept)


def fit(
    recipe: Recipe, encoder: DualEncoder, data: Prepared, train: torch.Tensor, held: torch.Tensor,
    report: Callable[[Record], None],
) -> Towers:  # fmt: skip
    """Train `encoder.model` in place on the rows `train`, judged by the rows `held`.

    `report` gets each evaluation: of the untrained model, then of each stage before its first step
    and after its epochs. Returns the towers as the last stage left them, for `judge` on other rows.
    """
    model = encoder.model
    examples = Examples(train, data.captions, data.groups, recipe.data.original_captions)
    generator = torch.Generator().manual_seed(recipe.seed)

    def towers_of(kept: Kept, seed: int) -> Towers:
        return open_towers(kept, encoder, data.paths, data.captions.texts, recipe.augmentation, seed)

    kept = _recut(recipe, encoder, data.kept)
    towers = towers_of(kept, recipe.seed)
    report(judge(encoder, towers, data, held) | {"stage": "untrained", "epoch": 0, "step": 0})
    images = pooled_images(towers, train)
    if recipe.model.landmarks:
        images = set_head(encoder, images, recipe.model.landmarks, bool(data.class_names), generator)
        kept = _recut(recipe, encoder, kept)
    if recipe.model.start == "ridge":
        own = [data.captions.own[row] for row in train.tolist()]
        texts = pooled_texts(towers, torch.tensor([text for texts in own for text in texts]))
        owners = torch.tensor([picture for picture, texts in enumerate(own) for _ in texts])
        set_projections(encoder, images, texts, owners, data.groups[train], data.class_names)

    for number, stage in enumerate(recipe.stage):
        torch.manual_seed(recipe.seed + number)  # dropout, whatever was drawn before to make what is cached now
        moving = freeze.apply(model, stage.trainable, stage.frozen)
        towers = towers_of(kept, recipe.seed + number)
        judged = partial(judge, encoder, towers, data, held)
        run_stage(stage, model, moving, towers, examples, generator, judged, report)
    return towers


@torch.no_grad()
def judge(encoder: DualEncoder, towers: Towers, data: Prepared, rows: torch.Tensor) -> Record:
    """Loss and text-to-image figures of the model as it is on some rows, plain view."""
    pairs = [data.pairs[row] for row in rows.tolist()]
    answers = retrieval.retrieval_set(pairs)
    number = {data.captions.texts[text]: text for row in rows.tolist() for text in data.captions.own[row]}
    queries = torch.tensor([number[caption] for caption in answers.captions])
    images = normalize(encoder.model.visual_projection(pooled_images(towers, rows)), dim=1)
    texts = normalize(encoder.model.text_projection(pooled_texts(towers, queries)), dim=1)
    first_captions = torch.tensor([captions[0] for captions in answers.captions_of])
    scale = encoder.model.logit_scale.exp()
    loss = contrastive_loss(images, texts[first_captions], scale, batches.identity_numbers(pairs))
    found = ranks.ranks(texts.numpy(), images.numpy(), answers.images_of)
    return {"validation_loss": loss.item()} | ranks.summary(found, len(images))


def _recut(recipe: Recipe, encoder: DualEncoder, kept: Kept) -> Kept:
    """The kept outputs below the towers that `encoder` has now, all of them frozen."""
    freeze.apply(encoder.model, _ever_trainable(recipe), ["*"])
    kept = replace(kept, vision=cut(encoder.model.vision_model), text=cut(encoder.model.text_model))
    freeze.apply(encoder.model, [], ["*"])
    return kept


def _class_names(recipe: Recipe) -> Sequence[str]:
    if not recipe.model.class_names:
        return ()
    names = languages.get(recipe.language).imagenet_names
    if not names:
        raise UsageError(f"model.class_names: language {recipe.language!r} names no classes; set it to false")
    return names


def _ever_trainable(recipe: Recipe) -> list[str]:
    return [pattern for stage in recipe.stage for pattern in stage.trainable]
