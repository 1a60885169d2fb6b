import pytest
import torch

from clip_italian.config import Recipe, load_recipe
from clip_italian.train.ablate import BASELINE, VARIANTS
from clip_italian.train.optim import parameter_groups


@pytest.fixture
def recipe():
    return load_recipe("ablation", ["data.pairs=photos.jsonl"])


def changed(recipe, name):
    (variant,) = (variant for variant in VARIANTS if variant.name == name)
    after = variant.change(recipe)
    assert Recipe.model_validate(after.model_dump()) == after  # nothing that a recipe file could not say
    return after


def flat(values, before=""):
    if isinstance(values, dict):
        return {k: v for key, value in values.items() for k, v in flat(value, f"{before}{key}.").items()}
    return {before: values}


def edits(recipe, after):
    """What differs, by dotted key; keys of stages without their number."""
    old, new = (r.model_dump(exclude={"stage"}) for r in (recipe, after))
    found = {key.strip("."): value for key, value in flat(new).items() if value != flat(old)[key]}
    assert len(after.stage) == len(recipe.stage)
    for one, other in zip(recipe.stage, after.stage, strict=True):
        before = one.model_dump()
        found |= {key: value for key, value in other.model_dump().items() if value != before[key]}
    return found


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        (BASELINE, {}),
        ("AdamW", {"optimizer.name": "adamw", "clipping": 0.0}),
        ("scale 100", {"model.logit_scale": 100.0}),
        ("no augmentation", {"views": 0}),
    ],
)
def test_a_variant_is_the_recipe_with_one_edit(recipe, name, edit):
    assert edits(recipe, changed(recipe, name)) == edit


def test_what_is_learned_moves_in_every_stage(recipe):
    for stage in changed(recipe, "learned scale").stage:
        assert "logit_scale" in stage.trainable
    after = changed(recipe, "sigmoid loss")
    assert (after.loss.kind, after.loss.bias, after.model.logit_scale) == ("sigmoid", -10.0, 10.0)
    for stage in after.stage:
        assert {"logit_scale", "logit_bias"} < set(stage.trainable)


def test_without_the_frozen_stage_there_are_as_many_epochs_and_every_weight_has_the_same_rate(recipe):
    (stage,) = changed(recipe, "no frozen stage").stage
    first, last = recipe.stage
    assert stage.trainable == last.trainable
    assert stage.epochs == first.epochs + last.epochs
    names = ("visual_projection.weight", "text_projection.weight", "text_model.encoder.layer.11.output.dense.weight")
    groups = parameter_groups([(name, torch.nn.Parameter(torch.ones(2, 2))) for name in names], stage)
    assert [len(group.parameters) for group in groups] == [2, 1]
    assert [group.learning_rate for group in groups] == pytest.approx([first.learning_rate, last.learning_rate])
