"""Base model of a training run: a joint model or two towers, with the recipe's projections and logit scale."""

import math

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    SiglipModel,
)

from clip_italian.config import Model
from clip_italian.errors import UsageError
from clip_italian.models_torch import mini
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.single_towers import load_errors, load_text, load_vision, random_text, random_vision
from clip_italian.models_torch.towers import MlpDualEncoderModel, join, parts, projection, reset_projection

PROJECTION_DIM = 512
LOGIT_SCALE = 20.0  # the paper's


def load_base(settings: Model) -> DualEncoder:
    """Load the base model of a recipe. New parameters are drawn from torch's default generator.

    A joint model keeps its projections and logit scale unless the recipe overrides them; another size or number of
    layers means new random projections. Raises UserError if a model cannot be loaded, and UsageError if its kind
    does not support a setting.
    """
    if settings.vision is not None and settings.text is not None:
        encoder = _two_towers(settings, settings.vision, settings.text)
    else:
        assert settings.base is not None
        source = str(mini.base_folder()) if settings.base == "mini" else settings.base
        encoder = DualEncoder.load(source) if settings.init == "pretrained" else _random_joint(source)
        _set_projections(encoder, settings)
    if settings.logit_scale is not None:
        _set_scale(encoder, math.log(settings.logit_scale))
    encoder.token_limit = settings.max_tokens
    return encoder


def _two_towers(settings: Model, vision_name: str, text_name: str) -> DualEncoder:
    pretrained = settings.init == "pretrained"
    vision, processor = load_vision(vision_name) if pretrained else random_vision(vision_name)
    text, tokenizer = load_text(text_name) if pretrained else random_text(text_name)
    layers = (settings.projection_layers, settings.projection_layers)
    size = settings.projection_dim or PROJECTION_DIM
    return DualEncoder(join(vision, text, size, math.log(LOGIT_SCALE), layers), tokenizer, processor)


def _random_joint(name: str) -> DualEncoder:
    """Joint model with random weights and the configuration, tokenizer and preprocessing of `name`."""
    with load_errors(name):
        model = AutoModel.from_config(AutoConfig.from_pretrained(name)).eval()
        parts(model)
        processor = AutoImageProcessor.from_pretrained(name, backend="pil")
        return DualEncoder(model, AutoTokenizer.from_pretrained(name), processor)


def _set_projections(encoder: DualEncoder, settings: Model) -> None:
    model, size = encoder.model, settings.projection_dim or encoder.dim
    add_layer = settings.projection_layers == 2 and not isinstance(model, MlpDualEncoderModel)
    if isinstance(model, SiglipModel):
        if size != encoder.dim or add_layer or settings.start == "random":
            raise UsageError(
                f"{settings.base}: SigLIP has no projections; remove their settings and set model.start = 'kept'"
            )
    elif add_layer:
        if not hasattr(model, "vision_embed_dim") or type(model).__name__ != "VisionTextDualEncoderModel":
            raise UsageError(
                f"{settings.base}: a {type(model).__name__} has linear projections; set projection_layers = 1"
            )
        scale = model.logit_scale.item()
        encoder.model = join(model.vision_model, model.text_model, size, scale, layers=(2, 2))
    elif size != encoder.dim:
        layers = (1, 1)
        if isinstance(model, MlpDualEncoderModel):
            layers = (model.config.visual_projection_layers, model.config.text_projection_layers)
        model.visual_projection = projection(model.vision_embed_dim, size, layers[0])
        model.text_projection = projection(model.text_embed_dim, size, layers[1])
        model.config.projection_dim = model.projection_dim = size
    elif settings.start == "random":
        reset_projection(model.visual_projection)
        reset_projection(model.text_projection)


@torch.no_grad()
def _set_scale(encoder: DualEncoder, logarithm: float) -> None:
    encoder.model.logit_scale.fill_(logarithm)
    if hasattr(encoder.model.config, "logit_scale_init_value"):
        encoder.model.config.logit_scale_init_value = logarithm
