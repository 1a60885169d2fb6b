"""Joint models: towers, projections, scale and bias under one name for each supported family.

`transformers` has one class per family, and the classes differ above the towers. In every supported kind an embedding
is `projection(tower(**inputs).pooler_output)`.

Two things that the joint models of `transformers` lack are added here: projections with a hidden layer and the bias of
the sigmoid loss. A model with such a projection has a class of its own, so that plain `transformers` refuses its
folder instead of loading it with random projections; importing `DualEncoder` registers the class.
"""

from dataclasses import dataclass
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import (
    AltCLIPModel,
    CLIPModel,
    MetaClip2Model,
    PreTrainedModel,
    SiglipModel,
    SiglipTextModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from clip_italian.errors import UserError

# ChineseCLIPModel and SigLIP 2 with variable resolution (Siglip2Model) have incompatible towers and inputs.
JOINT_MODELS = (VisionTextDualEncoderModel, CLIPModel, MetaClip2Model, SiglipModel, AltCLIPModel)


@dataclass(frozen=True)
class Parts:
    """Modules and parameters of a joint model, shared with it, so that training them trains the model.

    `logit_scale` is the logarithm of the factor of the cosines: a scalar, or of shape (1,) in SigLIP. The projections
    are `nn.Identity` if the towers' outputs are already in the shared space (SigLIP). `logit_bias` is the bias of the
    sigmoid loss.
    """

    vision: PreTrainedModel
    text: PreTrainedModel
    visual_projection: nn.Module
    text_projection: nn.Module
    logit_scale: nn.Parameter
    logit_bias: nn.Parameter | None


def parts(model: PreTrainedModel) -> Parts:
    """Return the parts of a joint model. Raises UserError if its class is not one of `JOINT_MODELS`."""
    if not isinstance(model, JOINT_MODELS):
        known = ", ".join(kind.__name__ for kind in JOINT_MODELS)
        raise UserError(f"{type(model).__name__}: not a supported joint model of pictures and texts ({known})")
    return Parts(
        vision=model.vision_model,
        text=model.text_model,
        visual_projection=getattr(model, "visual_projection", None) or nn.Identity(),
        text_projection=getattr(model, "text_projection", None) or nn.Identity(),
        logit_scale=model.logit_scale,
        logit_bias=getattr(model, "logit_bias", None),
    )


def embedding_dim(model: PreTrainedModel) -> int:
    """Return the embedding size of a joint model."""
    if isinstance(model, SiglipModel):
        return int(model.config.text_config.projection_size)
    return int(model.config.projection_dim)


def text_positions(model: PreTrainedModel) -> int:
    """Return the maximum text length of the text tower, in tokens."""
    positions = int(model.config.text_config.max_position_embeddings)
    # RoBERTa's positions start after the padding index; AltCLIP wraps a RoBERTa.
    tower = getattr(model.text_model, "roberta", model.text_model)
    padding = getattr(getattr(tower, "embeddings", None), "padding_idx", None)
    return positions if padding is None else positions - padding - 1


def reads_padding(model: PreTrainedModel) -> bool:
    """Return True if the text tower was trained on padded texts without an attention mask (SigLIP, Zhai et al. 2023).

    Such a tower pools the last position, even if it is padding.
    """
    return isinstance(model.text_model, SiglipTextModel)


@strict
class MlpDualEncoderConfig(VisionTextDualEncoderConfig):
    """`VisionTextDualEncoderConfig` with the number of layers of each projection, 1 or 2."""

    model_type = "vision-text-mlp-dual-encoder"
    visual_projection_layers: int = 2
    text_projection_layers: int = 2


class MlpDualEncoderModel(VisionTextDualEncoderModel):
    """`VisionTextDualEncoderModel` with optional hidden layers in its projections."""

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
    """Return a random projection from `inputs` to `outputs` features, without biases, of one or two layers.

    The hidden layer has the mean of both sizes and a GELU, as in open_clip's text towers (`proj_type = "mlp"`). Initial
    weights are torch's default for linear layers.
    """
    if layers == 1:
        return nn.Linear(inputs, outputs, bias=False)
    hidden = (inputs + outputs) // 2
    return nn.Sequential(nn.Linear(inputs, hidden, bias=False), nn.GELU(), nn.Linear(hidden, outputs, bias=False))


def join(
    vision: PreTrainedModel, text: PreTrainedModel, size: int, logit_scale: float, layers: tuple[int, int] = (1, 1)
) -> VisionTextDualEncoderModel:
    """Join two towers with new projections to `size` features.

    `logit_scale` is the logarithm of the factor of the cosines; `layers` are the numbers of layers of the visual and
    the text projection.
    """
    attention = [(tower, tower.config._attn_implementation) for tower in (vision, text)]
    fields: dict[str, Any] = {
        "vision_config": vision.config.to_dict(),  # transformers 5.17 accepts only dicts
        "text_config": text.config.to_dict(),
        "projection_dim": size,
        "logit_scale_init_value": logit_scale,
    }
    if layers == (1, 1):
        config = VisionTextDualEncoderConfig(**fields)
        model = VisionTextDualEncoderModel(config=config, vision_model=vision, text_model=text)
        # The constructor's initial weights depend on the kinds of towers.
        model.visual_projection.reset_parameters()
        model.text_projection.reset_parameters()
    else:
        config = MlpDualEncoderConfig(**fields, visual_projection_layers=layers[0], text_projection_layers=layers[1])
        model = MlpDualEncoderModel(config=config, vision_model=vision, text_model=text)
    for tower, implementation in attention:
        # The constructor loses this setting (transformers 5.23); without it, attention includes padding.
        tower.config._attn_implementation = implementation
    return model.eval()


def reset_projection(module: nn.Module) -> None:
    """Reinitialise a projection in place."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()


def add_logit_bias(model: PreTrainedModel, value: float) -> None:
    """Add the bias of the sigmoid loss as parameter `logit_bias`, unless the model has one (SigLIP).

    `DualEncoder` saves an added bias in `clip_italian.json`, because the model's class does not load it.
    """
    if parts(model).logit_bias is None:
        start = torch.tensor(float(value), device=model.logit_scale.device)
        model.register_parameter("logit_bias", nn.Parameter(start))
