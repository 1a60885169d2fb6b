"""Which numbers towers compute with."""

from contextlib import nullcontext

import torch

from clip_italian.errors import UsageError


def choose(name: str, device: torch.device) -> torch.dtype:
    """The type of a recipe's `precision`; `auto` is bf16 where that is the faster one.

    A processor is faster in bf16 with matrix units (AMX) only: with AVX-512's instructions alone it takes 1.2 to 1.6
    times as long as in float32, and without any ten times.
    """
    if name == "auto":
        return torch.bfloat16 if _is_faster_in_bf16(device) else torch.float32
    if name == "bf16" and not _is_faster_in_bf16(device) and device.type != "cpu":
        raise UsageError(f"precision = 'bf16': {device.type} has no such instructions here; use float32 or auto")
    return {"bf16": torch.bfloat16, "float32": torch.float32}[name]


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast | nullcontext:
    """Matrix products in `dtype` for a block; nothing for float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def _is_faster_in_bf16(device: torch.device) -> bool:
    if device.type == "cpu":
        return torch.cpu._is_amx_tile_supported()
    return device.type == "cuda" and torch.cuda.is_bf16_supported()
