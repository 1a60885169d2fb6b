"""All stages of a run on given rows, with everything that is computed once prepared before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch.nn.functional import normalize
from transformers import EfficientNetModel

from clip_italian import console
from clip_italian.config import Recipe
from clip_italian.errors import UsageError
from clip_italian.evaluate import ranks, retrieval
from clip_italian.model.cut import cut
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.model.landmark_efficientnet import LandmarkEfficientNetModel, add_landmarks
from clip_italian.pairs import Pair
from clip_italian.train import batches, freeze, start
from clip_italian.train.loss import contrastive_loss
from clip_italian.train.stage import Examples, Record, run_stage
from clip_italian.train.towers import Kept, Towers, keep, open_towers


@dataclass(frozen=True)
class Prepared:
    """Pairs with their pictures' paths, captions, identity numbers and kept trunk outputs."""

    pairs: Sequence[Pair]
    paths: Sequence[Path]
    captions: batches.Captions
    groups: torch.Tensor
    kept: Kept


def prepare(recipe: Recipe, encoder: DualEncoder, pairs: Sequence[Pair], paths: Sequence[Path]) -> Prepared:
    """Run the layers that no stage trains over all pictures (each view) and captions, or read them from the cache."""
    captions = batches.flatten_captions(pairs, with_original=recipe.data.original_captions > 0)
    freeze.apply(encoder.model, _ever_trainable(recipe), ["*"])
    views = max(stage.views for stage in recipe.stage)
    with console.progress("features", len(paths) * (views + 1)) as advance:
        kept = keep(encoder, paths, captions.texts, views, recipe.augmentation, advance)
    return Prepared(pairs, paths, captions, batches.identity_numbers(pairs), kept)


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
    if recipe.model.landmarks:
        set_landmarks(encoder, towers, train, recipe.model.landmarks, generator)
        kept = _recut(recipe, encoder, kept)
        towers = towers_of(kept, recipe.seed)
    if recipe.model.start == "ridge":
        start_in_closed_form(encoder, towers, examples)

    for number, stage in enumerate(recipe.stage):
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


@torch.no_grad()
def set_landmarks(
    encoder: DualEncoder, towers: Towers, train: torch.Tensor, most: int, generator: torch.Generator
) -> None:
    """Give the vision tower landmarks: the training pictures, or `most` of them drawn at random.

    Raises UsageError where the tower is no EfficientNet without landmarks.
    """
    tower = encoder.model.vision_model
    if not isinstance(tower, EfficientNetModel) or isinstance(tower, LandmarkEfficientNetModel):
        raise UsageError(f"model.landmarks: the base's vision tower is a {type(tower).__name__}; set it to 0")
    drawn = train[torch.randperm(len(train), generator=generator)[:most].sort().values]
    add_landmarks(encoder.model, pooled_images(towers, drawn))


@torch.no_grad()
def start_in_closed_form(encoder: DualEncoder, towers: Towers, examples: Examples) -> None:
    """Put the closed-form start into the projections, from all own captions of the training pairs."""
    model = encoder.model
    own = [examples.captions.own[row] for row in examples.train.tolist()]
    texts = torch.tensor([text for texts in own for text in texts])
    owners = torch.tensor([picture for picture, texts in enumerate(own) for _ in texts])
    images = pooled_images(towers, examples.train)
    # On landmarks the penalty is the kernel's: a change of basis makes it the plain one.
    landmarks = getattr(model.vision_model, "landmarks", None)
    basis = torch.eye(images.shape[1]) if landmarks is None else landmarks.penalty_root()
    visual, text = start.projections(images @ basis, pooled_texts(towers, texts), owners, encoder.dim)
    model.visual_projection.weight.copy_(visual @ basis.T)
    model.text_projection.weight.copy_(text)


def pooled_images(towers: Towers, rows: torch.Tensor) -> torch.Tensor:
    """Pooled features (n, hidden) of the plain view of some rows."""
    return torch.cat([towers.images(part, torch.zeros_like(part)) for part in rows.split(64)])


def pooled_texts(towers: Towers, rows: torch.Tensor) -> torch.Tensor:
    """Pooled features (n, hidden) of some texts."""
    return torch.cat([towers.texts(part) for part in rows.split(256)])


def _recut(recipe: Recipe, encoder: DualEncoder, kept: Kept) -> Kept:
    """The kept outputs below the towers that `encoder` has now, all of them frozen."""
    freeze.apply(encoder.model, _ever_trainable(recipe), ["*"])
    kept = replace(kept, vision=cut(encoder.model.vision_model), text=cut(encoder.model.text_model))
    freeze.apply(encoder.model, [], ["*"])
    return kept


def _ever_trainable(recipe: Recipe) -> list[str]:
    return [pattern for stage in recipe.stage for pattern in stage.trainable]
