"""Base classes of all models that embed pictures and texts: our own, exported ones and rivals."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from clip_italian.models.spelling import readable
from clip_italian.pictures.decoding import PictureError, as_seen, decode_batches, open_picture

# Pictures are decoded at a half, a quarter or an eighth of their sides where so many times the needed side are left:
# resizing then still has two pixels for one, and embeddings stay the same but for a cosine of 0.999.
_MARGIN = 2
_TEXT_BATCH = 64
# Larger batches are slower on 2 cores: the activations leave the cache. A GPU wants many.
_CPU_IMAGES, _GPU_IMAGES = 8, 128


class Encoder(ABC):
    """A model that maps pictures and texts to one space.

    `info` is what it tells of itself beyond its weights (`clip_italian.json` of our models); {} for most rivals.
    """

    info: dict[str, Any]

    @property
    @abstractmethod
    def dim(self) -> int:
        """Length of an embedding."""

    @abstractmethod
    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: (n, dim) float32, unit length."""

    @abstractmethod
    def preprocess(self, image: Image.Image) -> Any:
        """What `encode_pixels` takes of an RGB picture; several threads may call it."""

    @abstractmethod
    def encode_pixels(self, pixels: Sequence[Any]) -> np.ndarray:
        """Embed preprocessed pictures, one at least: (n, dim) float32, unit length."""

    @property
    def at_least(self) -> int | None:
        """Short side from which on a larger JPEG may be decoded smaller before `preprocess`; None: not at all."""
        return None

    @property
    def picture_batch(self) -> int:
        """How many pictures `encode_pixels` is fastest with."""
        return _CPU_IMAGES

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """For results: digests of weights, tokenizer and preprocessing (None where there is none), dim, max_tokens."""

    def encode_images(self, images: Sequence[Image.Image | Path | str]) -> np.ndarray:
        """Embed pictures given as PIL images or paths: (n, dim) float32, unit length.

        Images are turned by the EXIF orientation that they carry, and brought to sRGB, as files are (`images.as_seen`).
        Raises PictureError for a file that is no readable picture; `encode_files` skips those.
        """
        result, at_least = np.empty((len(images), self.dim), dtype=np.float32), self.at_least
        size = self.picture_batch
        for start in range(0, len(images), size):
            opened = [
                as_seen(image) if isinstance(image, Image.Image) else open_picture(Path(image), at_least=at_least)
                for image in images[start : start + size]
            ]
            result[start : start + len(opened)] = self.encode_pixels([self.preprocess(image) for image in opened])
        return result

    def encode_files(
        self, paths: Iterable[Path], progress: Callable[[int], None] = lambda _: None
    ) -> tuple[list[Path], np.ndarray, list[PictureError]]:
        """`encode_files` by this model alone."""
        done, (vectors,), errors = encode_files([self], paths, progress)
        return done, vectors, errors


class SearchEncoder(Encoder):
    """What index, search, classify, locate and serve ask beyond that: `DualEncoder` and `OnnxEncoder` answer."""

    @property
    @abstractmethod
    def weights_hash(self) -> str:
        """What an index remembers of the model that made it."""

    @property
    @abstractmethod
    def max_tokens(self) -> int:
        """Longest text in tokens; what goes beyond is cut off."""

    @property
    @abstractmethod
    def logit_scale(self) -> float:
        """What the loss multiplied cosines by."""

    @property
    @abstractmethod
    def logit_bias(self) -> float | None:
        """What the sigmoid loss added to that; None for a model of the softmax loss."""

    @property
    @abstractmethod
    def parameters(self) -> int:
        """How many numbers the model has learned."""

    @property
    def maps(self) -> "MapEncoder | None":
        """The same model where its vision tower has a map that can be pooled window by window; else None."""
        return None


class WindowEmbeddings(NamedTuple):
    """Embeddings (rows * columns, dim) of all windows of one size, row by row; `height` and `width` in cells."""

    rows: int
    columns: int
    height: int
    width: int
    embeddings: np.ndarray


class MapEncoder(SearchEncoder):
    """A model that embeds every window of a picture from one pass, by pooling the vision tower's last map."""

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side, in pixels, of the pictures that the vision tower was trained on."""

    @abstractmethod
    def embed_windows(
        self, image: Image.Image, width: int, height: int, sides: Sequence[int]
    ) -> tuple[tuple[int, int], Iterator[WindowEmbeddings]]:
        """Stretch a picture to `width` x `height` pixels and embed the windows of its map.

        Returns rows and columns of the map, and for each of `sides` (in cells, cut at the map's) its windows.
        """


def encode_files(
    encoders: Sequence[Encoder], paths: Iterable[Path], progress: Callable[[int], None] = lambda _: None
) -> tuple[list[Path], list[np.ndarray], list[PictureError]]:
    """Embed picture files by several models, decoding each file once; those that cannot be read are skipped.

    Returns the paths embedded, each model's embeddings of them (n, dim), and the errors of the others;
    `progress` gets the number of files done with each batch.
    """
    done: list[Path] = []
    vectors = [[np.zeros((0, encoder.dim), dtype=np.float32)] for encoder in encoders]
    errors: list[PictureError] = []

    size = max(encoder.picture_batch for encoder in encoders)

    def prepare(image: Image.Image) -> list[Any]:
        return [encoder.preprocess(image) for encoder in encoders]

    for good, prepared, bad in decode_batches(paths, size, prepare, _for_all(encoders)):
        done += good
        errors += bad
        if prepared:
            for encoder, mine, pixels in zip(encoders, vectors, zip(*prepared, strict=True), strict=True):
                mine.append(encoder.encode_pixels(pixels))
        progress(len(good) + len(bad))
    return done, [np.concatenate(parts) for parts in vectors], errors


def encode_by_length(texts: Sequence[str], dim: int, embed: Callable[[list[str]], np.ndarray]) -> np.ndarray:
    """Embeddings (n, dim) of texts by a function of some of them: neighbours of like length, which need little padding.

    Raises TypeError for one text in place of a list, and for what is no text.
    """
    texts = readable(texts)
    result = np.empty((len(texts), dim), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), _TEXT_BATCH):
        rows = order[start : start + _TEXT_BATCH]
        result[rows] = embed([texts[i] for i in rows])
    return result


def picture_batch(device: str) -> int:
    """`Encoder.picture_batch` of a model on a type of device ("cpu", "cuda" …)."""
    return _CPU_IMAGES if device == "cpu" else _GPU_IMAGES


def with_margin(side: int | None) -> int | None:
    """`Encoder.at_least` of a model that resizes the short side to `side`."""
    return None if side is None else _MARGIN * side


def _for_all(encoders: Sequence[Encoder]) -> int | None:
    """What all of them can do with."""
    sides = [encoder.at_least for encoder in encoders]
    return None if None in sides else max((side for side in sides if side is not None), default=None)
