"""Writes the two ONNX graphs of a model, from preprocessed input to embeddings of unit length."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.export import Dim
from torch.nn.functional import normalize

from clip_italian.errors import UserError
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.fuse import inference_copy
from clip_italian.models_torch.landmark_efficientnet import head_of

OPSET = 20  # first opset with a Gelu node; supported by onnxruntime since 1.16 (2023)
OUTPUT = "unit_embeddings"
MAP = "map"
PIXELS = "pixel_values"
POOLED = "pooled"
_ATTENTION = "_attn_implementation"
SINGLE_FILE_LIMIT = 1_800_000_000  # bytes; larger weights go to a second file, because protobuf's limit is 2 GiB


class ImageGraph(nn.Module):
    """Maps pixels (n, 3, height, width) from `DualEncoder.preprocess` to embeddings (n, dim).

    Of an EfficientNet, which takes pictures of any size, the second output is the map that is pooled, (n, features,
    rows, columns).
    """

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.tower: Any = inference_copy(encoder.parts.vision)
        self.has_maps = encoder.has_maps
        if self.has_maps:
            # OpenVINO rejects the original pooling window, which is larger than the map. This tower is a copy.
            self.tower.pooler = nn.AdaptiveAvgPool2d(1)
        self.projection = encoder.parts.visual_projection

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Return embeddings of unit length, and the map."""
        found = self.tower(pixel_values=pixel_values)
        embeddings = normalize(self.projection(found.pooler_output), dim=1)
        return (embeddings, found.last_hidden_state) if self.has_maps else embeddings


class HeadGraph(nn.Module):
    """Maps pooled parts of maps (n, features) to embeddings (n, dim), as `DualEncoder.embed_pooled`."""

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.head = head_of(encoder.parts.vision)
        self.projection = encoder.parts.visual_projection

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return embeddings of unit length."""
        return normalize(self.projection(self.head(pooled)), dim=1)


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
    if not encoder.has_maps:
        return _write(ImageGraph(encoder), {PIXELS: pixels}, {0: "batch"}, file)
    axes = {0: "batch", 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    return _write(ImageGraph(encoder), {PIXELS: pixels}, axes, file, (OUTPUT, MAP))


def write_head(encoder: DualEncoder, file: Path) -> tuple[str, ...]:
    """Write the graph from pooled parts of maps to embeddings, with a dynamic batch size; returns its inputs' names."""
    with torch.inference_mode():
        features = encoder.last_map(Image.new("RGB", (encoder.image_size,) * 2), *(encoder.image_size,) * 2).shape[0]
    return _write(HeadGraph(encoder), {POOLED: torch.rand(2, features)}, {0: "batch"}, file)


def write_text(encoder: DualEncoder, tokens: dict[str, torch.Tensor], file: Path) -> tuple[str, ...]:
    """Write the text graph, with dynamic batch size and length (SigLIP: fixed length); `tokens` are an example batch.

    Returns the names of its inputs. Raises UserError if torch cannot export the architecture to ONNX.
    """
    axes: dict[int, Any] = {0: "batch"} | ({1: "length"} if "attention_mask" in tokens else {})
    return _write(TextGraph(encoder), tokens, axes, file)


def _write(
    graph: nn.Module, inputs: dict[str, torch.Tensor], axes: dict[int, Any], file: Path,
    outputs: Sequence[str] = (OUTPUT,),
) -> tuple[str, ...]:  # fmt: skip
    size = sum(value.numel() * value.element_size() for value in graph.state_dict().values())
    try:
        with quiet(), plain_attention(graph):
            program: Any = torch.onnx.export(
                graph.eval(), (), kwargs=inputs, input_names=list(inputs), output_names=list(outputs),
                opset_version=OPSET,
                dynamic_shapes=dict.fromkeys(inputs, axes), dynamo=True, verbose=False,
            )  # fmt: skip
            program.save(str(file), external_data=size > SINGLE_FILE_LIMIT)
    except ImportError as error:
        raise UserError(f"{file.name}: needs onnx and onnxscript; pip install 'clip-italian[export]'") from error
    except torch.onnx.OnnxExporterError as error:
        raise UserError(
            f"{file.name}: torch cannot export this architecture to ONNX ({str(error).strip().splitlines()[0]})"
        ) from error
    return tuple(inputs)


@contextmanager
def plain_attention(model: nn.Module) -> Iterator[None]:
    """Let the layers of `transformers` compute attention by two products and a softmax.

    torch writes `scaled_dot_product_attention` as three times as many nodes, which onnxruntime does not fuse: a fifth
    of the time of a short text (docs/LOG.md).
    """
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    before = {key: getattr(config, _ATTENTION, None) for key, config in configs.items()}
    try:
        for config in configs.values():
            setattr(config, _ATTENTION, "eager")
        yield
    finally:
        for key, config in configs.items():
            setattr(config, _ATTENTION, before[key])


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
