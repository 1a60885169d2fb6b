"""EfficientNet that describes a picture by its likeness to training pictures, and by ImageNet's classes.

A linear projection of pooled features can only weigh what ImageNet's classes have in common.
Likeness to landmarks (training pictures) is a non-linear map with a closed form: with a
regression on top it is kernel ridge regression, or Nyström's approximation of it where the
landmarks are a sample (Williams and Seeger, 2001). The probabilities of classes whose names are
known are a guess that such a regression only has to correct. Features of inner blocks pass as they are: beside the
likenesses, a linear regression on them is a second kernel. All stand between pooling and projection, so that the tower
takes any other's place in `VisionTextDualEncoderModel`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn.functional import normalize
from transformers import EfficientNetModel, VisionTextDualEncoderModel
from transformers.models.efficientnet.modeling_efficientnet import BaseModelOutputWithPoolingAndNoAttention

from clip_italian.models_torch.detailed_efficientnet import (
    DetailedEfficientNetConfig,
    DetailedEfficientNetModel,
    inner_width,
)

# How fast likeness falls with the angle; MRR@10 hardly changes between 2 and 4 (docs/LOG.md).
SHARPNESS = 2.5
# Landmarks may be equal pictures: this much is added to the diagonal of their likenesses.
_JITTER = 1e-3


@strict
class LandmarkEfficientNetConfig(DetailedEfficientNetConfig):
    """The configuration of what lies below the head, but `hidden_size` is landmarks, inner features and classes.

    `landmark_groups` are the sizes of the groups of landmarks that a merged model has; none: all are one group.
    """

    model_type = "landmark_efficientnet"
    hidden_size: int = 1
    classes: int = 0
    sharpness: float = SHARPNESS
    landmark_groups: list[int] | tuple[int, ...] = ()


# A centre (features,) and landmarks (count, features).
Group = tuple[torch.Tensor, torch.Tensor]


class Landmarks(nn.Module):
    """`exp(sharpness * (cosine - 1))` of features to landmarks, both seen from a centre: (n, features) to (n, m).

    `sizes` are those of groups with a centre each; none: one group, whose `centre` is (features,).
    """

    def __init__(self, count: int, features: int, sharpness: float, sizes: Sequence[int] = ()) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.sizes = list(sizes) or [count]
        self.centre = nn.Parameter(torch.zeros(len(sizes), features) if sizes else torch.zeros(features))
        self.weight = nn.Parameter(torch.zeros(count, features))

    def groups(self) -> list[Group]:
        """The groups in order, views of the parameters."""
        return list(zip(self.centre.view(-1, self.weight.shape[1]), self.weight.split(self.sizes), strict=True))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Likeness (n, m) in (0, 1] of features (n, features)."""
        found = [self._likeness(normalize(features - centre, dim=1), some) for centre, some in self.groups()]
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)

    @torch.no_grad()
    def penalty_root(self) -> torch.Tensor:
        """R (m, m) such that plain ridge regression on `self(x) @ R` is kernel ridge regression, group by group."""
        roots = []
        for _, some in self.groups():
            among = self._likeness(some, some).double()
            among.diagonal().add_(_JITTER)
            one = torch.eye(len(among), dtype=torch.float64)
            roots.append(torch.linalg.solve_triangular(torch.linalg.cholesky(among), one, upper=False).T.float())
        return roots[0] if len(roots) == 1 else torch.block_diag(*roots)

    def _likeness(self, units: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        return torch.exp(self.sharpness * (units @ landmarks.T - 1))


class Head(nn.Module):
    """What takes the place of pooled features (n, features + inner): (n, landmarks + inner + classes).

    Likeness to landmarks and class probabilities come from the first `features`; inner ones pass.
    """

    def __init__(
        self, landmarks: int, classes: int, features: int, sharpness: float, sizes: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.features = features
        self.landmarks = Landmarks(landmarks, features, sharpness, sizes)
        self.classifier: Any = nn.Linear(features, classes) if classes else None
        self.classes = classes
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Describe pooled features (n, features + inner)."""
        last, inner = pooled[:, : self.features], pooled[:, self.features :]
        described = [self.landmarks(last), inner]
        if self.classifier is not None:
            described.append(torch.softmax(self.classifier(last) / self.temperature, dim=1))
        return torch.cat(described, dim=1)


class LandmarkEfficientNetModel(DetailedEfficientNetModel):
    """EfficientNet whose `pooler_output` (batch, hidden size) is what its `Head` makes of pooled features."""

    config_class = LandmarkEfficientNetConfig

    def __init__(self, config: LandmarkEfficientNetConfig) -> None:
        super().__init__(config)
        landmarks = config.hidden_size - config.classes - inner_width(self)
        self.head = Head(landmarks, config.classes, config.hidden_dim, config.sharpness, config.landmark_groups)

    def forward(  # type: ignore[override]
        self, pixel_values: torch.Tensor | None = None, return_dict: bool | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPoolingAndNoAttention | tuple[Any, ...]:
        """Encode pixels (batch, 3, height, width)."""
        outputs: Any = super().forward(pixel_values=pixel_values, return_dict=True, **kwargs)
        outputs.pooler_output = self.head(outputs.pooler_output)
        return outputs.to_tuple() if return_dict is False else outputs


def above_pooling(tower: EfficientNetModel) -> nn.Module:
    """What comes between pooling and the tower's output: its head, or nothing."""
    return tower.head if isinstance(tower, LandmarkEfficientNetModel) else nn.Identity()


def below_head(tower: nn.Module) -> Callable[..., Any]:
    """The forward pass of the tower's class that ends with pooled features, to be called with it or a copy."""
    return DetailedEfficientNetModel.forward if isinstance(tower, DetailedEfficientNetModel) else type(tower).forward


@torch.no_grad()
def add_head(
    model: VisionTextDualEncoderModel, features: torch.Tensor, classifier: tuple[torch.Tensor, torch.Tensor] | None
) -> None:
    """Give the model's EfficientNet a head: landmarks with pooled features (m, channels), and perhaps a classifier.

    Of the features count those of the last map, the first ones. There may be no landmarks (m = 0).
    The classifier is weight (classes, features) and bias (classes,). The layers below are the
    same objects as before; the projection of pictures starts afresh.
    """
    old = model.vision_model
    landmarks, width = len(features), old.config.hidden_dim
    features = features[:, :width]
    classes = 0 if classifier is None else len(classifier[0])
    fields = {key: value for key, value in old.config.to_dict().items() if key not in ("model_type", "architectures")}
    fields |= {"hidden_size": landmarks + inner_width(old) + classes, "classes": classes}
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


@torch.no_grad()
def set_groups(model: VisionTextDualEncoderModel, groups: Sequence[Group]) -> None:
    """Give a model with landmarks these groups of them; embeddings stay the same to rounding.

    Landmarks that it has keep their weights in the projection, others get zeros. Raises ValueError where a group of
    the model is not among `groups`.
    """
    tower = model.vision_model
    head, projection = tower.head, model.visual_projection
    weights = projection.weight
    own = head.landmarks.groups()
    parts = weights.split([*(len(some) for _, some in own), weights.shape[1] - len(head.landmarks.weight)], dim=1)
    columns: list[torch.Tensor] = [weights.new_zeros(len(weights), len(some)) for _, some in groups]
    for group, part in zip(own, parts[:-1], strict=True):
        columns[find_group(groups, group)] = part
    sizes = [len(some) for _, some in groups]
    landmarks = Landmarks(sum(sizes), head.features, head.landmarks.sharpness, sizes)
    landmarks.centre.copy_(torch.stack([centre for centre, _ in groups]))
    landmarks.weight.copy_(torch.cat([some for _, some in groups]))
    head.landmarks = landmarks.to(weights.device)
    widened = torch.cat([*columns, parts[-1]], dim=1)
    model.visual_projection = nn.Linear(widened.shape[1], len(widened), bias=False).to(weights.device)
    model.visual_projection.weight.copy_(widened)
    tower.config.hidden_size = model.vision_embed_dim = widened.shape[1]
    tower.config.landmark_groups = sizes
    model.config.vision_config = tower.config


def find_group(groups: Sequence[Group], wanted: Group) -> int:
    """The place of an equal group; raises ValueError where there is none."""
    for at, group in enumerate(groups):
        if all(map(torch.equal, group, wanted)):
            return at
    raise ValueError("no such group of landmarks")
