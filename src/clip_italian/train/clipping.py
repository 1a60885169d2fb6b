"""Adaptive gradient clipping (Brock et al. 2021), unit by unit as optax's `adaptive_grad_clip`.

A unit of a linear layer or convolution is what makes one output: a row of torch's (out, in, …),
a column of flax's (…, in, out). Of an embedding table, which both libraries hold as (number,
features), optax takes the columns all the same, and so do we. A bias, any other vector and a
matrix of one row or column is one unit. pytorch-optimizer's `agc` takes rows of tables too and
single numbers of such a matrix, and does not know sharded weights; hence our own.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor, Shard

from clip_italian.train.sharded import own_part

LEAST_NORM = 1e-3  # so that weights that start at 0 can move
_ROWS = 256


@torch.no_grad()
def clip_gradients(parameters: Sequence[nn.Parameter], ratio: float, tables: bool = False) -> None:
    """Scale each unit's gradient, in place, so that its norm is at most `ratio` times the unit's weight norm.

    Parameters may be sharded (FSDP2); `tables` says that they are embedding tables. Parameters
    without a gradient are passed over.
    """
    moving = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    if not moving:
        return
    dims = [unit_dims(parameter.shape, tables) for parameter, _ in moving]
    norms = _norms([tensor for pair in moving for tensor in pair], [unit for unit in dims for _ in range(2)])
    limits, lengths = norms[::2], norms[1::2]
    torch._foreach_clamp_min_(limits, LEAST_NORM)
    torch._foreach_mul_(limits, ratio)
    torch._foreach_div_(limits, lengths)  # infinite where there is no gradient
    torch._foreach_clamp_max_(limits, 1.0)
    torch._foreach_mul_([own_part(gradient) for _, gradient in moving], limits)


def unit_dims(shape: Sequence[int], tables: bool) -> tuple[int, ...]:
    """The dimensions of a weight that one unit spans."""
    every = tuple(range(len(shape)))
    if sum(size > 1 for size in shape) <= 1:
        return every
    return every[:-1] if tables else every[1:]


def _norms(tensors: Sequence[torch.Tensor], dims: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
    """Norm over some dimensions of each tensor, which stay with size 1; over all shards where units span them."""
    norms = [_norm(own_part(tensor), unit) for tensor, unit in zip(tensors, dims, strict=True)]
    spanning: dict[dist.ProcessGroup, list[torch.Tensor]] = {}
    for tensor, unit, norm in zip(tensors, dims, norms, strict=True):
        if isinstance(tensor, DTensor):
            for axis, placement in enumerate(tensor.placements):
                if isinstance(placement, Shard) and placement.dim in unit:
                    spanning.setdefault(tensor.device_mesh.get_group(axis), []).append(norm)
    for group, parts in spanning.items():
        squares = torch.cat([part.flatten() for part in parts]).square_()
        dist.all_reduce(squares, group=group)
        whole = squares.sqrt_().split([part.numel() for part in parts])
        for part, values in zip(parts, whole, strict=True):
            part.copy_(values.view_as(part))
    return norms


def _norm(tensor: torch.Tensor, unit: tuple[int, ...]) -> torch.Tensor:
    if not unit:
        return tensor.abs()
    if tensor.device.type == "cpu" and 0 < len(unit) < tensor.ndim and unit[0] == 0:
        # Down the columns of a table torch takes ten times as long as by a few rows at a time.
        squares = torch.zeros(tensor.shape[-1], dtype=tensor.dtype)
        for rows in tensor.flatten(end_dim=-2).split(_ROWS):
            squares += rows.square().sum(dim=0)
        return squares.sqrt_().view([1] * len(unit) + [-1])
    return torch.linalg.vector_norm(tensor, dim=unit, keepdim=True)
