"""A closed-form start for the projections: ridge regression from pictures to whitened texts.

With a few thousand pairs, a random start spends its steps on finding the axes along which texts
differ at all, and learns the training pictures by heart meanwhile. Those axes can be computed:
text features are whitened (partly, power `POWER`), and a ridge regression maps picture features
to them. Where a classifier names what pictures show, its names' texts, weighted by its
probabilities, are a first guess, and the regression maps to what the guess leaves over. All of
it is linear without bias, so it becomes the projection weights as it is.

Ridge, weight and temperature of the guess are those with the best MRR@10 when a fifth of the
identities at a time is left out and looked for among itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from clip_italian.errors import UserError
from clip_italian.evaluate import ranks

POWER = 0.75  # 0 leaves the text axes as they are, 1 makes them all equally long
FLOOR = 0.2  # added to every axis' variance, as a share of their mean
# Candidates for what is added to every feature's second moment, as a share of their mean.
RIDGES = (0.3, 0.6, 1.2, 2.5, 5.0, 10.0, 20.0)
TEMPERATURES = (1.0, 1.5, 2.0)  # of the classifier's softmax
WEIGHTS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.8)  # of the guess; texts have length 1
_FOLDS = 5


@dataclass(frozen=True)
class Guess:
    """A classifier's `logits` (n, classes) for pictures, and text features of its class `names` (classes, hidden)."""

    logits: torch.Tensor
    names: torch.Tensor


@dataclass(frozen=True)
class Start:
    """Projection weights: `visual` (dim, image hidden), `text` (dim, text hidden), and of the guess.

    `classes` (dim, classes) weighs the probabilities that a softmax at `temperature` gives;
    with them an image embedding is `visual @ features + classes @ probabilities`.
    """

    visual: torch.Tensor
    text: torch.Tensor
    classes: torch.Tensor
    temperature: float


def projections(
    images: torch.Tensor, texts: torch.Tensor, owners: torch.Tensor, groups: torch.Tensor, dim: int,
    guess: Guess | None = None, ridges: Sequence[float] = RIDGES,
) -> Start:  # fmt: skip
    """Fit the start to `images` (n, image hidden) and `texts` (m, text hidden).

    `owners` (m,) is the picture of each text, every picture having one at least; pictures with
    the same number in `groups` (n,) are never left out apart. Training rows map to vectors of
    about unit length. Raises UserError where `dim` is less than the number of text features.
    """
    if dim < texts.shape[1]:
        raise UserError(f"projection_dim is {dim}, less than the {texts.shape[1]} text features; use start = 'random'")
    even = whitening(texts)
    whitened = normalize(texts @ even.T, dim=1)
    targets = torch.zeros(len(images), texts.shape[1]).index_add_(0, owners, whitened)
    targets /= torch.bincount(owners, minlength=len(images)).unsqueeze(1)
    remove_mean = _without_mean(images)
    centred = images @ remove_mean
    folds = _folds(groups)

    def judge(predictions: torch.Tensor) -> float:
        """MRR@10 of the texts of each fold among predictions for its pictures, on average."""
        return sum(_mrr(predictions, whitened, owners, fold) for fold in folds) / len(folds)

    ridge = max(_left_out(centred, targets, folds, ridges), key=lambda found: judge(found[1]))[0]
    guess = guess or Guess(torch.zeros(len(images), 0), torch.zeros(0, texts.shape[1]))
    names = normalize(guess.names @ even.T, dim=1)
    best = (-1.0, 1.0, names)
    if len(names):
        weighed = _guesses(guess.logits, names)
        parts = torch.cat([targets, *(guessed for _, _, guessed in weighed)], dim=1)
        ((_, predicted),) = _left_out(centred, parts, folds, [ridge])
        regressed, *corrections = predicted.split(targets.shape[1], dim=1)
        for (heat, axes, guessed), correction in zip(weighed, corrections, strict=True):
            for weight in WEIGHTS:
                figure = judge(regressed + weight * (guessed - correction))
                best = max(best, (figure, heat, weight * axes), key=lambda found: found[0])
    _, temperature, axes = best

    guessed = torch.softmax(guess.logits / temperature, dim=1) @ axes
    regression = (remove_mean @ _solve(centred.T @ centred, centred.T @ (targets - guessed), ridge)).T
    scale = (images @ regression.T + guessed).norm(dim=1).mean()
    spread = torch.eye(dim, texts.shape[1])
    text = spread @ even / (texts @ even.T).norm(dim=1).mean()
    return Start(spread @ regression / scale, text, spread @ axes.T / scale, temperature)


