"""EfficientNet that also pools inner blocks: what its last layer, made for ImageNet's classes, has dropped.

The features for a classifier say little of what is no class: people, what they do and where. The last blocks still
hold it. Their maps stand beside the last one, as further channels, so that whoever pools maps of a stock
EfficientNet pools these too (figures: docs/LOG.md).
"""

from collections.abc import Iterable
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from transformers import EfficientNetConfig, EfficientNetModel
from transformers.models.efficientnet.modeling_efficientnet import BaseModelOutputWithPoolingAndNoAttention


@strict
class DetailedEfficientNetConfig(EfficientNetConfig):
    """EfficientNet's configuration; `hidden_dim` channels of the last map and those of `inner_blocks` are pooled.

    `inner_blocks` are numbers of blocks after the last stride, since all maps must be of one size; `inner_scale`
    multiplies theirs. `hidden_size` is the number of all channels.
    """

    model_type = "detailed_efficientnet"
    inner_blocks: list[int] | tuple[int, ...] = ()
    inner_scale: float = 1.0


class DetailedEfficientNetModel(EfficientNetModel):
    """EfficientNet whose `last_hidden_state` holds inner maps too; `pooler_output` (batch, channels) is its mean."""

    config_class = DetailedEfficientNetConfig

    def forward(  # type: ignore[override]
        self, pixel_values: torch.Tensor | None = None, return_dict: bool | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPoolingAndNoAttention | tuple[Any, ...]:
        """Encode pixels (batch, 3, height, width)."""
        if pixel_values is None:
            raise ValueError("pixel_values are missing")
        maps, inner = through_blocks(self, self.embeddings(pixel_values), range(len(self.encoder.blocks)))
        maps = last_map(self, maps, inner)
        outputs = BaseModelOutputWithPoolingAndNoAttention(last_hidden_state=maps, pooler_output=maps.mean(dim=(2, 3)))
        return outputs.to_tuple() if return_dict is False else outputs


def inner_width(tower: EfficientNetModel) -> int:
    """Channels that the tower's inner blocks add to the last map."""
    convolutions: list[Any] = [block.projection.project_conv for block in tower.encoder.blocks]
    return sum(convolutions[number].out_channels for number in _inner_blocks(tower))


def through_blocks(
    tower: EfficientNetModel, maps: torch.Tensor, numbers: Iterable[int]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Maps (batch, channels, rows, columns) after the blocks `numbers`, and the scaled inner maps among theirs."""
    inner, kept = [], _inner_blocks(tower)
    for number in numbers:
        maps = tower.encoder.blocks[number](maps)
        if number in kept:
            inner.append(maps * tower.config.inner_scale)
    return maps, inner


def last_map(tower: EfficientNetModel, maps: torch.Tensor, inner: Iterable[torch.Tensor]) -> torch.Tensor:
    """What is pooled: the top layers on the last block's `maps`, and the `inner` maps as further channels."""
    encoder: Any = tower.encoder
    top = encoder.top_activation(encoder.top_bn(encoder.top_conv(maps)))
    return torch.cat([top, *inner], dim=1)


def _inner_blocks(tower: EfficientNetModel) -> tuple[int, ...]:
    return tuple(getattr(tower.config, "inner_blocks", ()))
