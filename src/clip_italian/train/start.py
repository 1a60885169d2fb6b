"""The closed-form start of a model: landmarks, and projections by ridge regression from pictures to whitened texts.

With a few thousand pairs, a random start spends its steps on finding the axes along which texts differ at all, and
overfits the training pictures meanwhile. Those axes can be computed: text features are whitened (partly, power
`POWER`), and a ridge regression maps picture features to them. Where a classifier names what pictures show, the texts
of its class names, weighted by its probabilities, are a first guess, and the regression maps to the residual. All of it
is linear without bias, so it becomes the projection weights unchanged.

Ridge, weight and temperature of the guess are those with the best MRR@10 in a cross-validation over five folds of
identities.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import normalize
from transformers import EfficientNetModel

from clip_italian.errors import UsageError, UserError
from clip_italian.evaluate import ranks
from clip_italian.models_torch import mini
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.landmark_efficientnet import LandmarkEfficientNetModel, add_head

POWER = 0.75  # 0 leaves the text axes as they are, 1 makes them all equally long
FLOOR = 0.2  # added to every axis' variance, as a share of their mean
# Candidates for what is added to every feature's second moment, as a share of their mean.
RIDGES = (0.3, 0.6, 1.2, 2.5, 5.0, 10.0, 20.0)
TEMPERATURES = (1.0, 1.5, 2.0)  # of the classifier's softmax
WEIGHTS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.8)  # of the guess; texts have length 1
_FOLDS = 5
_TEXTS = 64  # embedded at a time


@torch.no_grad()
def set_head(
    encoder: DualEncoder, images: torch.Tensor, most: int, classes: bool, generator: torch.Generator
) -> torch.Tensor:
    """Give the vision tower landmarks, and perhaps ImageNet's classes; return its new output (n, hidden) for `images`.

    `images` (n, channels) are pooled features of the training pictures; landmarks are all of them, or `most` drawn at
    random. Raises UsageError where the tower is not an EfficientNet without a head.
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
    """Set the projections to the closed-form start.

    `images` (n, hidden) and `texts` (m, hidden) are the frozen towers' outputs for the training pairs, `owners` (m,)
    the picture of each text, `groups` (n,) identity numbers, `class_names` the names of the head's classes, if they are
    to be used. Raises UsageError where the projections are not linear.
    """
    parts = encoder.parts
    if not (isinstance(parts.visual_projection, nn.Linear) and isinstance(parts.text_projection, nn.Linear)):
        raise UsageError("model.start: 'ridge' is for linear projections; set it to 'random', or to 'kept' for SigLIP")
    head = parts.vision.head if isinstance(parts.vision, LandmarkEfficientNetModel) else None
    guess, basis = None, torch.eye(images.shape[1])
    if head is not None and head.classes == len(class_names):
        # On similarities the penalty is the kernel's: a change of basis makes it the plain one, as for inner features.
        images, probabilities = images.split([images.shape[1] - head.classes, head.classes], dim=1)
        root = head.landmarks.penalty_root()
        basis = torch.block_diag(root, torch.eye(images.shape[1] - len(root)))
        if class_names:
            # Up to a constant in each row, which softmax ignores, these are the classifier's logits.
            guess = Guess(probabilities.clamp(min=torch.finfo().tiny).log(), embed(encoder, class_names))
    found = fit_projections(images @ basis, texts, owners, groups, encoder.dim, guess)
    parts.visual_projection.weight.copy_(torch.cat([found.visual @ basis.T, found.classes], dim=1))
    parts.text_projection.weight.copy_(found.text)
    if head is not None and guess is not None:
        head.temperature.fill_(found.temperature)


def embed(encoder: DualEncoder, texts: Sequence[str]) -> torch.Tensor:
    """Outputs (n, hidden) of the text tower for texts other than the run's captions."""
    parts = []
    for first in range(0, len(texts), _TEXTS):
        tokens = encoder.tokenize(texts[first : first + _TEXTS])
        inputs = {key: value.to(encoder.device) for key, value in tokens.items()}
        parts.append(encoder.parts.text(**inputs).pooler_output.float().cpu())
    return torch.cat(parts)


@dataclass(frozen=True)
class Guess:
    """A classifier's `logits` (n, classes) for pictures, and text features of its class `names` (classes, hidden)."""

    logits: torch.Tensor
    names: torch.Tensor


@dataclass(frozen=True)
class Start:
    """Projection weights `visual` (dim, image hidden) and `text` (dim, text hidden), and those of the guess.

    `classes` (dim, classes) are the weights of the probabilities that a softmax at `temperature` gives: an image
    embedding is `visual @ features + classes @ probabilities`.
    """

    visual: torch.Tensor
    text: torch.Tensor
    classes: torch.Tensor
    temperature: float


def fit_projections(
    images: torch.Tensor, texts: torch.Tensor, owners: torch.Tensor, groups: torch.Tensor, dim: int,
    guess: Guess | None = None, ridges: Sequence[float] = RIDGES,
) -> Start:  # fmt: skip
    """Fit the start to `images` (n, image hidden) and `texts` (m, text hidden).

    `owners` (m,) is the picture of each text, every picture having at least one; pictures with the same number in
    `groups` (n,) are in the same fold. Training rows map to vectors of about unit length. Raises UserError where `dim`
    is less than the number of text features.
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
    """Each ridge with predictions (n, targets) for every fold by a regression on the other folds."""
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
    """Each temperature with the names shifted so that the guess has mean 0 over the pictures, and that guess.

    Probabilities add up to 1, so shifting the names replaces a bias.
    """
    found = []
    for temperature in TEMPERATURES:
        probabilities = torch.softmax(logits / temperature, dim=1)
        axes = names - (probabilities @ names).mean(dim=0)
        found.append((temperature, axes, probabilities @ axes))
    return found


def _folds(groups: torch.Tensor) -> list[torch.Tensor]:
    """Row numbers of each fold; rows of a group are in the same fold."""
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
    """Symmetric map that removes the mean direction and evens out the variance along the others."""
    variances, axes = torch.linalg.eigh(torch.cov(features.T))
    variances = variances.clamp(min=0)
    stretch = (variances + FLOOR * variances.mean()) ** (-POWER / 2)
    return axes @ torch.diag(stretch) @ axes.T @ _without_mean(features)


def _without_mean(features: torch.Tensor) -> torch.Tensor:
    """Projector onto what is orthogonal to the mean: centring without a bias."""
    mean = normalize(features.mean(dim=0), dim=0)
    return torch.eye(len(mean)) - torch.outer(mean, mean)
