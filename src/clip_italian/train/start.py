"""A closed-form start for the projections: ridge regression from pictures to whitened texts.

With a few thousand pairs, a random start spends its steps on finding the axes along which texts
differ at all, and learns the training pictures by heart meanwhile. Those axes can be computed:
text features are whitened (partly, power `POWER`), and a ridge regression maps picture features
to them. Both are linear maps without bias, so they become the projection weights as they are.

The ridge is chosen by leaving each picture out in turn, which has a closed form too: with hat
values h and residuals r, the prediction for a picture left out is y - r / (1 - h).
"""

from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from clip_italian.errors import UserError
from clip_italian.evaluate import ranks

POWER = 0.75  # 0 leaves the text axes as they are, 1 makes them all equally long
FLOOR = 0.2  # added to every axis' variance, as a share of their mean
# Candidates for what is added to every feature's second moment, as a share of their mean.
RIDGES = (0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
_MOST_JUDGED = 3000  # texts that the choice of the ridge looks at


def projections(
    images: torch.Tensor, texts: torch.Tensor, owners: torch.Tensor, dim: int, ridges: Sequence[float] = RIDGES
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (dim, image hidden) and (dim, text hidden) of the projections.

    `images` (n, image hidden), `texts` (m, text hidden), `owners` (m,) the picture of each text;
    every picture has one at least. Training rows map to vectors of about unit length. Raises
    UserError where `dim` is less than the number of text features.
    """
    if dim < texts.shape[1]:
        raise UserError(f"projection_dim is {dim}, less than the {texts.shape[1]} text features; use start = 'random'")
    whitening = _whitening(texts)
    whitened = normalize(texts @ whitening.T, dim=1)
    targets = torch.zeros(len(images), texts.shape[1]).index_add_(0, owners, whitened)
    targets /= torch.bincount(owners, minlength=len(images)).unsqueeze(1)
    remove_mean = _without_mean(images)
    centred = images @ remove_mean

    # One decomposition of the second moment serves all ridges.
    variances, axes = torch.linalg.eigh(centred.T @ centred)
    along, rotated = axes.T @ (centred.T @ targets), centred @ axes
    best, best_shrunk = -1.0, along
    for ridge in ridges:
        shrink = 1 / (variances + ridge * variances.mean())
        shrunk = along * shrink.unsqueeze(1)
        hat = (rotated.square() * shrink).sum(dim=1, keepdim=True)
        left_out = targets - (targets - rotated @ shrunk) / (1 - hat)
        if (figure := _judge(left_out, whitened, owners)) > best:
            best, best_shrunk = figure, shrunk

    regression = (axes @ best_shrunk).T @ remove_mean
    spread = torch.eye(dim, texts.shape[1])
    return _unit_rows(spread @ regression, images), _unit_rows(spread @ whitening, texts)


def _judge(predictions: torch.Tensor, texts: torch.Tensor, owners: torch.Tensor) -> float:
    """MRR@10 of texts that look for their picture among predictions made without it."""
    some = slice(0, _MOST_JUDGED)
    gallery = normalize(predictions, dim=1).numpy()
    return ranks.mrr(ranks.ranks(texts[some].numpy(), gallery, owners[some].unsqueeze(1).tolist()), 10)


def _whitening(features: torch.Tensor) -> torch.Tensor:
    """Symmetric map that drops the mean direction and evens out the variance along the others."""
    variances, axes = torch.linalg.eigh(torch.cov(features.T))
    variances = variances.clamp(min=0)
    stretch = (variances + FLOOR * variances.mean()) ** (-POWER / 2)
    return axes @ torch.diag(stretch) @ axes.T @ _without_mean(features)


def _without_mean(features: torch.Tensor) -> torch.Tensor:
    """Projector onto what is orthogonal to the mean: centring without a bias."""
    mean = normalize(features.mean(dim=0), dim=0)
    return torch.eye(len(mean)) - torch.outer(mean, mean)


def _unit_rows(weights: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    return weights / (features @ weights.T).norm(dim=1).mean()
