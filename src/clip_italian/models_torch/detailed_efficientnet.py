"""EfficientNet whose pooled features include inner blocks.

The last layer is trained for ImageNet's classes and drops information that does not help to separate them: people,
actions, scenes. The last blocks before it still carry that information. Their feature maps are appended to the last
map as channels, so that code that pools the map of a stock EfficientNet pools them too (figures: docs/LOG.md).
"""

from collections.abc import Iterable
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from transformers import EfficientNetConfig, EfficientNetModel
from transformers.models.efficientnet.modeling_efficientnet import BaseModelOutputWithPoolingAndNoAttention


@strict
class DetailedEfficientNetConfig(EfficientNetConfig):
    """EfficientNet's configuration with the inner blocks to pool.

    `inner_blocks` are numbers of blocks after the last stride, because all maps must have the same size.
    `inner_scale` multiplies their maps. `hidden_dim` is the number of channels of the last map, `hidden_size` the
    number of channels in total.
    """

    model_type = "detailed_efficientnet"
    inner_blocks: list[int] | tuple[int, ...] = ()
    inner_scale: float = 1.0


class DetailedEfficientNetModel(EfficientNetModel):
    """EfficientNet with the inner maps in `last_hidden_state`; `pooler_output` (batch, channels) is its mean."""

    config_class = DetailedEfficientNetConfig

    def forward(  # type: ignore[override]
        self, pixel_values: torch.Tensor | None = None, return_dict: bool | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPoolingAndNoAttention | tuple[Any, ...]:
        """Encode pixels (batch, 3, height, width)."""
        if pixel_values is None:
            raise ValueError("pixel_values are missing")
        maps, inner = run_blocks(self, self.embeddings(pixel_values), range(len(self.encoder.blocks)))
        maps = last_map(self, maps, inner)
        outputs = BaseModelOutputWithPoolingAndNoAttention(last_hidden_state=maps, pooler_output=maps.mean(dim=(2, 3)))
        return outputs.to_tuple() if return_dict is False else outputs


def inner_width(tower: EfficientNetModel) -> int:
    """Return the number of channels that the inner blocks add to the last map."""
    convolutions: list[Any] = [block.projection.project_conv for block in tower.encoder.blocks]
    return sum(convolutions[number].out_channels for number in _inner_blocks(tower))


def run_blocks(
    tower: EfficientNetModel, maps: torch.Tensor, numbers: Iterable[int]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Run the blocks `numbers` on maps (batch, channels, rows, columns).

    Returns the output of the last one, and the scaled maps of those that are inner blocks.
    """
    inner, kept = [], _inner_blocks(tower)
    for number in numbers:
        maps = tower.encoder.blocks[number](maps)
        if number in kept:
            inner.append(maps * tower.config.inner_scale)
    return maps, inner


def last_map(tower: EfficientNetModel, maps: torch.Tensor, inner: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return the map that is pooled: the top layers' output for `maps`, then the `inner` maps, along the channels."""
    encoder: Any = tower.encoder
    top = encoder.top_activation(encoder.top_bn(encoder.top_conv(maps)))
    return torch.cat([top, *inner], dim=1)


def _inner_blocks(tower: EfficientNetModel) -> tuple[int, ...]:
    return tuple(getattr(tower.config, "inner_blocks", ()))
