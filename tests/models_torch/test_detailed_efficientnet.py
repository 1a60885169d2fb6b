import pytest
import torch
from transformers import AutoModel, EfficientNetConfig, EfficientNetModel

from clip_italian.models_torch.detailed_efficientnet import (
    DetailedEfficientNetConfig,
    DetailedEfficientNetModel,
    inner_width,
)
from clip_italian.models_torch.fuse import inference_copy
from clip_italian.models_torch.landmark_efficientnet import LandmarkEfficientNetConfig, LandmarkEfficientNetModel
from tests.models_torch.test_landmark_efficientnet import PIXELS as INPUTS
from tests.models_torch.test_landmark_efficientnet import SHAPE

INNER = {"inner_blocks": [6, 7], "inner_scale": 0.5}
PIXELS = INPUTS["pixel_values"]


def towers():
    """Return a stock tower, and one with the same weights that also pools two inner blocks."""
    torch.manual_seed(0)
    stock = EfficientNetModel(EfficientNetConfig(**SHAPE, hidden_size=320)).eval()
    ours = DetailedEfficientNetModel(DetailedEfficientNetConfig(**SHAPE, **INNER)).eval()
    ours.load_state_dict(stock.state_dict())
    return stock, ours


def test_scaled_means_of_inner_maps_follow_the_stock_towers_features():
    stock, ours = towers()
    with torch.no_grad():
        expected = stock(PIXELS, output_hidden_states=True)
        found = ours(PIXELS)
    inner = [0.5 * expected.hidden_states[number + 1] for number in (6, 7)]  # index 0 is the input of block 0
    assert torch.allclose(found.last_hidden_state, torch.cat([expected.last_hidden_state, *inner], dim=1), atol=1e-6)
    means = [expected.pooler_output, *(maps.mean(dim=(2, 3)) for maps in inner)]
    assert torch.allclose(found.pooler_output, torch.cat(means, dim=1), atol=1e-6)
    assert inner_width(ours) == sum(maps.shape[1] for maps in inner)
    assert inner_width(stock) == 0


def test_without_inner_blocks_it_is_the_stock_tower():
    stock, _ = towers()
    ours = DetailedEfficientNetModel(DetailedEfficientNetConfig(**SHAPE, hidden_size=320)).eval()
    ours.load_state_dict(stock.state_dict())
    with torch.no_grad():
        assert torch.allclose(ours(PIXELS).pooler_output, stock(PIXELS).pooler_output, atol=1e-6)
        first, second = ours(PIXELS, return_dict=False)
        assert torch.equal(first.mean(dim=(2, 3)), second)


def test_the_fused_copy_pools_inner_blocks_too():
    _, ours = towers()
    with torch.no_grad():
        assert torch.allclose(inference_copy(ours)(PIXELS).pooler_output, ours(PIXELS).pooler_output, atol=1e-4)


def test_plain_transformers_loads_it(tmp_path):
    _, ours = towers()
    ours.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert type(loaded) is DetailedEfficientNetModel
    with torch.no_grad():
        assert torch.equal(loaded(PIXELS).pooler_output, ours(PIXELS).pooler_output)


def test_inner_blocks_before_the_last_stride_are_errors():
    tower = DetailedEfficientNetModel(DetailedEfficientNetConfig(**SHAPE, inner_blocks=[0])).eval()
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        tower(PIXELS)


def test_a_head_passes_inner_features_through():
    _, ours = towers()
    width = inner_width(ours)
    config = LandmarkEfficientNetConfig(**SHAPE, **INNER, hidden_size=7 + width + 5, classes=5)
    tower = LandmarkEfficientNetModel(config).eval()
    missing = tower.load_state_dict(ours.state_dict(), strict=False)
    assert all(name.startswith("head.") for name in missing.missing_keys)
    assert tower.head.landmarks.weight.shape == (7, 320)
    with torch.no_grad():
        pooled, described = ours(PIXELS).pooler_output, tower(PIXELS).pooler_output
    assert torch.equal(described[:, 7 : 7 + width], pooled[:, 320:])
    assert torch.allclose(described[:, 7 + width :].sum(dim=1), torch.ones(2), atol=1e-6)
