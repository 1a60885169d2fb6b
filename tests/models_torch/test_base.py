"""Base models from a recipe's `[model]` table: towers, projections, scale and weights."""

import math

import numpy as np
import pytest
import torch
from transformers import BertModel, CLIPModel, XLMRobertaModel

from clip_italian.config import Model
from clip_italian.errors import UsageError, UserError
from clip_italian.models_torch.base import load_base
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.mean_pooled import MeanPooledBertModel, MeanPooledXLMRobertaModel
from clip_italian.models_torch.towers import add_logit_bias
from tests.conftest import draw_shape, save_tiny_bert
from tests.models_torch import kinds

PICTURES = [draw_shape("cerchio", "red", 1), draw_shape("quadrato", "blue", 2)]
TEXTS = ["un gatto che dorme", "un cerchio rosso"]


@pytest.fixture
def bert_folder(tmp_path):
    return save_tiny_bert(tmp_path / "bert", 1, hidden_size=16, layers=1)


def test_two_towers_have_their_weights(tmp_path, bert_folder):
    clip = kinds.folder("clip", tmp_path / "clip")
    encoder = load_base(Model(vision=str(clip), text=str(bert_folder), max_tokens=10))
    assert encoder.dim == 512
    assert encoder.max_tokens == 10
    assert encoder.model.logit_scale.exp().item() == pytest.approx(20.0)
    for ours, theirs in (
        (encoder.parts.vision, CLIPModel.from_pretrained(clip).vision_model),
        (encoder.parts.text, BertModel.from_pretrained(bert_folder)),
    ):
        expected = theirs.state_dict()
        assert set(ours.state_dict()) == set(expected)
        assert all(torch.equal(value, expected[name]) for name, value in ours.state_dict().items())
    encoder.save(tmp_path / "joined")
    again = DualEncoder.load(tmp_path / "joined")
    assert again.max_tokens == 10
    assert np.allclose(again.encode_text(TEXTS), encoder.encode_text(TEXTS), atol=1e-6)
    assert np.allclose(again.encode_images(PICTURES), encoder.encode_images(PICTURES), atol=1e-6)


@pytest.mark.parametrize("kind", ["metaclip2", "siglip", "altclip"])
def test_towers_of_joint_models_can_be_joined_and_saved(tmp_path, kind):
    """Includes towers that transformers only loads as part of a joint model."""
    clip, other = kinds.folder("clip", tmp_path / "clip"), kinds.folder(kind, tmp_path / kind)
    whole = DualEncoder.load(other)
    encoder = load_base(Model(vision=str(other), text=str(clip), projection_dim=8))
    encoder.save(tmp_path / "joined")
    again = DualEncoder.load(tmp_path / "joined")
    pixels = torch.stack([whole.preprocess(image) for image in PICTURES])
    with torch.no_grad():
        expected = whole.parts.vision(pixel_values=pixels).pooler_output
        assert torch.allclose(again.parts.vision(pixel_values=pixels).pooler_output, expected, atol=1e-6)
    assert again.encode_images(PICTURES).shape == (2, 8)


@pytest.mark.parametrize(
    ("kind", "stock", "ours"),
    [("bert", BertModel, MeanPooledBertModel), ("xlm-roberta", XLMRobertaModel, MeanPooledXLMRobertaModel)],
)
def test_a_text_tower_without_pooler_uses_the_mean(tmp_path, capsys, kind, stock, ours):
    clip = kinds.folder("clip", tmp_path / "clip")
    text = kinds.masked_language_model(kind, tmp_path / kind)
    encoder = load_base(Model(vision=str(clip), text=str(text)))
    assert isinstance(encoder.parts.text, ours)
    assert "no trained pooler" in capsys.readouterr().err
    tokens = encoder.tokenize(TEXTS)
    with torch.no_grad():
        states = stock.from_pretrained(text, add_pooling_layer=False).eval()(**tokens).last_hidden_state
        found = encoder.parts.text(**tokens).pooler_output
    for row, mask in enumerate(tokens["attention_mask"]):
        assert torch.allclose(found[row], states[row, mask.bool()].mean(dim=0), atol=1e-5)
    encoder.save(tmp_path / "joined")
    again = DualEncoder.load(tmp_path / "joined")
    assert np.allclose(again.encode_text(TEXTS), encoder.encode_text(TEXTS), atol=1e-6)


def test_a_sentence_encoder_uses_the_mean_despite_its_pooler(tmp_path, bert_folder):
    clip = kinds.folder("clip", tmp_path / "clip")
    (bert_folder / "1_Pooling").mkdir()
    (bert_folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    assert isinstance(load_base(Model(vision=str(clip), text=str(bert_folder))).parts.text, MeanPooledBertModel)


def test_a_vision_tower_without_pooling_is_an_error(tmp_path, bert_folder):
    with pytest.raises(UserError, match="cannot load the model"):
        load_base(Model(vision=str(bert_folder), text=str(bert_folder)))


def test_a_joint_model_keeps_its_projections_and_scale(tmp_path):
    folder = kinds.folder("clip", tmp_path / "clip")
    stock = CLIPModel.from_pretrained(folder)
    encoder = load_base(Model(base=str(folder), start="kept"))
    state = stock.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in encoder.model.state_dict().items())


