"""Weights that processes may hold in parts (FSDP2's DTensor): put together, divided, or this process's part alone.

All three leave plain tensors as they are.
"""

import torch
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor put together from all processes, which must ask for it at once."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """This process's part, sharing its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(tensor: torch.Tensor, example: torch.Tensor) -> torch.Tensor:
    """A whole tensor on the device of `example` and divided as it is."""
    if isinstance(example, DTensor):
        return distribute_tensor(tensor.to(example.device), example.device_mesh, example.placements)
    return tensor.to(example.device)
