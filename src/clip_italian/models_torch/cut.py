"""Where a tower is cut in two: a frozen trunk, whose output can be kept, and a tail that trains.

While a tower is frozen as a whole, the tail is empty and the pooled features are kept. When its last blocks train, the
input of the first of them is kept, and a step costs only what lies above it. A tower of another architecture, or one
that trains from its first layer on, has no trunk: its tail is the tower itself.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

import torch
from torch import nn
from transformers import BertModel, EfficientNetModel

from clip_italian.models_torch.detailed_efficientnet import last_map, run_blocks
from clip_italian.models_torch.fuse import inference_copy
from clip_italian.models_torch.landmark_efficientnet import forward_without_head, head_of
from clip_italian.models_torch.mean_pooled import MeanPooledBertModel, masked_mean

Inputs = dict[str, torch.Tensor]
POOLED = "pooled"
STATES, MASK = "states", "mask"  # token states of a text tower, and the mask of real tokens
take_pooled = itemgetter(POOLED)  # the tail of a tower that is kept to its end


@dataclass(frozen=True)
class Cut:
    """`tail(trunk(inputs))` is the pooled output (batch, hidden) of the tower for `inputs`.

    `name` describes the place of the cut, for the name of kept features. `trunk` is None where nothing below the tail
    is frozen, so that nothing can be kept. Its first call makes what it needs, such as a copy for inference, with the
    weights of that moment.
    """

    name: str
    trunk: Callable[[Inputs], Inputs] | None
    tail: Callable[[Inputs], torch.Tensor]


def cut(tower: nn.Module, trainable: Collection[str]) -> Cut:
    """Cut a tower below the parameters that train, given by their names within the tower."""
    if isinstance(tower, EfficientNetModel) and all(name.startswith("head.") for name in trainable):
        return _after_pooling(tower)
    if not trainable:
        return _after_pooling(tower)
    if isinstance(tower, EfficientNetModel):
        first = _first_block(trainable, "encoder.blocks.", ("encoder.top_", "head."), len(tower.encoder.blocks))
        if first is not None:
            return _cut_efficientnet(tower, first)
    if isinstance(tower, MeanPooledBertModel):
        first = _first_block(trainable, "encoder.layer.", (), len(tower.encoder.layer))
        if first is not None:
            return _cut_bert(tower, first)
    return whole(tower)


def whole(tower: nn.Module) -> Cut:
    """The tower without a cut: its tail is the tower itself."""
    return Cut("inputs", None, lambda inputs: tower(**inputs).pooler_output)


def _first_block(names: Collection[str], prefix: str, above: tuple[str, ...], blocks: int) -> int | None:
    """Number of the lowest block that holds one of `names`; None where a name lies below all blocks."""
    first = blocks
    for name in names:
        if name.startswith(prefix):
            first = min(first, int(name.removeprefix(prefix).split(".")[0]))
        elif not name.startswith(above or ("\0",)):
            return None
    return first


def _after_pooling(tower: nn.Module) -> Cut:
    pool: Callable[..., Any] = tower
    above: nn.Module = nn.Identity()
    if isinstance(tower, EfficientNetModel):
        fused = cache(lambda: inference_copy(tower))
        forward, above = forward_without_head(tower), head_of(tower)

        def pool(**inputs: torch.Tensor) -> Any:
            return forward(fused(), **inputs)

    @torch.no_grad()
    def trunk(inputs: Inputs) -> Inputs:
        return {POOLED: pool(**inputs).pooler_output}

    return Cut(POOLED, trunk, take_pooled if isinstance(above, nn.Identity) else lambda kept: above(kept[POOLED]))


def _cut_efficientnet(tower: EfficientNetModel, first: int) -> Cut:
    fused: Callable[[], Any] = cache(lambda: inference_copy(tower))
    above, blocks = head_of(tower), range(len(tower.encoder.blocks))

    @torch.no_grad()
    def trunk(inputs: Inputs) -> Inputs:
        maps, inner = run_blocks(fused(), fused().embeddings(inputs["pixel_values"]), blocks[:first])
        kept = {"maps": maps.half()}
        return kept | {"inner": torch.cat([_mean(part) for part in inner], dim=1)} if inner else kept

    def tail(kept: Inputs) -> torch.Tensor:
        maps, inner = run_blocks(tower, kept["maps"].float(), blocks[first:])
        pooled = _mean(last_map(tower, maps, inner))
        if "inner" in kept:  # lower blocks come before those of the tail, as in the tower
            top, rest = pooled.split([tower.config.hidden_dim, pooled.shape[1] - tower.config.hidden_dim], dim=1)
            pooled = torch.cat([top, kept["inner"].float(), rest], dim=1)
        return above(pooled)

    return Cut(f"block {first}", trunk, tail)


def _mean(maps: torch.Tensor) -> torch.Tensor:
    return maps.mean(dim=(2, 3))


def _cut_bert(tower: BertModel, first: int) -> Cut:
    layers = tower.encoder.layer

    @torch.no_grad()
    def trunk(inputs: Inputs) -> Inputs:
        mask = inputs["attention_mask"]
        states = tower.embeddings(input_ids=inputs["input_ids"])
        for layer in layers[:first]:
            states = layer(states, _additive(mask))
        return {STATES: states, MASK: mask}

    def tail(kept: Inputs) -> torch.Tensor:
        states, mask = kept[STATES].float(), kept[MASK]
        for layer in layers[first:]:
            states = layer(states, _additive(mask))
        return masked_mean(states, mask)

    return Cut(f"layer {first}", trunk, tail)


def _additive(mask: torch.Tensor) -> torch.Tensor:
    """Attention bias (batch, 1, 1, length): 0 where a token counts, the least float elsewhere."""
    return (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