def test_a_joint_model_gets_the_recipes_size_and_scale(tmp_path):
    folder = kinds.folder("metaclip2", tmp_path / "metaclip2")
    encoder = load_base(Model(base=str(folder), projection_dim=6, logit_scale=50.0))
    assert encoder.dim == 6
    encoder.save(tmp_path / "copy")
    again = DualEncoder.load(tmp_path / "copy")
    assert again.encode_text(TEXTS).shape == (2, 6)
    assert again.model.logit_scale.item() == pytest.approx(math.log(50))
    assert np.array_equal(again.encode_images(PICTURES), encoder.encode_images(PICTURES))


def test_random_start_replaces_the_projections_of_the_base(tmp_path):
    folder = kinds.folder("clip", tmp_path / "clip")
    old = CLIPModel.from_pretrained(folder)
    encoder = load_base(Model(base=str(folder), start="random"))
    assert not torch.equal(encoder.model.visual_projection.weight, old.visual_projection.weight)
    assert torch.equal(encoder.model.text_model.final_layer_norm.weight, old.text_model.final_layer_norm.weight)


@pytest.mark.parametrize("base", [True, False])
def test_projections_of_two_layers_are_saved_and_loaded(tmp_path, bert_folder, tiny_folder, base):
    clip = kinds.folder("clip", tmp_path / "clip")
    towers = {"base": str(tiny_folder)} if base else {"vision": str(clip), "text": str(bert_folder)}
    encoder = load_base(Model(**towers, projection_layers=2, projection_dim=14))
    first, _, second = encoder.parts.visual_projection
    pooled = first.in_features
    assert first.weight.shape == ((pooled + 14) // 2, pooled)
    assert second.weight.shape == (14, (pooled + 14) // 2)
    encoder.save(tmp_path / "copy")
    again = DualEncoder.load(tmp_path / "copy")
    assert again.dim == 14
    assert again.weights_hash == encoder.weights_hash
    pixels = torch.stack([again.preprocess(image) for image in PICTURES])
    with torch.no_grad():
        hidden = again.parts.vision(pixel_values=pixels).pooler_output @ first.weight.T
        expected = torch.nn.functional.gelu(hidden) @ second.weight.T
    expected = torch.nn.functional.normalize(expected, dim=1)
    assert np.allclose(again.encode_images(PICTURES), expected.numpy(), atol=1e-5)
    smaller = load_base(Model(base=str(tmp_path / "copy"), projection_dim=10))
    assert smaller.encode_text(TEXTS).shape == (2, 10)
    assert isinstance(smaller.parts.text_projection, torch.nn.Sequential)


@pytest.mark.parametrize(
    ("kind", "settings", "line"),
    [
        ("siglip", {"start": "random"}, "no projections"),
        ("siglip", {"start": "kept", "projection_dim": 12}, "no projections"),
        ("siglip", {"start": "kept", "projection_layers": 2}, "no projections"),
        ("clip", {"projection_layers": 2}, "projection_layers = 1"),
    ],
)
def test_unsupported_settings_are_errors(tmp_path, kind, settings, line):
    folder = kinds.folder(kind, tmp_path / kind)
    with pytest.raises(UsageError, match=line):
        load_base(Model(base=str(folder), **settings))


@pytest.mark.parametrize("kind", [*kinds.KINDS, "two towers"])
def test_the_bias_is_saved_and_loaded(tmp_path, tiny_encoder, kind):
    encoder = tiny_encoder if kind == "two towers" else DualEncoder.load(kinds.folder(kind, tmp_path / kind))
    before = encoder.parts.logit_bias.item() if kind == "siglip" else -7.3
    add_logit_bias(encoder.model, -7.3)
    add_logit_bias(encoder.model, 1.0)  # already added
    assert encoder.parts.logit_bias.item() == pytest.approx(before)
    encoder.save(tmp_path / "copy")
    assert torch.equal(DualEncoder.load(tmp_path / "copy").parts.logit_bias, encoder.parts.logit_bias)


def test_a_random_joint_model_has_the_shapes_of_the_base(tmp_path):
    folder = kinds.folder("clip", tmp_path / "clip")
    (folder / "model.safetensors").unlink()
    torch.manual_seed(0)
    encoder = load_base(Model(base=str(folder), init="random", start="random"))
    torch.manual_seed(0)
    again = load_base(Model(base=str(folder), init="random", start="random"))
    assert encoder.weights_hash == again.weights_hash
    assert encoder.encode_images(PICTURES).shape == (2, 24)


def test_random_towers_need_only_configurations(tmp_path, bert_folder):
    clip = kinds.folder("clip", tmp_path / "clip")
    for folder in (clip, bert_folder):
        (folder / "model.safetensors").unlink()
    encoder = load_base(Model(vision=str(clip), text=str(bert_folder), init="random", projection_dim=8))
    assert encoder.encode_images(PICTURES).shape == encoder.encode_text(TEXTS).shape == (2, 8)


def test_an_unknown_name_is_an_error():
    for init in ("pretrained", "random"):
        with pytest.raises(UserError, match="nobody/nothing: cannot load the model"):
            load_base(Model(vision="nobody/nothing", text="nobody/nothing", init=init))
