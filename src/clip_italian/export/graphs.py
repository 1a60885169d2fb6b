"""The two graphs of a model, from preprocessed input to unit length, as ONNX."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize
from transformers import EfficientNetModel

from clip_italian.errors import UserError
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.fuse import inference_copy

OPSET = 20  # the first with Gelu as one node; onnxruntime reads it since 1.16 (2023)
OUTPUT = "unit_embeddings"
PIXELS = "pixel_values"
IN_ONE_FILE = 1_800_000_000  # bytes; protobuf's limit is 2 GiB


class ImageGraph(nn.Module):
    """Pixels (n, 3, height, width), as `DualEncoder.preprocess` gives them, to embeddings (n, dim)."""

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.tower: Any = inference_copy(encoder.parts.vision)
        if isinstance(self.tower, EfficientNetModel):
            # The stock window is larger than the map, which OpenVINO refuses. This tower is a copy.
            self.tower.pooler = nn.AdaptiveAvgPool2d(1)
        self.projection = encoder.parts.visual_projection

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Unit length."""
        return normalize(self.projection(self.tower(pixel_values=pixel_values).pooler_output), dim=1)


class TextGraph(nn.Module):
    """Token ids and mask (n, length), as `DualEncoder.tokenize` gives them, to embeddings (n, dim)."""

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.tower = encoder.parts.text
        self.projection = encoder.parts.text_projection

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Unit length."""
        masks = {} if attention_mask is None else {"attention_mask": attention_mask}
        return normalize(self.projection(self.tower(input_ids=input_ids, **masks).pooler_output), dim=1)


def write_image(encoder: DualEncoder, pixels: torch.Tensor, file: Path) -> tuple[str, ...]:
    """Write the graph of pictures, for any number of them; `pixels` are two or more of the size it shall take.

    Returns the names of its inputs. Raises UserError for an architecture that torch cannot turn into ONNX.
    """
    return _write(ImageGraph(encoder), {PIXELS: pixels}, {0: "batch"}, file)


def write_text(encoder: DualEncoder, tokens: dict[str, torch.Tensor], file: Path) -> tuple[str, ...]:
    """Write the graph of texts, for any number of any length (SigLIP: of its own); `tokens` are those of two or more.

    Returns the names of its inputs. Raises UserError for an architecture that torch cannot turn into ONNX.
    """
    axes = {0: "batch"} | ({1: "length"} if "attention_mask" in tokens else {})
    return _write(TextGraph(encoder), tokens, axes, file)


def _write(graph: nn.Module, inputs: dict[str, torch.Tensor], axes: dict[int, str], file: Path) -> tuple[str, ...]:
    size = sum(value.numel() * value.element_size() for value in graph.state_dict().values())
    try:
        with quiet():
            program: Any = torch.onnx.export(
                graph.eval(), (), kwargs=inputs, input_names=list(inputs), output_names=[OUTPUT], opset_version=OPSET,
                dynamic_shapes=dict.fromkeys(inputs, axes), dynamo=True, verbose=False,
            )  # fmt: skip
            program.save(str(file), external_data=size > IN_ONE_FILE)
    except ImportError as error:
        raise UserError(f"{file.name}: needs onnx and onnxscript; pip install 'clip-italian[onnx]'") from error
    except torch.onnx.OnnxExporterError as error:
        raise UserError(
            f"{file.name}: torch cannot turn this architecture into ONNX ({str(error).strip().splitlines()[0]})"
        ) from error
    return tuple(inputs)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' remarks on themselves; one of them also sets up logging for the whole process."""
    root = logging.getLogger()
    before, level, handlers = root.manager.disable, root.level, list(root.handlers)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        root.setLevel(level)
        root.handlers[:] = handlers
