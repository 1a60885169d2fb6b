"""`OnnxEncoder`: runs graphs with onnxruntime or OpenVINO on the CPU, without torch.

The graphs are those that `clip-italian export` writes, that `models.graphs` keeps in the cache, or that others publish
(`models.published`). It replaces `DualEncoder` wherever pictures and texts are embedded. It cannot be trained.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from clip_italian.errors import UserError
from clip_italian.models import exported, registry, runtimes
from clip_italian.models.encoder import MapEncoder, WindowEmbeddings, encode_by_length, with_margin
from clip_italian.models.folders import read_info
from clip_italian.models.pieces import SETTINGS_FILE, Pieces
from clip_italian.models.precision import Identity, Precision
from clip_italian.models.preprocess import Preprocess
from clip_italian.models.spelling import lower_all_caps, replace_surrogates
from clip_italian.pictures.decoding import as_displayed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PREPROCESSING_FILE = "preprocessor_config.json"


@dataclass
class OnnxEncoder(MapEncoder):
    """An image and a text graph with tokenizer and preprocessing. Thread-safe.

    `map_graph` maps pixels (1, 3, height, width) to the last feature map, `head_graph` pooled parts of a map to
    embeddings; both are None for a model without maps.
    """

    settings: exported.Exported
    image_graph: runtimes.Run
    text_graph: runtimes.Run
    tokenizer: "Tokens"
    preparation: Preprocess
    info: dict[str, Any] = field(default_factory=dict)
    map_graph: runtimes.Run | None = None
    head_graph: runtimes.Run | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load an exported folder. Raises UserError if files are missing or damaged, or the runtime is missing."""
        path = Path(folder)
        settings = exported.read(path)
        threads = runtimes.default_threads()
        openvino = settings.format == "openvino"

        def graph(file: str, precision: Precision) -> runtimes.Graph:
            if openvino:
                return runtimes.OpenVinoGraph(path / file, threads, precision)
            return runtimes.OnnxGraph(path / file, threads)

        image = graph(settings.image.file, settings.image.precision)
        text = settings.text.file
        found = cls(
            settings, image,
            # In one thread: the batches of many texts run at the same time.
            graph(text, settings.text.precision) if openvino else runtimes.OnnxGraph(path / text, 1, batch=True),
            Tokens(path / exported.TOKENIZER_FILE), preparation(path), read_info(path),
        )  # fmt: skip
        if settings.maps is not None:
            found.map_graph = partial(image, output=settings.maps.output)
            found.head_graph = graph(settings.maps.head, settings.image.precision)
        return found

    @property
    def dim(self) -> int:
        return self.settings.dim

    @property
    def max_tokens(self) -> int:
        return self.settings.max_tokens

    @property
    def weights_hash(self) -> str:
        """Digest of the weights: the source model's if both graphs are in float32."""
        return self.settings.weights_sha256

    @property
    def identity(self) -> Identity:
        return self.settings.identity

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
            "precision": settings.precision,
            "weights_sha256": settings.weights_sha256,
            "tokenizer_sha256": settings.tokenizer_sha256,
            "preprocessing_sha256": settings.preprocessing_sha256,
            "dim": settings.dim,
            "max_tokens": settings.max_tokens,
        }

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit length."""
        threads = 1
        if isinstance(self.text_graph, runtimes.OnnxGraph):
            self.text_graph.load_ahead()  # while the tokenizer is loaded
            threads = runtimes.default_threads()
        return encode_by_length(texts, self.dim, lambda batch: self.text_graph(self.tokenize(batch)), threads)

    def tokenize(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Tokenize texts for the text graph: int64 arrays (n, longest), truncated and padded as in `tokenizer.json`."""
        count = self.tokenizer.count
        ids, mask = self.tokenizer.encode([lower_all_caps(text, count) for text in replace_surrogates(texts)])
        columns = {"input_ids": ids, "attention_mask": mask}
        return {name: np.array(columns[name], dtype=np.int64) for name in self.settings.text.inputs}

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

    @property
    def maps(self) -> MapEncoder | None:
        return self if self.settings.maps else None

    @property
    def image_size(self) -> int:
        assert self.settings.maps is not None
        return self.settings.maps.image_size

    def embed_windows(
        self, image: Image.Image, width: int, height: int, sides: Sequence[int]
    ) -> tuple[tuple[int, int], Iterator[WindowEmbeddings]]:
        """See `MapEncoder.embed_windows`; the model must have maps (`maps`)."""
        assert self.settings.maps is not None and self.map_graph is not None and self.head_graph is not None
        pixels = self.normalise([self.preparation.stretched(as_displayed(image), width, height)])
        whole = self.map_graph({self.settings.image.inputs[0]: pixels})[0]
        head, name = self.head_graph, self.settings.maps.input
        rows, columns = whole.shape[1:]

        def windows() -> Iterator[WindowEmbeddings]:
            sums = np.zeros((len(whole), rows + 1, columns + 1))
            sums[:, 1:, 1:] = whole.cumsum(1, np.float64).cumsum(2)
            for side in sides:
                tall, wide = min(side, rows), min(side, columns)
                pooled = (
                    sums[:, tall:, wide:] - sums[:, :-tall, wide:] - sums[:, tall:, :-wide] + sums[:, :-tall, :-wide]
                )
                pooled = (pooled / (tall * wide)).astype(np.float32)
                embeddings = head({name: np.ascontiguousarray(pooled.reshape(len(pooled), -1).T)})
                yield WindowEmbeddings(pooled.shape[1], pooled.shape[2], tall, wide, embeddings)

        return (rows, columns), windows()


