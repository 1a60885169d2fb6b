"""The contrastive loss (CLIP's, the paper's section 3.1) with a mask for identities."""

import torch
from torch.nn.functional import cross_entropy, normalize


def contrastive_loss(
    images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor | float, groups: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean cross entropy of rows and columns of `scale * cosine`, the diagonal being right.

    `images` and `texts` are (batch, dim), of any length. `groups` (batch,) numbers identities:
    two rows of one group are the same thing with two pictures, so neither is a negative of the
    other (the entry is left out of both sums).
    """
    logits = scale * normalize(images, dim=1) @ normalize(texts, dim=1).T
    if groups is not None:
        same = groups[:, None] == groups[None, :]
        same.fill_diagonal_(False)
        logits = logits.masked_fill(same, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
