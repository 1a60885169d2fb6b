"""EfficientNet that describes a picture by its likeness to training pictures, and by ImageNet's classes.

A linear projection of pooled features can only weigh what ImageNet's classes have in common.
Likeness to landmarks (training pictures) is a non-linear map with a closed form: with a
regression on top it is kernel ridge regression, or Nyström's approximation of it where the
landmarks are a sample (Williams and Seeger, 2001). The probabilities of classes whose names are
known are a guess that such a regression only has to correct. Both stand between pooling and
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
    """EfficientNet's configuration; `hidden_dim` features are pooled, `hidden_size` is landmarks plus classes."""

    model_type = "landmark_efficientnet"
    hidden_size: int = 1
    classes: int = 0
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


class Head(nn.Module):
    """Likeness to landmarks and, beside it, class probabilities: (n, features) to (n, landmarks + classes)."""

    def __init__(self, landmarks: int, classes: int, features: int, sharpness: float) -> None:
        super().__init__()
        self.landmarks = Landmarks(landmarks, features, sharpness)
        self.classifier: Any = nn.Linear(features, classes) if classes else None
        self.classes = classes
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Describe pooled features (n, features)."""
        likeness: torch.Tensor = self.landmarks(features)
        if self.classifier is None:
            return likeness
        return torch.cat([likeness, torch.softmax(self.classifier(features) / self.temperature, dim=1)], dim=1)


class LandmarkEfficientNetModel(EfficientNetModel):
    """EfficientNet whose `pooler_output` (batch, landmarks + classes) is what its `Head` makes of pooled features."""

    config_class = LandmarkEfficientNetConfig

    def __init__(self, config: LandmarkEfficientNetConfig) -> None:
        super().__init__(config)
        landmarks = config.hidden_size - config.classes
        self.head = Head(landmarks, config.classes, config.hidden_dim, config.sharpness)

    def forward(  # type: ignore[override]
        self, pixel_values: torch.Tensor | None = None, return_dict: bool | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPoolingAndNoAttention | tuple[Any, ...]:
        """Encode pixels (batch, 3, height, width)."""
        outputs = super().forward(pixel_values=pixel_values, return_dict=True, **kwargs)
        outputs.pooler_output = self.head(outputs.pooler_output)
        return outputs.to_tuple() if return_dict is False else outputs


def above_pooling(tower: EfficientNetModel) -> nn.Module:
    """What comes between pooling and the tower's output: its head, or nothing."""
    return tower.head if isinstance(tower, LandmarkEfficientNetModel) else nn.Identity()


@torch.no_grad()
def add_head(
    model: VisionTextDualEncoderModel, features: torch.Tensor, classifier: tuple[torch.Tensor, torch.Tensor] | None
) -> None:
    """Give the model's EfficientNet a head: landmarks with pooled features (m, features), and perhaps a classifier.

    There may be no landmarks (m = 0).

    The classifier is weight (classes, features) and bias (classes,). The layers below are the
    same objects as before; the projection of pictures starts afresh.
    """
    landmarks, width = features.shape
    classes = 0 if classifier is None else len(classifier[0])
    old = model.vision_model
    fields = {key: value for key, value in old.config.to_dict().items() if key not in ("model_type", "architectures")}
    fields |= {"hidden_size": landmarks + classes, "classes": classes, "hidden_dim": width}
    config = LandmarkEfficientNetConfig(**fields)
    with torch.device("meta"):
        tower = LandmarkEfficientNetModel(config)
    tower.embeddings, tower.encoder, tower.pooler = old.embeddings, old.encoder, old.pooler
    tower.head = Head(landmarks, classes, width, config.sharpness)
    if landmarks:
        tower.head.landmarks.centre.copy_(features.mean(dim=0))
        tower.head.landmarks.weight.copy_(normalize(features - tower.head.landmarks.centre, dim=1))
    if classifier is not None:
        tower.head.classifier.load_state_dict({"weight": classifier[0], "bias": classifier[1]})
    model.vision_model = tower.eval()
    model.config.vision_config = config
    model.vision_embed_dim = config.hidden_size
    model.visual_projection = nn.Linear(config.hidden_size, model.projection_dim, bias=False)