def _left_out(
    inputs: torch.Tensor, targets: torch.Tensor, folds: Sequence[torch.Tensor], ridges: Sequence[float]
) -> Iterator[tuple[float, torch.Tensor]]:
    """Each ridge with predictions (n, targets) made for every fold by a regression on the others."""
    moment, cross = inputs.T @ inputs, inputs.T @ targets
    parts = [(fold, inputs[fold]) for fold in folds]
    others = [(fold, x, moment - x.T @ x, cross - x.T @ targets[fold]) for fold, x in parts]
    for ridge in ridges:
        predictions = torch.empty_like(targets)
        for fold, x, moment_without, cross_without in others:
            predictions[fold] = x @ _solve(moment_without, cross_without, ridge)
        yield ridge, predictions


def _solve(moment: torch.Tensor, cross: torch.Tensor, ridge: float) -> torch.Tensor:
    penalty = ridge * moment.diagonal().mean() * torch.eye(len(moment))
    return torch.cholesky_solve(cross, torch.linalg.cholesky(moment + penalty))


def _guesses(logits: torch.Tensor, names: torch.Tensor) -> list[tuple[float, torch.Tensor, torch.Tensor]]:
    """Each temperature with the names moved so that the guess has mean 0 over the pictures, and that guess.

    Probabilities add up to 1, so moving the names takes the place of a bias.
    """
    found = []
    for temperature in TEMPERATURES:
        probabilities = torch.softmax(logits / temperature, dim=1)
        axes = names - (probabilities @ names).mean(dim=0)
        found.append((temperature, axes, probabilities @ axes))
    return found


def _folds(groups: torch.Tensor) -> list[torch.Tensor]:
    """Row numbers of each fold; rows of a group are in the same one."""
    _, number = groups.unique(return_inverse=True)
    count = int(number.max()) + 1
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    fold_of = shuffled[number] % min(_FOLDS, count)
    return [(fold_of == fold).nonzero().squeeze(1) for fold in range(int(fold_of.max()) + 1)]


def _mrr(predictions: torch.Tensor, texts: torch.Tensor, owners: torch.Tensor, fold: torch.Tensor) -> float:
    place = torch.full((len(predictions),), -1)
    place[fold] = torch.arange(len(fold))
    queries = (place[owners] >= 0).nonzero().squeeze(1)
    gallery = normalize(predictions[fold], dim=1).numpy()
    return ranks.mrr(ranks.ranks(texts[queries].numpy(), gallery, place[owners[queries]].unsqueeze(1).tolist()), 10)


def whitening(features: torch.Tensor) -> torch.Tensor:
    """Symmetric map that drops the mean direction and evens out the variance along the others."""
    variances, axes = torch.linalg.eigh(torch.cov(features.T))
    variances = variances.clamp(min=0)
    stretch = (variances + FLOOR * variances.mean()) ** (-POWER / 2)
    return axes @ torch.diag(stretch) @ axes.T @ _without_mean(features)


def _without_mean(features: torch.Tensor) -> torch.Tensor:
    """Projector onto what is orthogonal to the mean: centring without a bias."""
    mean = normalize(features.mean(dim=0), dim=0)
    return torch.eye(len(mean)) - torch.outer(mean, mean)
