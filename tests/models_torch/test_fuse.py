import torch
from transformers import ViTConfig, ViTModel

from clip_italian.models_torch.fuse import inference_copy
from tests.models_torch.test_cut import PIXELS, efficientnet


def test_fused_copy_has_the_same_output_and_does_not_change_the_tower():
    tower = efficientnet()
    for module in tower.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    fused = inference_copy(tower)
    with torch.no_grad():
        assert torch.allclose(fused(**PIXELS).pooler_output, tower(**PIXELS).pooler_output, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())


def test_other_towers_are_returned_unchanged():
    tower = ViTModel(
        ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=32)
    )
    assert inference_copy(tower) is tower
