"""What is put into a model before its first step: a head on the vision tower, and the closed-form start."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import EfficientNetModel

from clip_italian.errors import UsageError
from clip_italian.models_torch import mini
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.landmark_efficientnet import LandmarkEfficientNetModel, add_head
from clip_italian.train import start

_TEXTS = 64  # embedded at a time


@torch.no_grad()
def set_head(
    encoder: DualEncoder, images: torch.Tensor, most: int, classes: bool, generator: torch.Generator
) -> torch.Tensor:
    """Give the vision tower landmarks, and perhaps ImageNet's classes; return its new output (n, hidden) for `images`.

    `images` (n, channels) are pooled features of the training pictures; landmarks are all of them,
    or `most` drawn at random. Raises UsageError where the tower is no EfficientNet without a head.
    """
    tower = encoder.parts.vision
    if not isinstance(tower, EfficientNetModel) or isinstance(tower, LandmarkEfficientNetModel):
        raise UsageError(f"model.landmarks: the base's vision tower is a {type(tower).__name__}; set it to 0")
    drawn = torch.randperm(len(images), generator=generator)[:most].sort().values
    add_head(encoder.model, images[drawn], mini.classifier() if classes else None)
    described: torch.Tensor = encoder.parts.vision.head(images)
    return described


@torch.no_grad()
def set_projections(
    encoder: DualEncoder, images: torch.Tensor, texts: torch.Tensor, owners: torch.Tensor, groups: torch.Tensor,
    class_names: Sequence[str],
) -> None:  # fmt: skip
    """Put the closed-form start into the projections.

    `images` (n, hidden) and `texts` (m, hidden) are the frozen towers' outputs for the training
    pairs, `owners` (m,) the picture of each text, `groups` (n,) identity numbers, `class_names`
    what the head's classes are called, if it is to be used. Raises UsageError where the projections
    are not linear.
    """
    parts = encoder.parts
    if not (isinstance(parts.visual_projection, nn.Linear) and isinstance(parts.text_projection, nn.Linear)):
        raise UsageError("model.start: 'ridge' is for linear projections; set it to 'random', or to 'kept' for SigLIP")
    head = parts.vision.head if isinstance(parts.vision, LandmarkEfficientNetModel) else None
    guess, basis = None, torch.eye(images.shape[1])
    if head is not None and head.classes == len(class_names):
        # On likenesses the penalty is the kernel's: a change of basis makes it the plain one, as for inner features.
        images, probabilities = images.split([images.shape[1] - head.classes, head.classes], dim=1)
        root = head.landmarks.penalty_root()
        basis = torch.block_diag(root, torch.eye(images.shape[1] - len(root)))
        if class_names:
            # Up to a constant in each row, which softmax ignores, these are the classifier's logits.
            guess = start.Guess(probabilities.clamp(min=torch.finfo().tiny).log(), embed(encoder, class_names))
    found = start.projections(images @ basis, texts, owners, groups, encoder.dim, guess)
    parts.visual_projection.weight.copy_(torch.cat([found.visual @ basis.T, found.classes], dim=1))
    parts.text_projection.weight.copy_(found.text)
    if head is not None and guess is not None:
        head.temperature.fill_(found.temperature)


def embed(encoder: DualEncoder, texts: Sequence[str]) -> torch.Tensor:
    """Outputs (n, hidden) of the text tower for texts that are no captions of the run."""
    parts = []
    for first in range(0, len(texts), _TEXTS):
        tokens = encoder.tokenize(texts[first : first + _TEXTS])
        inputs = {key: value.to(encoder.device) for key, value in tokens.items()}
        parts.append(encoder.parts.text(**inputs).pooler_output.float().cpu())
    return torch.cat(parts)
