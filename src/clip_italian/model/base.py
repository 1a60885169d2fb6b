"""Where a run starts from: the base encoders with fresh projections and the recipe's logit scale."""

import math

import torch
from torch import nn

from clip_italian.config import Model
from clip_italian.model import mini
from clip_italian.model.dual_encoder import DualEncoder


def load_base(settings: Model) -> DualEncoder:
    """Load the base named by the recipe; a new projection size means new random projections."""
    place = mini.base_folder() if settings.base == "mini" else settings.base
    encoder = DualEncoder.load(place)
    model = encoder.model
    if settings.projection_dim != encoder.dim:
        model.visual_projection = nn.Linear(model.visual_projection.in_features, settings.projection_dim, bias=False)
        model.text_projection = nn.Linear(model.text_projection.in_features, settings.projection_dim, bias=False)
        model.config.projection_dim = model.projection_dim = settings.projection_dim
    with torch.no_grad():
        model.logit_scale.fill_(math.log(settings.logit_scale))
    model.config.logit_scale_init_value = math.log(settings.logit_scale)
    return encoder
