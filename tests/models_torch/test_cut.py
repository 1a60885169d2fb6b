import pytest
import torch
from transformers import EfficientNetConfig, EfficientNetModel

from clip_italian.models_torch.cut import cut
from clip_italian.models_torch.detailed_efficientnet import DetailedEfficientNetConfig, DetailedEfficientNetModel
from clip_italian.models_torch.mean_pooled import MeanPooledBertConfig, MeanPooledBertModel
from clip_italian.train import optim
from tests.models_torch.test_landmark_efficientnet import PIXELS, SHAPE


def efficientnet():
    torch.manual_seed(0)
    return EfficientNetModel(EfficientNetConfig(**SHAPE, hidden_size=320)).eval()


def detailed():
    """Return a tower with features of its last three blocks, to test cuts between them."""
    torch.manual_seed(0)
    config = DetailedEfficientNetConfig(**SHAPE, hidden_size=320 + 48 + 48 + 80, inner_blocks=[5, 6, 7])
    return DetailedEfficientNetModel(config).eval()


def bert():
    torch.manual_seed(0)
    config = MeanPooledBertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
    )
    return MeanPooledBertModel(config).eval()


def names(tower, starts):
    """Names of the parameters that start so."""
    return [name for name, _ in tower.named_parameters() if name.startswith(starts)]


TOKENS = {
    "input_ids": torch.tensor([[4, 5, 6, 7], [8, 9, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
}


@pytest.mark.parametrize(
    ("trainable", "name"),
    [
        (["never"], "pooled"),
        (["encoder.top_*"], "block 8"),
        (["encoder.blocks.6.*", "encoder.top_*"], "block 6"),
        (["encoder.blocks.5.*", "encoder.top_*"], "block 5"),
        (["embeddings.*"], "inputs"),
    ],
)
@pytest.mark.parametrize("make", [efficientnet, detailed])
def test_trunk_and_tail_make_the_whole_vision_tower(trainable, name, make):
    tower = make()
    parts = cut(tower, names(tower, tuple(t.rstrip("*") for t in trainable)))
    assert parts.name == name
    kept = parts.trunk(PIXELS) if parts.trunk else PIXELS
    with torch.no_grad():
        whole = tower(**PIXELS).pooler_output
    # Cached maps are stored in half precision.
    assert torch.allclose(parts.tail(kept), whole, atol=5e-3, rtol=1e-2)


@pytest.mark.parametrize(
    ("trainable", "name"), [("encoder.layer.2.", "layer 2"), ("encoder.layer.0.", "layer 0"), ("emb", "inputs")]
)
def test_trunk_and_tail_make_the_whole_text_tower(trainable, name):
    tower = bert()
    parts = cut(tower, names(tower, trainable))
    assert parts.name == name
    kept = parts.trunk(TOKENS) if parts.trunk else TOKENS
    with torch.no_grad():
        whole = tower(**TOKENS).pooler_output
    assert torch.allclose(parts.tail(kept), whole, atol=1e-5)


def test_only_the_tail_gets_gradients():
    tower = bert()
    moving = optim.freeze(tower, ["encoder.layer.2.*"], ["*"])
    parts = cut(tower, [name for name, _ in moving])
    parts.tail(parts.trunk(TOKENS)).sum().backward()
    for name, parameter in tower.named_parameters():
        assert (parameter.grad is not None) == name.startswith("encoder.layer.2.")