def preparation(folder: Path) -> Preprocess:
    """Read the preprocessing of a folder; kinds of image processors that are not known need `transformers`."""
    file = folder / PREPROCESSING_FILE
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot read the preprocessing ({error}); export the model again") from error
    try:
        return Preprocess.from_config(config, str(file))
    except (UserError, KeyError, TypeError) as error:
        try:
            processor = registry.resolve(registry.IMAGE_PROCESSOR)(folder)
        except ImportError:
            raise UserError(f"{error}; with transformers it may be: pip install 'clip-italian[train]'") from error
        return Preprocess.of(processor)


class Tokens:
    """A `tokenizer.json`, read when it is first needed. Thread-safe.

    Where `models.pieces` has its files beside it, it is read only for what they cannot do. `prepare` changes the
    tokenizer after it was read. Methods raise UserError if a file is missing or damaged.
    """

    def __init__(self, file: Path, prepare: Callable[["Tokenizer"], None] = lambda _: None) -> None:
        self._file, self._prepare, self._lock = file, prepare, Lock()
        self._read: Tokenizer | None = None
        self._pieces: Pieces | None = None

    def encode(self, texts: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
        """Ids of texts and their attention mask, as long as those of the longest, or as the file says."""
        pieces = self._opened_pieces()
        if pieces is not None and all(map(pieces.reads, texts)):
            return pieces.encode(texts)
        encodings = self._loaded().encode_batch(list(texts))
        return [one.ids for one in encodings], [one.attention_mask for one in encodings]

    def count(self, text: str) -> int:
        """The number of ids of a text, with those that are put around it."""
        pieces = self._opened_pieces()
        if pieces is not None and pieces.reads(text):
            return pieces.count(text)
        return sum(self._loaded().encode(text).attention_mask)

    def _opened_pieces(self) -> Pieces | None:
        with self._lock:
            if self._pieces is None and (self._file.parent / SETTINGS_FILE).is_file():
                self._pieces = Pieces.open(self._file.parent)
            return self._pieces

    def _loaded(self) -> "Tokenizer":
        with self._lock:
            if self._read is None:
                import tokenizers

                try:
                    self._read = tokenizers.Tokenizer.from_file(str(self._file))
                except Exception as error:  # tokenizers raises plain Exception
                    raise UserError(f"{self._file}: cannot be read ({error}); export the model again") from error
                self._prepare(self._read)
            return self._read
