"""`OnnxEncoder`: runs the graphs that `clip-italian export --to onnx` and `--to openvino` write.

It uses onnxruntime or OpenVINO on the CPU and replaces `DualEncoder` wherever pictures and texts are embedded. It
cannot be trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from clip_italian.errors import UserError
from clip_italian.models import exported, registry, runtimes
from clip_italian.models.encoder import SearchEncoder, encode_by_length, with_margin
from clip_italian.models.folders import read_info
from clip_italian.models.preprocess import Preprocess
from clip_italian.models.spelling import lower_all_caps, replace_surrogates


@dataclass
class OnnxEncoder(SearchEncoder):
    """An exported image and text graph with tokenizer and preprocessing. Thread-safe."""

    settings: exported.Exported
    image_graph: runtimes.Run
    text_graph: runtimes.Run
    tokenizer: Tokenizer
    preparation: Preprocess
    info: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load an exported folder. Raises UserError if files are missing or damaged, or the runtime is missing."""
        path = Path(folder)
        settings = exported.read(path)
        threads = runtimes.default_threads()
        graphs = [_runtime(path, settings, graph, threads) for graph in (settings.image, settings.text)]
        tokenizer = _tokenizer(path / exported.TOKENIZER_FILE)
        processor = registry.resolve(registry.IMAGE_PROCESSOR)(path)
        return cls(settings, graphs[0], graphs[1], tokenizer, Preprocess.of(processor), read_info(path))

    @property
    def dim(self) -> int:
        return self.settings.dim

    @property
    def max_tokens(self) -> int:
        return self.settings.max_tokens

    @property
    def weights_hash(self) -> str:
        """Digest of the weights: the source model's if both graphs are in float32, so that they can share an index."""
        return self.settings.weights_sha256

    @property
    def logit_scale(self) -> float:
        return self.settings.logit_scale

    @property
    def logit_bias(self) -> float | None:
        return self.settings.logit_bias

    @property
    def parameters(self) -> int:
        return self.settings.parameters

    def facts(self) -> dict[str, Any]:
        settings = self.settings
        precision = {"image": settings.image.precision, "text": settings.text.precision}
        return {
            "library": " ".join((settings.format, *dict.fromkeys(precision.values()))),
            "weights_sha256": settings.weights_sha256,
            "tokenizer_sha256": settings.tokenizer_sha256,
            "preprocessing_sha256": settings.preprocessing_sha256,
            "dim": settings.dim,
            "max_tokens": settings.max_tokens,
        }

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit length."""
        return encode_by_length(texts, self.dim, lambda batch: self.text_graph(self.tokenize(batch)))

    def tokenize(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Tokenize texts for the text graph: int64 arrays (n, longest), truncated and padded as in `tokenizer.json`."""
        encodings = self.tokenizer.encode_batch(
            [lower_all_caps(text, self._pieces) for text in replace_surrogates(texts)]
        )
        columns = {
            "input_ids": [one.ids for one in encodings],
            "attention_mask": [one.attention_mask for one in encodings],
        }
        return {name: np.array(columns[name], dtype=np.int64) for name in self.settings.text.inputs}

    def _pieces(self, word: str) -> int:
        return sum(self.tokenizer.encode(word).attention_mask)

    @property
    def at_least(self) -> int | None:
        """See `Encoder.at_least`."""
        return with_margin(self.preparation.at_least)

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """Return pixels (3, height, width) as uint8, a quarter of the size of the graph's input."""
        return self.preparation.pixels(image)

    def normalise(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Return the input of the image graph, equal to `DualEncoder.preprocess`: (n, 3, height, width) float32."""
        batch = np.empty((len(pixels), *pixels[0].shape), dtype=np.float32)
        scale, offset = self.preparation.scale, self.preparation.offset
        for row, one in zip(batch, pixels, strict=True):
            np.multiply(one, scale, out=row)
            row += offset
        return batch

    def encode_pixels(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Embed preprocessed pictures: (n, dim) float32, unit length."""
        return self.image_graph({self.settings.image.inputs[0]: self.normalise(pixels)})


def _runtime(folder: Path, settings: exported.Exported, graph: exported.Graph, threads: int) -> runtimes.Run:
    if settings.format == "openvino":
        return runtimes.openvino(folder / graph.file, threads, graph.precision)
    return runtimes.onnx(folder / graph.file, threads)


def _tokenizer(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain Exception
        raise UserError(f"{file}: cannot be read ({error}); export the model again") from error
