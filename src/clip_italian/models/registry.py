"""Dotted names of engines, so that a model's libraries are imported only when it is used."""

from importlib import import_module
from typing import Any

DUAL_ENCODER = "clip_italian.models_torch.dual_encoder:DualEncoder"
OPEN_CLIP = "clip_italian.models_torch.open_clip_encoder:OpenClipEncoder"
SENTENCE_TRANSFORMERS = "clip_italian.models_torch.sentence_encoder:SentenceEncoder"
COPY_FEATURES = "clip_italian.models_torch.copy_features:CopyFeatures"
CACHED_GRAPHS = "clip_italian.export.cached:make"
CHOOSE_DEVICE = "clip_italian.models_torch.devices:choose_device"
IMAGE_PROCESSOR = "clip_italian.models_torch.processors:image_processor"


def resolve(name: str) -> Any:
    """Import and return the object with a dotted name such as "package.module:Class"."""
    module, _, symbol = name.partition(":")
    return getattr(import_module(module), symbol)
