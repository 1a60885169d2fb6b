"""The contrastive loss (CLIP's, the paper's section 3.1) and SigLIP's, with a mask for identities.

Beside them, the distance to a teacher's embeddings.

In training, each process scores its own rows against the rows of all processes and computes its share of the joint
batch's loss: the shares, and their gradients, add up to the whole batch's. Scores are computed a block of rows at a
time, so that memory does not grow with the square of the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy, logsigmoid, normalize

from clip_italian import config
from clip_italian.errors import UsageError

SCORES = 2**21  # computed at a time, 8 MB


@dataclass(frozen=True)
class LossParts:
    """A process's share of the loss, and the gradient of that share.

    `loss`, `scale_gradient` and `bias_gradient` (None without a bias) are 0-d; `images_gradient` and `texts_gradient`
    (B, dim) are those of the embeddings of all processes.
    """

    loss: torch.Tensor
    images_gradient: torch.Tensor
    texts_gradient: torch.Tensor
    scale_gradient: torch.Tensor
    bias_gradient: torch.Tensor | None


def contrastive_loss(
    images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor | float, groups: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean cross entropy of rows and columns of `scale * cosine`, with the diagonal as target.

    `images` and `texts` are (batch, dim), of any norm. `groups` (batch,) numbers identities: two rows of one group show
    the same thing, so neither is a negative of the other (the entry is masked in both sums).
    """
    logits = scale * normalize(images, dim=1) @ normalize(texts, dim=1).T
    if groups is not None:
        same = groups[:, None] == groups[None, :]
        same.fill_diagonal_(False)
        logits = logits.masked_fill(same, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def distance_and_gradient(
    texts: torch.Tensor, targets: torch.Tensor, total: int, sizes: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """This process's share of the mean squared distance of unit vectors, 2 - 2 cos; its gradient by `texts` (b, dim).

    `texts` and `targets` (b, dim) are embeddings of any norm, `total` is the number of texts of all processes. `sizes`
    are shorter embedding sizes, whose distances count as much as that of the whole.
    """
    dim = texts.shape[1]
    _check_sizes(sizes, dim)
    precision = torch.promote_types(texts.dtype, torch.float32)
    with torch.no_grad(), torch.autocast(texts.device.type, enabled=False):
        gradient = torch.zeros_like(texts, dtype=precision)
        loss = torch.zeros((), dtype=precision, device=texts.device)
        for size in (dim, *sizes):
            found, wanted = _Units(texts[:, :size].to(precision)), _Units(targets[:, :size].to(precision))
            difference = found.units - wanted.units
            loss += difference.square().sum()
            found.gradient += 2 * difference
            gradient[:, :size] += found.gradient_of_vectors()
        share = total * (1 + len(sizes))
        return loss / share, gradient / share


def loss_and_gradients(
    images: torch.Tensor, texts: torch.Tensor, all_images: torch.Tensor, all_texts: torch.Tensor, first_row: int,
    scale: torch.Tensor, bias: torch.Tensor | None, groups: torch.Tensor | None, all_groups: torch.Tensor | None,
    settings: config.Loss,
) -> LossParts:  # fmt: skip
    """This process's share of the loss, with gradients, in float32 even under autocast.

    `images` and `texts` (b, dim) are this process's embeddings, of any norm: the rows from `first_row` on of
    `all_images` and `all_texts` (B, dim); a single process passes the same tensors twice. `scale` multiplies the
    cosines and `bias`, which the sigmoid loss needs, is added to them. `groups` (b,) and `all_groups` (B,) number
    identities, as in `contrastive_loss`.

    With `settings.sizes` the loss is the mean over the whole embeddings and their first dimensions, each normalised
    again (Kusupati et al. 2022). With negatives = "local" the columns are this process's own. Raises UsageError for a
    size beyond `dim`, or without a bias.
    """
    dim = images.shape[1]
    _check_sizes(settings.sizes, dim)
    if settings.kind == "sigmoid" and bias is None:
        raise UsageError("loss.kind = 'sigmoid': the model has no logit bias; give it one or use 'contrastive'")
    precision = torch.promote_types(images.dtype, torch.float32)
    total = len(all_images)
    own = slice(first_row, first_row + len(images))
    columns = own if settings.negatives == "local" else slice(0, total)
    own_among_columns = slice(own.start - columns.start, own.stop - columns.start)
    column_groups = None if all_groups is None else all_groups[columns]

    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        gradients = torch.zeros(2, total, dim, dtype=precision, device=images.device)
        sums = _Sums(*torch.zeros(3, dtype=precision, device=images.device))
        scale = scale.to(precision)
        bias = torch.zeros_like(scale) if bias is None else bias.to(precision)
        sizes = (dim, *settings.sizes)
        for size in sizes:
            visual, textual = (_Units(side[columns, :size].to(precision)) for side in (all_images, all_texts))
            _score(settings.kind, visual, textual, own_among_columns, scale, bias, groups, column_groups, sums)
            if settings.kind == "contrastive":
                _score(settings.kind, textual, visual, own_among_columns, scale, bias, groups, column_groups, sums)
            gradients[0, columns, :size] += visual.gradient_of_vectors()
            gradients[1, columns, :size] += textual.gradient_of_vectors()
        share = total * len(sizes) * (2 if settings.kind == "contrastive" else 1)
        gradients /= share
    return LossParts(
        sums.loss / share, gradients[0], gradients[1], sums.scale / share,
        sums.bias / share if settings.kind == "sigmoid" else None,
    )  # fmt: skip


def _check_sizes(sizes: Sequence[int], dim: int) -> None:
    if any(not 0 < size <= dim for size in sizes):
        raise UsageError(f"loss.sizes = {list(sizes)}: an embedding has {dim} numbers; name none beyond that")


class _Units:
    """Vectors (n, size) normalised to unit length, and the gradient with respect to the units so far."""

    def __init__(self, vectors: torch.Tensor) -> None:
        self.lengths = vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)  # as in torch's normalize
        self.units = vectors / self.lengths
        self.gradient = torch.zeros_like(vectors)

    def gradient_of_vectors(self) -> torch.Tensor:
        """The gradient with respect to the vectors: its component along a vector is dropped."""
        along = (self.gradient * self.units).sum(dim=1, keepdim=True)
        return (self.gradient - along * self.units) / self.lengths


@dataclass
class _Sums:
    """Sums over rows: loss, and its gradient by scale and bias."""

    loss: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor


def _score(
    kind: str, x: _Units, y: _Units, own: slice, scale: torch.Tensor, bias: torch.Tensor,
    groups: torch.Tensor | None, column_groups: torch.Tensor | None, sums: _Sums,
) -> None:  # fmt: skip
    """Add the contribution of the rows `own` of `x` against all of `y` to `sums` and to both gradients.

    Rows of `x` and `y` with the same number are the positives.
    """
    slopes_of = _softmax_slopes if kind == "contrastive" else _sigmoid_slopes
    block = max(1, SCORES // len(y.units))
    for start in range(own.start, own.stop, block):
        rows = slice(start, min(start + block, own.stop))
        logits = torch.addmm(bias, x.units[rows], y.units.T * scale)
        if groups is not None and column_groups is not None:
            same = groups[rows.start - own.start : rows.stop - own.start, None] == column_groups
            same[:, rows].fill_diagonal_(False)
            logits.masked_fill_(same, float("-inf"))
        loss, slopes = slopes_of(logits, logits[:, rows].diagonal())
        sums.loss += loss
        sums.bias += slopes.sum()
        pull = slopes @ y.units
        sums.scale += torch.vdot(pull.flatten(), x.units[rows].flatten())
        x.gradient[rows] += pull * scale
        y.gradient += slopes.T @ (x.units[rows] * scale)


def _softmax_slopes(logits: torch.Tensor, positives: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the rows' cross entropies and its gradient by logit, which overwrites `logits`.

    `positives` (rows,) is a view of the logits of the positives.
    """
    spread = logits.logsumexp(dim=1)
    loss = (spread - positives).sum()
    logits.sub_(spread.unsqueeze(1)).exp_()
    positives.sub_(1)
    return loss, logits


def _sigmoid_slopes(logits: torch.Tensor, positives: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for -log σ(±logit), with + for positives (Zhai et al. 2023, section 3.2)."""
    positives.neg_()
    loss = -logsigmoid(-logits).sum()
    logits.sigmoid_()
    positives.neg_()
    return loss, logits
