"""EfficientNet that describes a picture by its likeness to pictures that it was trained on.

A linear projection of pooled features can only weigh what ImageNet's classes have in common.
Likeness to landmarks (training pictures) is a non-linear map with a closed form: with a
regression on top it is kernel ridge regression, or Nyström's approximation of it where the
landmarks are a sample (Williams and Seeger, 2001). The layer stands between pooling and
projection, so that the tower takes any other's place in `VisionTextDualEncoderModel`.
"""

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn.functional import normalize
from transformers import (
    EfficientNetConfig,
    EfficientNetModel,
    VisionTextDualEncoderModel,
)
from transformers.models.efficientnet.modeling_efficientnet import BaseModelOutputWithPoolingAndNoAttention

# How fast likeness falls with the angle; MRR@10 hardly changes between 2 and 4 (docs/LOG.md).
SHARPNESS = 2.5
# Landmarks may be equal pictures: this much is added to the diagonal of their likenesses.
_JITTER = 1e-3


@strict
class LandmarkEfficientNetConfig(EfficientNetConfig):
    """EfficientNet's configuration; `hidden_size` is the number of landmarks, `hidden_dim` the features pooled."""

    model_type = "landmark_efficientnet"
    hidden_size: int = 1
    sharpness: float = SHARPNESS


class Landmarks(nn.Module):
    """`exp(sharpness * (cosine - 1))` of features to landmarks, both seen from a centre: (n, features) to (n, m)."""

    def __init__(self, count: int, features: int, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.centre = nn.Parameter(torch.zeros(features))
        self.weight = nn.Parameter(torch.zeros(count, features))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Likeness (n, m) in (0, 1] of features (n, features)."""
        return self._likeness(normalize(features - self.centre, dim=1))

    @torch.no_grad()
    def penalty_root(self) -> torch.Tensor:
        """R (m, m) such that plain ridge regression on `self(x) @ R` is kernel ridge regression."""
        among = self._likeness(self.weight).double()
        among.diagonal().add_(_JITTER)
        lower = torch.linalg.cholesky(among)
        return torch.linalg.solve_triangular(lower, torch.eye(len(among), dtype=torch.float64), upper=False).T.float()

    def _likeness(self, units: torch.Tensor) -> torch.Tensor:
        return torch.exp(self.sharpness * (units @ self.weight.T - 1))


class LandmarkEfficientNetModel(EfficientNetModel):
    """EfficientNet whose `pooler_output` (batch, landmarks) is the likeness to landmarks."""

    config_class = LandmarkEfficientNetConfig

    def __init__(self, config: LandmarkEfficientNetConfig) -> None:
        super().__init__(config)
        self.landmarks = Landmarks(config.hidden_size, config.hidden_dim, config.sharpness)

    def forward(  # type: ignore[override]
        self, pixel_values: torch.Tensor | None = None, return_dict: bool | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPoolingAndNoAttention | tuple[Any, ...]:
        """Encode pixels (batch, 3, height, width)."""
        outputs = super().forward(pixel_values=pixel_values, return_dict=True, **kwargs)
        outputs.pooler_output = self.landmarks(outputs.pooler_output)
        return outputs.to_tuple() if return_dict is False else outputs


def above_pooling(tower: EfficientNetModel) -> nn.Module:
    """What comes between pooling and the tower's output: its landmarks, or nothing."""
    return tower.landmarks if isinstance(tower, LandmarkEfficientNetModel) else nn.Identity()


@torch.no_grad()
def add_landmarks(model: VisionTextDualEncoderModel, features: torch.Tensor) -> None:
    """Give the model's EfficientNet landmarks: pooled features (m, features) of some pictures.

    The layers below are the same objects as before; the projection of pictures starts afresh.
    """
    old = model.vision_model
    fields = {key: value for key, value in old.config.to_dict().items() if key not in ("model_type", "architectures")}
    config = LandmarkEfficientNetConfig(**fields | {"hidden_size": len(features), "hidden_dim": features.shape[1]})
    with torch.device("meta"):
        tower = LandmarkEfficientNetModel(config)
    tower.embeddings, tower.encoder, tower.pooler = old.embeddings, old.encoder, old.pooler
    tower.landmarks = Landmarks(len(features), features.shape[1], config.sharpness)
    tower.landmarks.centre.copy_(features.mean(dim=0))
    tower.landmarks.weight.copy_(normalize(features - tower.landmarks.centre, dim=1))
    model.vision_model = tower.eval()
    model.config.vision_config = config
    model.vision_embed_dim = len(features)
    model.visual_projection = nn.Linear(len(features), model.projection_dim, bias=False)
