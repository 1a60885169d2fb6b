"""Device selection."""

import os

import torch

from clip_italian.errors import UsageError


def choose_device(name: str) -> torch.device:
    """Return the torch device for a name; `auto` is this process's GPU if there is one, else the CPU.

    Raises UsageError if the device is not available on this machine.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name, local) if name == "cuda" else torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device = {name!r}: {str(error).splitlines()[0]}; use cpu, cuda, mps or auto") from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device
