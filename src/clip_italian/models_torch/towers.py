"""The parts that every joint model has under one name: two towers, two projections, a scale, perhaps a bias.

`transformers` has one class per family, and they differ in what stands above the towers. In all
kinds that are supported here an embedding is `projection(tower(**inputs).pooler_output)`.
"""

from dataclasses import dataclass

from torch import nn
from transformers import (
    AltCLIPModel,
    CLIPModel,
    MetaClip2Model,
    PreTrainedModel,
    SiglipModel,
    SiglipTextModel,
    VisionTextDualEncoderModel,
)

from clip_italian.errors import UserError

# Of ChineseCLIPModel and the SigLIP 2 of variable resolution (Siglip2Model), towers and inputs work another way.
JOINT_MODELS = (VisionTextDualEncoderModel, CLIPModel, MetaClip2Model, SiglipModel, AltCLIPModel)


@dataclass(frozen=True)
class Parts:
    """What a joint model consists of; the modules are the model's own, so that training them trains the model.

    `logit_scale` is the logarithm of the cosines' multiplier, a scalar or of shape (1,) (SigLIP). Projections
    are `nn.Identity` where the towers end in the common space (SigLIP); `logit_bias` is the sigmoid loss's.
    """

    vision: PreTrainedModel
    text: PreTrainedModel
    visual_projection: nn.Module
    text_projection: nn.Module
    logit_scale: nn.Parameter
    logit_bias: nn.Parameter | None


def parts(model: PreTrainedModel) -> Parts:
    """The parts of a joint model. Raises UserError for a kind of model that is none of `JOINT_MODELS`."""
    if not isinstance(model, JOINT_MODELS):
        known = ", ".join(kind.__name__ for kind in JOINT_MODELS)
        raise UserError(f"{type(model).__name__}: no joint model of pictures and texts that is supported ({known})")
    return Parts(
        vision=model.vision_model,
        text=model.text_model,
        visual_projection=getattr(model, "visual_projection", None) or nn.Identity(),
        text_projection=getattr(model, "text_projection", None) or nn.Identity(),
        logit_scale=model.logit_scale,
        logit_bias=getattr(model, "logit_bias", None),
    )


def embedding_dim(model: PreTrainedModel) -> int:
    """Length of the embeddings of a joint model."""
    if isinstance(model, SiglipModel):
        return int(model.config.text_config.projection_size)
    return int(model.config.projection_dim)


def text_positions(model: PreTrainedModel) -> int:
    """Longest text in tokens that the text tower has positions for."""
    positions = int(model.config.text_config.max_position_embeddings)
    # RoBERTa's positions begin behind the padding's number; AltCLIP wraps such a tower.
    tower = getattr(model.text_model, "roberta", model.text_model)
    padding = getattr(getattr(tower, "embeddings", None), "padding_idx", None)
    return positions if padding is None else positions - padding - 1


def reads_padding(model: PreTrainedModel) -> bool:
    """Whether the text tower was trained on texts padded to one length, with the padding attended to (SigLIP).

    Zhai et al. 2023; such a tower pools the last position, whatever stands there.
    """
    return isinstance(model.text_model, SiglipTextModel)
