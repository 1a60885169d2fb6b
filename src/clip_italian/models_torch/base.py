"""Base model of a training run: a joint model, two towers, or a teacher's pictures with a new text tower.

The projections and the logit scale are those of the recipe.
"""

import math
from pathlib import Path

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SiglipModel,
)

from clip_italian.config import Model
from clip_italian.errors import UsageError
from clip_italian.models import exported
from clip_italian.models.load import OPEN_CLIP, SENTENCE_TRANSFORMERS
from clip_italian.models_torch import mini
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.single_towers import (
    keep_layers,
    load_errors,
    load_text,
    load_vision,
    random_text,
    random_vision,
)
from clip_italian.models_torch.towers import (
    MlpDualEncoderModel,
    add_logit_bias,
    join,
    parts,
    projection,
    reset_projection,
)

PROJECTION_DIM = 512
LOGIT_SCALE = 20.0  # the paper's


def load_base(settings: Model) -> DualEncoder:
    """Load the base model of a recipe. New parameters are drawn from torch's default generator.

    A joint model keeps its projections and logit scale unless the recipe overrides them; another size or number of
    layers means new random projections. Raises UserError if a model cannot be loaded, and UsageError if its kind
    does not support a setting.
    """
    if settings.teacher is not None:
        return new_student(load_teacher(settings.teacher), settings)
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


def load_teacher(name: str) -> DualEncoder:
    """Load a joint model to learn from. Raises UsageError for one whose pictures a model folder cannot hold."""
    if name == "mclip" or name.startswith((OPEN_CLIP, SENTENCE_TRANSFORMERS)) or exported.is_exported(Path(name)):
        raise UsageError(
            f"model.teacher: {name} is not in a format that training can save; name a model folder, or a Hub id in the "
            "format of transformers, such as openai/clip-vit-large-patch14"
        )
    return DualEncoder.load(name)


def new_student(teacher: DualEncoder, settings: Model) -> DualEncoder:
    """Join the teacher's pictures, scale and bias with the text tower `settings.text` and a random projection of texts.

    The vision tower is shared with `teacher`. An embedding of a picture equals the teacher's. Raises UsageError for a
    `projection_dim` that differs from the teacher's.
    """
    assert settings.text is not None
    given = teacher.parts
    size = teacher.dim
    if settings.projection_dim not in (None, size):
        raise UsageError(
            f"model.projection_dim = {settings.projection_dim}: {settings.teacher} has {size} dimensions; remove it"
        )
    text, tokenizer = _text_tower(settings, settings.text)
    if settings.text_layers is not None:
        keep_layers(text, settings.text_layers, settings.text)
    layers = (2 if isinstance(given.visual_projection, nn.Sequential) else 1, settings.projection_layers)
    model = join(given.vision, text, size, given.logit_scale.item(), layers)
    if isinstance(given.visual_projection, nn.Identity):
        nn.init.eye_(model.visual_projection.weight)
    else:
        model.visual_projection.load_state_dict(given.visual_projection.state_dict())
    if given.logit_bias is not None:
        add_logit_bias(model, given.logit_bias.item())
    encoder = DualEncoder(model, tokenizer, teacher.image_processor, token_limit=settings.max_tokens)
    if settings.logit_scale is not None:
        _set_scale(encoder, math.log(settings.logit_scale))
    return encoder


def _two_towers(settings: Model, vision_name: str, text_name: str) -> DualEncoder:
    pretrained = settings.init == "pretrained"
    vision, processor = load_vision(vision_name) if pretrained else random_vision(vision_name)
    text, tokenizer = _text_tower(settings, text_name)
    layers = (settings.projection_layers, settings.projection_layers)
    size = settings.projection_dim or PROJECTION_DIM
    return DualEncoder(join(vision, text, size, math.log(LOGIT_SCALE), layers), tokenizer, processor)


def _text_tower(settings: Model, name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    source = str(mini.base_folder()) if name == "mini" else name
    return load_text(source) if settings.init == "pretrained" else random_text(source)


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
