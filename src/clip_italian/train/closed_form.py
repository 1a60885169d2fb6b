"""What is put into a model before its first step: a head on the vision tower, and the closed-form start."""

from collections.abc import Sequence

import torch
from transformers import EfficientNetModel

from clip_italian.errors import UsageError
from clip_italian.model import mini
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.model.landmark_efficientnet import LandmarkEfficientNetModel, add_head
from clip_italian.train import start
from clip_italian.train.towers import Towers, pooled_images, pooled_texts

_NAMES_AT_ONCE = 64


@torch.no_grad()
def set_head(
    encoder: DualEncoder, towers: Towers, train: torch.Tensor, most: int, classes: bool, generator: torch.Generator
) -> None:
    """Give the vision tower landmarks (the training pictures, or `most` of them drawn at random) and perhaps classes.

    Raises UsageError where the tower is no EfficientNet without a head.
    """
    tower = encoder.model.vision_model
    if not isinstance(tower, EfficientNetModel) or isinstance(tower, LandmarkEfficientNetModel):
        raise UsageError(f"model.landmarks: the base's vision tower is a {type(tower).__name__}; set it to 0")
    drawn = train[torch.randperm(len(train), generator=generator)[:most].sort().values]
    add_head(encoder.model, pooled_images(towers, drawn), mini.classifier() if classes else None)


@torch.no_grad()
def set_projections(
    encoder: DualEncoder, towers: Towers, train: torch.Tensor, own: Sequence[Sequence[int]], groups: torch.Tensor,
    class_names: Sequence[str],
) -> None:  # fmt: skip
    """Put the closed-form start into the projections, from the rows `train` and all their captions.

    `own[i]` are the text rows of picture i and `groups` (n,) identity numbers; `class_names` are
    the names of the head's classes, where it has any.
    """
    model = encoder.model
    texts = torch.tensor([text for row in train.tolist() for text in own[row]])
    owners = torch.tensor([picture for picture, row in enumerate(train.tolist()) for _ in own[row]])
    images = pooled_images(towers, train)
    head = getattr(model.vision_model, "head", None)
    guess, basis = None, torch.eye(images.shape[1])
    if head is not None:
        likeness, probabilities = images.split([len(head.landmarks.weight), len(class_names)], dim=1)
        # On likenesses the penalty is the kernel's: a change of basis makes it the plain one.
        images, basis = likeness, head.landmarks.penalty_root()
        if class_names:
            # Up to a constant in each row, which softmax ignores, these are the classifier's logits.
            guess = start.Guess(probabilities.clamp(min=torch.finfo().tiny).log(), _embed(encoder, class_names))
    found = start.projections(
        images @ basis, pooled_texts(towers, texts), owners, groups[train], encoder.dim, guess
    )  # fmt: skip
    model.visual_projection.weight.copy_(torch.cat([found.visual @ basis.T, found.classes], dim=1))
    model.text_projection.weight.copy_(found.text)
    if head is not None:
        head.temperature.fill_(found.temperature)


def _embed(encoder: DualEncoder, texts: Sequence[str]) -> torch.Tensor:
    """Pooled features (n, hidden) of texts that are no captions of the run."""
    parts = [texts[i : i + _NAMES_AT_ONCE] for i in range(0, len(texts), _NAMES_AT_ONCE)]
    return torch.cat([encoder.model.text_model(**encoder.tokenize(part)).pooler_output for part in parts])
