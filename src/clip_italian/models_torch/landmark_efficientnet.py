"""EfficientNet whose output is similarity to training pictures (landmarks) and ImageNet class probabilities.

A linear projection of pooled features can only reweight what ImageNet's classes have in common. Similarity to landmarks
is a non-linear map with a closed-form fit: ridge regression on it is kernel ridge regression, or its Nyström
approximation if the landmarks are a sample (Williams and Seeger, 2001). The class probabilities, with the names of the
classes, are a first estimate that the regression corrects. Features of inner blocks pass through unchanged; a linear
regression on them acts as a second kernel. This head sits between pooling and projection, so that the model works as
any vision tower of `VisionTextDualEncoderModel`.
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

# Rate at which similarity falls with the angle; MRR@10 hardly changes between 2 and 4 (docs/LOG.md).
SHARPNESS = 2.5
# Added to the diagonal of the kernel matrix, which is singular if two landmarks are equal.
_JITTER = 1e-3


@strict
class LandmarkEfficientNetConfig(DetailedEfficientNetConfig):
    """Configuration of the tower below the head; `hidden_size` counts landmarks, inner features and classes.

    `landmark_groups` are the sizes of the landmark groups of a merged model; empty means a single group.
    """

    model_type = "landmark_efficientnet"
    hidden_size: int = 1
    classes: int = 0
    sharpness: float = SHARPNESS
    landmark_groups: list[int] | tuple[int, ...] = ()


# Centre (features,) and landmarks (count, features).
Group = tuple[torch.Tensor, torch.Tensor]


class Landmarks(nn.Module):
    """Similarity `exp(sharpness * (cosine - 1))` of centred features to landmarks: (n, features) to (n, m).

    `sizes` are the sizes of landmark groups, each with its own centre; empty means one group with a `centre` of shape
    (features,).
    """

    def __init__(self, count: int, features: int, sharpness: float, sizes: Sequence[int] = ()) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.sizes = list(sizes) or [count]
        self.centre = nn.Parameter(torch.zeros(len(sizes), features) if sizes else torch.zeros(features))
        self.weight = nn.Parameter(torch.zeros(count, features))

    def groups(self) -> list[Group]:
        """Return the groups in order, as views of the parameters."""
        return list(zip(self.centre.view(-1, self.weight.shape[1]), self.weight.split(self.sizes), strict=True))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the similarity (n, m), in (0, 1], of features (n, features)."""
        found = [self._similarity(normalize(features - centre, dim=1), members) for centre, members in self.groups()]
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)

    @torch.no_grad()
    def penalty_root(self) -> torch.Tensor:
        """Return R (m, m): ordinary ridge regression on `self(x) @ R` is kernel ridge regression within each group."""
        roots = []
        for _, members in self.groups():
            kernel = self._similarity(members, members).double()
            kernel.diagonal().add_(_JITTER)
            identity = torch.eye(len(kernel), dtype=torch.float64)
            roots.append(torch.linalg.solve_triangular(torch.linalg.cholesky(kernel), identity, upper=False).T.float())
        return roots[0] if len(roots) == 1 else torch.block_diag(*roots)

    def _similarity(self, units: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        return torch.exp(self.sharpness * (units @ landmarks.T - 1))


class Head(nn.Module):
    """Head on pooled features (n, features + inner), with output (n, landmarks + inner + classes).

    Landmark similarity and class probabilities are computed from the first `features`; the inner features pass through.
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
        """Apply the head to pooled features (n, features + inner)."""
        last, inner = pooled[:, : self.features], pooled[:, self.features :]
        outputs = [self.landmarks(last), inner]
        if self.classifier is not None:
            outputs.append(torch.softmax(self.classifier(last) / self.temperature, dim=1))
        return torch.cat(outputs, dim=1)


class LandmarkEfficientNetModel(DetailedEfficientNetModel):
    """EfficientNet with a `Head`, whose output is `pooler_output` (batch, hidden size)."""

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


def head_of(tower: EfficientNetModel) -> nn.Module:
    """Return the module between pooling and the tower's output: its head, or the identity."""
    return tower.head if isinstance(tower, LandmarkEfficientNetModel) else nn.Identity()


def forward_without_head(tower: nn.Module) -> Callable[..., Any]:
    """Return the unbound forward method that stops at pooled features; call it with the tower or a copy."""
    return DetailedEfficientNetModel.forward if isinstance(tower, DetailedEfficientNetModel) else type(tower).forward


@torch.no_grad()
def add_head(
    model: VisionTextDualEncoderModel, features: torch.Tensor, classifier: tuple[torch.Tensor, torch.Tensor] | None
) -> None:
    """Add a head to the model's EfficientNet, in place.

    `features` (m, channels) are pooled features of the landmarks, of which only those of the last map are used; m may
    be 0. `classifier` is weight (classes, features) and bias (classes,), or None. The layers below the head stay the
    same objects; the visual projection is replaced by a new random one.
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
    """Replace the model's landmark groups by `groups`, without changing its embeddings beyond rounding.

    Existing landmarks keep their weights in the projection, new ones get zeros. Raises ValueError if a group of the
    model is missing from `groups`.
    """
    tower = model.vision_model
    head, projection = tower.head, model.visual_projection
    weights = projection.weight
    own = head.landmarks.groups()
    parts = weights.split([*(len(members) for _, members in own), weights.shape[1] - len(head.landmarks.weight)], dim=1)
    columns: list[torch.Tensor] = [weights.new_zeros(len(weights), len(members)) for _, members in groups]
    for group, part in zip(own, parts[:-1], strict=True):
        columns[find_group(groups, group)] = part
    sizes = [len(members) for _, members in groups]
    landmarks = Landmarks(sum(sizes), head.features, head.landmarks.sharpness, sizes)
    landmarks.centre.copy_(torch.stack([centre for centre, _ in groups]))
    landmarks.weight.copy_(torch.cat([members for _, members in groups]))
    head.landmarks = landmarks.to(weights.device)
    widened = torch.cat([*columns, parts[-1]], dim=1)
    model.visual_projection = nn.Linear(widened.shape[1], len(widened), bias=False).to(weights.device)
    model.visual_projection.weight.copy_(widened)
    tower.config.hidden_size = model.vision_embed_dim = widened.shape[1]
    tower.config.landmark_groups = sizes
    model.config.vision_config = tower.config


def find_group(groups: Sequence[Group], wanted: Group) -> int:
    """Return the index of an equal group; raises ValueError if there is none."""
    for at, group in enumerate(groups):
        if all(map(torch.equal, group, wanted)):
            return at
    raise ValueError("no such group of landmarks")
