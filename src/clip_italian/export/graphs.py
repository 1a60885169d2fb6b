"""Writes the two ONNX graphs of a model, from preprocessed input to embeddings of unit length."""

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

OPSET = 20  # first opset with a Gelu node; supported by onnxruntime since 1.16 (2023)
OUTPUT = "unit_embeddings"
PIXELS = "pixel_values"
SINGLE_FILE_LIMIT = 1_800_000_000  # bytes; larger weights go to a second file, because protobuf's limit is 2 GiB


class ImageGraph(nn.Module):
    """Maps pixels (n, 3, height, width) from `DualEncoder.preprocess` to embeddings (n, dim)."""

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.tower: Any = inference_copy(encoder.parts.vision)
        if isinstance(self.tower, EfficientNetModel):
            # OpenVINO rejects the original pooling window, which is larger than the map. This tower is a copy.
            self.tower.pooler = nn.AdaptiveAvgPool2d(1)
        self.projection = encoder.parts.visual_projection

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return embeddings of unit length."""
        return normalize(self.projection(self.tower(pixel_values=pixel_values).pooler_output), dim=1)


class TextGraph(nn.Module):
    """Maps token ids and mask (n, length) from `DualEncoder.tokenize` to embeddings (n, dim)."""

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.tower = encoder.parts.text
        self.projection = encoder.parts.text_projection

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return embeddings of unit length."""
        masks = {} if attention_mask is None else {"attention_mask": attention_mask}
        return normalize(self.projection(self.tower(input_ids=input_ids, **masks).pooler_output), dim=1)


def write_image(encoder: DualEncoder, pixels: torch.Tensor, file: Path) -> tuple[str, ...]:
    """Write the image graph, with a dynamic batch size; `pixels` are two or more example pictures of the input size.

    Returns the names of its inputs. Raises UserError if torch cannot export the architecture to ONNX.
    """
    return _write(ImageGraph(encoder), {PIXELS: pixels}, {0: "batch"}, file)


def write_text(encoder: DualEncoder, tokens: dict[str, torch.Tensor], file: Path) -> tuple[str, ...]:
    """Write the text graph, with dynamic batch size and length (SigLIP: fixed length); `tokens` are an example batch.

    Returns the names of its inputs. Raises UserError if torch cannot export the architecture to ONNX.
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
            program.save(str(file), external_data=size > SINGLE_FILE_LIMIT)
    except ImportError as error:
        raise UserError(f"{file.name}: needs onnx and onnxscript; pip install 'clip-italian[onnx]'") from error
    except torch.onnx.OnnxExporterError as error:
        raise UserError(
            f"{file.name}: torch cannot export this architecture to ONNX ({str(error).strip().splitlines()[0]})"
        ) from error
    return tuple(inputs)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress log messages and warnings of libraries, and restore the root logger, which one of them configures."""
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
