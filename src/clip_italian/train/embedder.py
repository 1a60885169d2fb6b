"""Both towers of a stage as one module: from inputs, at the cuts, to embeddings that carry gradients."""

import torch
from torch import nn
from torch.nn.functional import dropout

from clip_italian.models_torch.cut import Cut, Inputs
from clip_italian.models_torch.towers import Parts
from clip_italian.train.precision import autocast
from clip_italian.train.store import MASK

# Texts that go through a tower together, those of like length. A processor is as fast with few of them, and computes
# less padding: 20 instead of 35 tokens a caption of Flickr8k's in batches of 64. A GPU wants many.
_CPU_TEXTS, _TEXTS = 16, 512


class Embedder(nn.Module):
    """`forward(images, texts)` gives unnormalised embeddings (b, dim) of both, in float32.

    Inputs are pixels or token ids, or the kept outputs of a frozen trunk. Towers run under bf16
    autocast where `precision` says so; projections in float32, since they cost nothing. The
    logit scale is not part of it: its gradient comes from the loss.
    """

    def __init__(
        self, parts: Parts, vision: Cut, text: Cut, image_dropout: float, text_dropout: float,
        tower_dropout: bool, precision: torch.dtype,
    ) -> None:  # fmt: skip
        super().__init__()
        self.vision, self.text = parts.vision, parts.text
        self.visual_projection, self.text_projection = parts.visual_projection, parts.text_projection
        self._tails = (vision.tail, text.tail)
        self._dropout = (image_dropout, text_dropout)
        self._tower_dropout = tower_dropout
        self._precision = precision

    def forward(self, images: Inputs, texts: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings of a batch of pairs."""
        return self.images(images), self.texts(texts)

    def images(self, inputs: Inputs) -> torch.Tensor:
        """Embeddings of pictures alone."""
        pooled = dropout(self.pooled(0, inputs), self._dropout[0], self.training)
        projected: torch.Tensor = self.visual_projection(pooled)
        return projected

    def texts(self, inputs: Inputs) -> torch.Tensor:
        """Embeddings of texts alone."""
        pooled = dropout(self.pooled(1, inputs), self._dropout[1], self.training)
        projected: torch.Tensor = self.text_projection(pooled)
        return projected

    def pooled(self, tower: int, inputs: Inputs) -> torch.Tensor:
        """Pooled features (b, hidden) of tower 0 (pictures) or 1 (texts)."""
        device = next(iter(inputs.values())).device
        with autocast(device, self._precision):
            order, parts = _by_length(inputs, _CPU_TEXTS if device.type == "cpu" else _TEXTS)
            pooled = [self._tails[tower](part).float() for part in parts]
            return pooled[0] if len(pooled) == 1 else torch.cat(pooled)[order.argsort()]

    def train(self, mode: bool = True) -> "Embedder":
        """Dropout on or off; that of the towers themselves only where the stage asks for it.

        Batch norm always uses what it learned before: batches on small devices are too small.
        """
        super().train(mode)
        for tower in (self.vision, self.text):
            tower.train(mode and self._tower_dropout)
            for module in tower.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


def _by_length(inputs: Inputs, size: int) -> tuple[torch.Tensor, list[Inputs]]:
    """Rows (b,) from the shortest text to the longest, and their inputs, `size` at a time without needless padding.

    Padding on the left stays, since a token's position counts from there. Inputs without a mask, such as pictures,
    are left in one piece.
    """
    mask = inputs.get("attention_mask", inputs.get(MASK))
    if mask is None or len(mask) <= size:
        return torch.arange(len(next(iter(inputs.values())))), [inputs]
    lengths, order = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(dim=1).sort(stable=True)
    longest = [int(part[-1]) for part in lengths.cpu().split(size)]
    parts = [
        {key: value[rows, :length] for key, value in inputs.items()}
        for rows, length in zip(order.split(size), longest, strict=True)
    ]
    return order, parts
