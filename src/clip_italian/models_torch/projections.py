"""Projections with a hidden layer, and the sigmoid loss's bias: what `transformers`' joint models lack.

A model with such a projection is of a class of its own, so that plain `transformers` refuses its folder
instead of loading it with random projections; importing `clip_italian` makes the class known.
"""

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedModel, VisionTextDualEncoderConfig, VisionTextDualEncoderModel

from clip_italian.models_torch.towers import parts


@strict
class MlpDualEncoderConfig(VisionTextDualEncoderConfig):
    """`VisionTextDualEncoderConfig` with the number of layers, 1 or 2, of each projection."""

    model_type = "vision-text-mlp-dual-encoder"
    visual_projection_layers: int = 2
    text_projection_layers: int = 2


class MlpDualEncoderModel(VisionTextDualEncoderModel):
    """`VisionTextDualEncoderModel` whose projections may have a hidden layer."""

    config_class = MlpDualEncoderConfig

    def __init__(
        self,
        config: MlpDualEncoderConfig,
        vision_model: PreTrainedModel | None = None,
        text_model: PreTrainedModel | None = None,
    ) -> None:
        super().__init__(config, vision_model=vision_model, text_model=text_model)
        size = config.projection_dim
        self.visual_projection = projection(self.vision_embed_dim, size, config.visual_projection_layers)
        self.text_projection = projection(self.text_embed_dim, size, config.text_projection_layers)


def projection(inputs: int, outputs: int, layers: int) -> nn.Module:
    """A random projection (batch, inputs) to (batch, outputs) without biases, of one layer or two.

    The hidden layer has the mean of both sizes and a GELU, as in open_clip's text towers (`proj_type = "mlp"`).
    The start is torch's default for linear layers.
    """
    if layers == 1:
        return nn.Linear(inputs, outputs, bias=False)
    hidden = (inputs + outputs) // 2
    return nn.Sequential(nn.Linear(inputs, hidden, bias=False), nn.GELU(), nn.Linear(hidden, outputs, bias=False))


def join(
    vision: PreTrainedModel, text: PreTrainedModel, size: int, logit_scale: float, layers: tuple[int, int] = (1, 1)
) -> VisionTextDualEncoderModel:
    """Two towers with new projections to `size`; `layers` are those of the visual and of the text projection.

    `logit_scale` is the logarithm of the cosines' multiplier.
    """
    attention = [(tower, tower.config._attn_implementation) for tower in (vision, text)]
    fields: dict[str, Any] = {
        "vision_config": vision.config.to_dict(),  # transformers 5.17 takes nothing else
        "text_config": text.config.to_dict(),
        "projection_dim": size,
        "logit_scale_init_value": logit_scale,
    }
    if layers == (1, 1):
        config = VisionTextDualEncoderConfig(**fields)
        model = VisionTextDualEncoderModel(config=config, vision_model=vision, text_model=text)
        # The constructor's own start depends on the towers' kinds.
        model.visual_projection.reset_parameters()
        model.text_projection.reset_parameters()
    else:
        config = MlpDualEncoderConfig(**fields, visual_projection_layers=layers[0], text_projection_layers=layers[1])
        model = MlpDualEncoderModel(config=config, vision_model=vision, text_model=text)
    for tower, implementation in attention:
        # The constructor forgets it (transformers 5.23), and attention without one also reads padding.
        tower.config._attn_implementation = implementation
    return model.eval()


def reset(module: nn.Module) -> None:
    """Start a projection afresh, in place."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()


def add_logit_bias(model: PreTrainedModel, value: float) -> None:
    """Give a joint model the sigmoid loss's bias, named `logit_bias`; one that has it keeps its own (SigLIP).

    `DualEncoder` keeps such a bias in `clip_italian.json`, because the model's own class does not read it.
    """
    if parts(model).logit_bias is None:
        start = torch.tensor(float(value), device=model.logit_scale.device)
        model.register_parameter("logit_bias", nn.Parameter(start))
