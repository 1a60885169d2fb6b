"""A closed-form start for the projections: ridge regression from pictures to whitened texts.

With a few thousand pairs, a random start spends most of its steps on finding the axes along
which texts differ at all. Those can be computed: text features are whitened (partly, power
`POWER`), and a ridge regression maps picture features to them. Both are linear maps without
bias, so they become the projection weights as they are; the stages go on from there.
"""

from collections.abc import Iterator, Sequence

import torch

from clip_italian.errors import UserError

POWER = 0.75  # 0 leaves the text axes as they are, 1 makes them all equally long
FLOOR = 0.2  # added to every axis' variance, as a share of their mean
# Candidates for what is added to every feature's second moment, as a share of their mean; a run
# takes the one with the best validation MRR@10. Few and varied pairs (photos) want more.
RIDGES = (0.5, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0)


def projections(
    images: torch.Tensor, texts: torch.Tensor, dim: int, ridges: Sequence[float] = RIDGES
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """For each ridge, weights (dim, image hidden) and (dim, text hidden) from features of matching rows.

    `images` (n, image hidden), `texts` (n, text hidden). Rows map to vectors of about unit
    length. Raises UserError where `dim` is less than the text features' number.
    """
    if dim < texts.shape[1]:
        raise UserError(f"projection_dim is {dim}, less than the {texts.shape[1]} text features; use start = 'random'")
    whitening = _whitening(texts)
    targets = torch.nn.functional.normalize(texts @ whitening.T, dim=1)
    remove_mean = _without_mean(images)
    centred = images @ remove_mean
    # One decomposition serves all ridges.
    variances, axes = torch.linalg.eigh(centred.T @ centred)
    along = axes.T @ (centred.T @ targets)
    spread = torch.eye(dim, texts.shape[1])
    text_weights = _unit_rows(spread @ whitening, texts)
    for ridge in ridges:
        shrunk = along / (variances + ridge * variances.mean()).unsqueeze(1)
        regression = (axes @ shrunk).T @ remove_mean
        yield _unit_rows(spread @ regression, images), text_weights


def _whitening(features: torch.Tensor) -> torch.Tensor:
    """Symmetric map that drops the mean direction and evens out the variance along the others."""
    variances, axes = torch.linalg.eigh(torch.cov(features.T))
    variances = variances.clamp(min=0)
    stretch = (variances + FLOOR * variances.mean()) ** (-POWER / 2)
    return axes @ torch.diag(stretch) @ axes.T @ _without_mean(features)


def _without_mean(features: torch.Tensor) -> torch.Tensor:
    """Projector onto what is orthogonal to the mean: centring without a bias."""
    mean = torch.nn.functional.normalize(features.mean(dim=0), dim=0)
    return torch.eye(len(mean)) - torch.outer(mean, mean)


def _unit_rows(weights: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    return weights / (features @ weights.T).norm(dim=1).mean()
