"""A recipe with one edit each: what `clip-italian ablate` compares with the recipe as it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clip_italian.config import Recipe, Stage
from clip_italian.errors import UsageError

BASELINE = "as it is"


@dataclass(frozen=True)
class Variant:
    """A name, what it changes in a line, and the change; the recipe stays as it was."""

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
        # As patient as the stage that it stands in for, or it would end before that one does.
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


def choose(names: list[str]) -> tuple[Variant, ...]:
    """The variants of these names, in the usual order, the baseline first. Raises UsageError for unknown names."""
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
