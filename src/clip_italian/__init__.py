"""clip-italian: train, measure and use a CLIP for Italian.

from clip_italian import Pictures
pictures = Pictures.below("~/Pictures")
pictures.search("due cani sulla neve", k=5)[0].open()

Names are imported on first use. Importing `DualEncoder` registers the towers of `mini` and of models trained from it
with `transformers.AutoModel`.
"""

__version__ = "0.3.0"

from typing import TYPE_CHECKING, Any

from clip_italian import privacy as privacy  # before any other library, to disable telemetry

if TYPE_CHECKING:
    from clip_italian.models.load import load
    from clip_italian.models.onnx import OnnxEncoder
    from clip_italian.models_torch.dual_encoder import DualEncoder
    from clip_italian.search.index import Index
    from clip_italian.search.pictures import Pictures

__all__ = ["DualEncoder", "Index", "OnnxEncoder", "Pictures", "__version__", "load"]

_MODULES = {
    "DualEncoder": "clip_italian.models_torch.dual_encoder",
    "Index": "clip_italian.search.index",
    "OnnxEncoder": "clip_italian.models.onnx",
    "Pictures": "clip_italian.search.pictures",
    "load": "clip_italian.models.load",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
