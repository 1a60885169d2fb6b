"""A model that many requests use at once: their texts and pictures are embedded together."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from clip_italian.models.encoder import MapEncoder, SearchEncoder
from clip_italian.serve.lanes import Lane

_TEXTS = 64
_PICTURES = 8  # larger batches are slower on few cores


class SharedEncoder(SearchEncoder):
    """A model whose `encode_*` may be called from any thread: each runs in its lane's one thread."""

    def __init__(self, encoder: SearchEncoder, observe: Callable[[str, int], None] = lambda _, __: None) -> None:
        """Begin to work; `observe` is told "text" or "picture" and the size of each batch."""
        self.encoder, self.info = encoder, encoder.info
        self._texts: Lane[str, np.ndarray] = Lane(encoder.encode_text, _TEXTS, lambda n: observe("text", n))
        self._pictures: Lane[Any, np.ndarray] = Lane(encoder.encode_pixels, _PICTURES, lambda n: observe("picture", n))

    def close(self) -> None:
        """Finish what waits, and end the threads."""
        self._texts.close()
        self._pictures.close()

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """See `Encoder.encode_text`; raises TimeoutError at the deadline of the request."""
        return self._stack(self._texts.ask(texts))

    def encode_pixels(self, pixels: Sequence[Any]) -> np.ndarray:
        """See `Encoder.encode_pixels`; raises TimeoutError at the deadline of the request."""
        return self._stack(self._pictures.ask(pixels))

    @property
    def picture_batch(self) -> int:
        return self.encoder.picture_batch

    @property
    def at_least(self) -> int | None:
        return self.encoder.at_least

    def preprocess(self, image: Image.Image) -> Any:
        return self.encoder.preprocess(image)

    def facts(self) -> dict[str, Any]:
        return self.encoder.facts()

    @property
    def dim(self) -> int:
        return self.encoder.dim

    @property
    def weights_hash(self) -> str:
        return self.encoder.weights_hash

    @property
    def max_tokens(self) -> int:
        return self.encoder.max_tokens

    @property
    def logit_scale(self) -> float:
        return self.encoder.logit_scale

    @property
    def logit_bias(self) -> float | None:
        return self.encoder.logit_bias

    @property
    def parameters(self) -> int:
        return self.encoder.parameters

    @property
    def maps(self) -> MapEncoder | None:
        return self.encoder.maps

    def _stack(self, rows: list[np.ndarray]) -> np.ndarray:
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)
