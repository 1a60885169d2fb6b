"""Opens a model of ours by its name, whichever form it lies in."""

from pathlib import Path

import torch

from clip_italian.model import exported
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.model.encoder import SearchEncoder
from clip_italian.model.onnx_encoder import OnnxEncoder
from clip_italian.names import as_stored


def load(name: str | Path, device: str | torch.device = "cpu") -> SearchEncoder:
    """A model to embed with: an exported folder by `OnnxEncoder` (on the CPU), all else by `DualEncoder.load`."""
    if not str(name).isascii():
        name = str(as_stored(Path(name)))
    if exported.is_exported(Path(name)):
        return OnnxEncoder.load(name)
    return DualEncoder.load(name).to(device)
