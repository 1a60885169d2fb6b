"""A model that many requests use at once: their texts and pictures are embedded together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.serve.lanes import Lane

_TEXTS = 64
_PICTURES = 8  # larger batches are slower on few cores


@dataclass
class SharedEncoder(DualEncoder):
    """A `DualEncoder` whose `encode_*` may be called from any thread; `start` makes one."""

    def start(self, observe: Callable[[str, int], None]) -> Self:
        """Begin to work; `observe` is told "text" or "picture" and the size of each batch."""
        self._texts: Lane[str, np.ndarray] = Lane(self._embed_texts, _TEXTS, lambda n: observe("text", n))
        self._pictures: Lane[torch.Tensor, np.ndarray] = Lane(
            self._embed_pixels, _PICTURES, lambda n: observe("picture", n)
        )
        return self

    @classmethod
    def of(cls, encoder: DualEncoder, observe: Callable[[str, int], None] = lambda _, __: None) -> Self:
        """The same model, shared."""
        shared = cls(encoder.model, encoder.tokenizer, encoder.image_processor, encoder.info, encoder.token_limit)
        return shared.start(observe)

    def close(self) -> None:
        """Finish what waits, and end the threads."""
        self._texts.close()
        self._pictures.close()

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """See `DualEncoder.encode_text`; raises TimeoutError at the deadline of the request."""
        return self._stack(self._texts.ask(texts))

    def encode_pixels(self, pixels: Sequence[torch.Tensor]) -> np.ndarray:
        """See `DualEncoder.encode_pixels`; raises TimeoutError at the deadline of the request."""
        return self._stack(self._pictures.ask(pixels))

    def _stack(self, rows: list[np.ndarray]) -> np.ndarray:
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    # Each runs in its lane's one thread: tokenizers cannot be used by two at once.
    def _embed_texts(self, texts: list[str]) -> np.ndarray:
        return super().encode_text(texts)

    def _embed_pixels(self, pixels: list[torch.Tensor]) -> np.ndarray:
        return super().encode_pixels(pixels)
