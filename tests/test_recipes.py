"""Packaged recipes are valid, and their patterns cover the parameters of their full-size models (on meta device)."""

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    MetaClip2Config,
    MetaClip2Model,
    SiglipConfig,
    SiglipModel,
    XLMRobertaConfig,
)

from clip_italian.config import RECIPES, load_recipe
from clip_italian.models_torch.base import load_base
from clip_italian.models_torch.mean_pooled import MeanPooledXLMRobertaConfig, MeanPooledXLMRobertaModel
from clip_italian.models_torch.towers import join
from clip_italian.train import optim

# By hand: ViT-B/32 without projection, and BERT-base with 32,102 word pieces and a pooler.
VIT_B_32 = 768 + 768 * 3 * 32**2 + 50 * 768 + 2 * 2 * 768 + 12 * (12 * 768**2 + 13 * 768)
BERT_BASE = (32102 + 512 + 2 + 2) * 768 + 12 * (12 * 768**2 + 13 * 768) + 768**2 + 768
PROJECTIONS = 2 * 768 * 512


def count(named):
    return sum(parameter.numel() for _, parameter in named)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_states_its_cost(path):
    recipe = load_recipe(path)
    text = path.read_text(encoding="utf-8")
    header = text[: text.index('language = "it"')]
    assert "# Cost: " in header
    assert "# Command: clip-italian " in header
    assert recipe.stage


@pytest.mark.parametrize("name", ["paper", "paper-code"])
def test_the_papers_recipe_has_its_model_and_parameter_groups(name):
    recipe = load_recipe(name, ["model.init=random"])
    with torch.device("meta"):
        encoder = load_base(recipe.model)
    model = encoder.model
    assert sum(p.numel() for p in model.parameters()) == VIT_B_32 + BERT_BASE + PROJECTIONS + 1
    assert (encoder.dim, encoder.max_tokens) == (512, 96)
    frozen, unfrozen = recipe.stage
    assert count(optim.freeze(model, frozen.trainable, frozen.frozen)) == PROJECTIONS
    assert count(optim.freeze(model, unfrozen.trainable, unfrozen.frozen)) == VIT_B_32 + BERT_BASE + PROJECTIONS
    assert not model.logit_scale.requires_grad


def test_the_papers_recipe_has_its_values():
    paper, code = load_recipe("paper"), load_recipe("paper-code")
    for recipe in (paper, code):
        assert recipe.batch.per_device == 128
        assert recipe.model.logit_scale == 20
        assert recipe.optimizer.model_dump() == {"name": "adabelief", "beta1": 0.9, "beta2": 0.999, "eps": 1e-16}
        for stage in recipe.stage:
            assert (stage.learning_rate, stage.warmup, stage.weight_decay, stage.clipping) == (1e-5, 0.1, 0, 0.01)
            assert stage.tower_dropout
    assert paper.model.text == "dbmdz/bert-base-italian-xxl-cased"
    assert code.model.text == "dbmdz/bert-base-italian-xxl-uncased"
    assert [stage.cached for stage in paper.stage] == [True, True]
    assert [stage.cached for stage in code.stage] == [False, False]


def test_random_towers_embed_captions_in_both_casings():
    for name, capital in (("paper", True), ("paper-code", False)):
        with torch.device("meta"):
            tokenizer = load_base(load_recipe(name, ["model.init=random"]).model).tokenizer
        assert len(tokenizer) < 32102
        ids = tokenizer("Perché la Città dorme?")["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert (ids == tokenizer("perché la città dorme?")["input_ids"]) is not capital


def siglip2():
    shape = {"vocab_size": 256000, "max_position_embeddings": 64}
    return SiglipModel(SiglipConfig(text_config=shape))


def metaclip2():
    text = {"vocab_size": 901629, "eos_token_id": 2, "bos_token_id": 0}
    return MetaClip2Model(MetaClip2Config(text_config=text))


def xlm_r_clip():
    shape = {"vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1}
    text = MeanPooledXLMRobertaModel(MeanPooledXLMRobertaConfig(**shape))
    assert text.config.hidden_size == XLMRobertaConfig().hidden_size == 768
    return join(CLIPVisionModel(CLIPVisionConfig()), text, 512, 2.66, layers=(1, 2))


@pytest.mark.parametrize(
    ("name", "build", "table"),
    [
        ("siglip2", siglip2, "text_model.embeddings.token_embedding.weight"),
        ("metaclip2", metaclip2, "text_model.embeddings.token_embedding.weight"),
        ("xlm-r-clip", xlm_r_clip, "text_model.embeddings.word_embeddings.weight"),
    ],
)
def test_recipes_for_joint_models_cover_their_parameters_and_leave_the_token_table(name, build, table):
    with torch.device("meta"):
        model = build()
    for stage in load_recipe(name).stage:
        moving = dict(optim.freeze(model, stage.trainable, stage.frozen))
        assert table not in moving
        assert "logit_scale" in moving or stage.name == "projections"
