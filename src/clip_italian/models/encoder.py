"""Abstract base classes of models that embed pictures and texts: our own, exported ones and models to compare with."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from clip_italian.models.precision import Identity
from clip_italian.models.spelling import replace_surrogates
from clip_italian.pictures.decoding import PictureError, as_displayed, decode_batches, open_picture

# JPEGs are decoded at 1/2, 1/4 or 1/8 size as long as this multiple of the needed side remains. Resizing then still
# averages two pixels per output pixel, and embeddings keep a cosine of 0.999.
_MARGIN = 2
_TEXT_BATCH = 64
# On 2 cores, the activations of larger batches no longer fit into the CPU cache.
_CPU_IMAGES, _GPU_IMAGES = 8, 128


class Encoder(ABC):
    """A model that embeds pictures and texts in a shared space.

    `info` is metadata: the content of `clip_italian.json` for our models, {} for most others.
    """

    info: dict[str, Any]

    @property
    @abstractmethod
    def dim(self) -> int:
        """Embedding size."""

    @abstractmethod
    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit length."""

    @abstractmethod
    def preprocess(self, image: Image.Image) -> Any:
        """Preprocess an RGB picture for `encode_pixels`. Thread-safe."""

    @abstractmethod
    def encode_pixels(self, pixels: Sequence[Any]) -> np.ndarray:
        """Embed one or more preprocessed pictures: (n, dim) float32, unit length."""

    @property
    def at_least(self) -> int | None:
        """Shortest side that a JPEG must keep when decoded at reduced size for `preprocess`; None: decode full size."""
        return None

    @property
    def picture_batch(self) -> int:
        """Batch size at which `encode_pixels` is fastest."""
        return _CPU_IMAGES

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Facts for result files: `dim`, `max_tokens`, digests of weights, tokenizer and preprocessing (or None)."""

    def encode_images(self, images: Sequence[Image.Image | Path | str]) -> np.ndarray:
        """Embed pictures given as PIL images or paths: (n, dim) float32, unit length.

        EXIF orientation and colour profiles are applied to images as well as to files (`decoding.as_displayed`).
        Raises PictureError for an unreadable file; `encode_files` skips those instead.
        """
        result, at_least = np.empty((len(images), self.dim), dtype=np.float32), self.at_least
        size = self.picture_batch
        for start in range(0, len(images), size):
            opened = [
                as_displayed(image) if isinstance(image, Image.Image) else open_picture(Path(image), at_least=at_least)
                for image in images[start : start + size]
            ]
            result[start : start + len(opened)] = self.encode_pixels([self.preprocess(image) for image in opened])
        return result

    def encode_files(
        self, paths: Iterable[Path], progress: Callable[[int], None] = lambda _: None
    ) -> tuple[list[Path], np.ndarray, list[PictureError]]:
        """Embed picture files with this model; see `encode_files`."""
        done, (vectors,), errors = encode_files([self], paths, progress)
        return done, vectors, errors


class SearchEncoder(Encoder):
    """An encoder for `index`, `search`, `classify`, `locate` and `serve`: `DualEncoder` or `OnnxEncoder`."""

    @property
    @abstractmethod
    def weights_hash(self) -> str:
        """Digest of the weights; models with the same digest have the same embeddings."""

    @property
    def identity(self) -> Identity:
        """The model as an index remembers it: digests and precision."""
        return Identity(self.weights_hash, self.weights_hash)

    @property
    @abstractmethod
    def max_tokens(self) -> int:
        """Maximum text length in tokens; longer texts are truncated."""

    @property
    @abstractmethod
    def logit_scale(self) -> float:
        """Factor of the cosines in the loss."""

    @property
    @abstractmethod
    def logit_bias(self) -> float | None:
        """Bias of the sigmoid loss; None for a model trained with the softmax loss."""

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Number of parameters."""

    @property
    def maps(self) -> "MapEncoder | None":
        """This model as a `MapEncoder`, or None if its vision tower has no feature map to pool windows from."""
        return None


class WindowEmbeddings(NamedTuple):
    """Embeddings (rows * columns, dim) of all windows of one size, row by row; `height` and `width` are in cells."""

    rows: int
    columns: int
    height: int
    width: int
    embeddings: np.ndarray


class MapEncoder(SearchEncoder):
    """A model that embeds all windows of a picture in one forward pass, by pooling parts of the last feature map."""

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Input side of the vision tower in training, in pixels."""

    @abstractmethod
    def embed_windows(
        self, image: Image.Image, width: int, height: int, sides: Sequence[int]
    ) -> tuple[tuple[int, int], Iterator[WindowEmbeddings]]:
        """Stretch a picture to `width` x `height` pixels and embed the windows of its map.

        Returns the rows and columns of the map, and one `WindowEmbeddings` per window side in `sides` (in cells,
        limited to the size of the map).
        """


def encode_files(
    encoders: Sequence[Encoder], paths: Iterable[Path], progress: Callable[[int], None] = lambda _: None
) -> tuple[list[Path], list[np.ndarray], list[PictureError]]:
    """Embed picture files with several models, decoding each file once. Unreadable files are skipped.

    Returns the embedded paths, each model's embeddings of them (n, dim), and the errors of the skipped files.
    `progress` is called with the number of files in each batch.
    """
    done: list[Path] = []
    vectors = [[np.zeros((0, encoder.dim), dtype=np.float32)] for encoder in encoders]
    errors: list[PictureError] = []

    size = max(encoder.picture_batch for encoder in encoders)

    def prepare(image: Image.Image) -> list[Any]:
        return [encoder.preprocess(image) for encoder in encoders]

    for good, prepared, bad in decode_batches(paths, size, prepare, _common_at_least(encoders)):
        done += good
        errors += bad
        if prepared:
            for encoder, mine, pixels in zip(encoders, vectors, zip(*prepared, strict=True), strict=True):
                mine.append(encoder.encode_pixels(pixels))
        progress(len(good) + len(bad))
    return done, [np.concatenate(parts) for parts in vectors], errors


def encode_by_length(
    texts: Sequence[str], dim: int, embed: Callable[[list[str]], np.ndarray], threads: int = 1
) -> np.ndarray:
    """Return embeddings (n, dim) of texts; `embed` gets batches of similar length, which need little padding.

    Batches are embedded in so many `threads`.

    Raises TypeError for a single string instead of a list, and for items that are not strings.
    """
    texts = replace_surrogates(texts)
    result = np.empty((len(texts), dim), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    batches = [order[start : start + _TEXT_BATCH] for start in range(0, len(order), _TEXT_BATCH)]

    def embed_batch(rows: list[int]) -> None:
        result[rows] = embed([texts[i] for i in rows])

    if threads > 1 and len(batches) > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(embed_batch, batches))
    else:
        for rows in batches:
            embed_batch(rows)
    return result


def picture_batch(device: str) -> int:
    """Return `Encoder.picture_batch` for a device type ("cpu", "cuda" …)."""
    return _CPU_IMAGES if device == "cpu" else _GPU_IMAGES


def with_margin(side: int | None) -> int | None:
    """Return `Encoder.at_least` for a model that resizes the short side to `side`."""
    return None if side is None else _MARGIN * side


def _common_at_least(encoders: Sequence[Encoder]) -> int | None:
    """Return the largest `at_least` of the encoders; None if one of them needs full-size pictures."""
    sides = [encoder.at_least for encoder in encoders]
    return None if None in sides else max((side for side in sides if side is not None), default=None)
