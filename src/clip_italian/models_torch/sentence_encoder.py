"""Encoder that runs models with sentence-transformers: mCLIP, the multilingual baseline of the paper, and others.

mCLIP is two models: `clip-ViT-B-32` for pictures, and a text model distilled into its embedding space (Reimers and
Gurevych 2020). Needs the extra `rivals`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Self

import numpy as np
import torch
from PIL import Image

from clip_italian.errors import UserError
from clip_italian.models.encoder import Encoder, picture_batch
from clip_italian.models.folders import check_hub
from clip_italian.models.load import SENTENCE_TRANSFORMERS
from clip_italian.models.spelling import replace_surrogates
from clip_italian.models_torch.hashes import settings_hash, tokenizer_hash, weights_hash

PREFIX = SENTENCE_TRANSFORMERS


@dataclass
class SentenceEncoder(Encoder):
    """Two `SentenceTransformer`s with a shared embedding space; both may be the same object."""

    text: Any
    images: Any
    info: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, name: str, device: str | torch.device) -> Self:
        """Load `sentence-transformers:TEXT,IMAGES` (folders or Hub ids), or `…:MODEL` for a model that embeds both.

        Raises UserError if the library or a model is missing, or if the two models do not match.
        """
        text_name, _, images_name = name.removeprefix(PREFIX).partition(",")
        text = _load(text_name, device)
        images = _load(images_name, device) if images_name else text
        if "image" not in images.modalities:
            raise UserError(
                f"{images_name or text_name}: does not embed pictures; name an image model too: {PREFIX}TEXT,IMAGES"
            )
        dims = text.get_embedding_dimension(), images.get_embedding_dimension()
        if dims[0] != dims[1]:
            raise UserError(
                f"{name}: text embeddings have {dims[0]} dimensions, image embeddings {dims[1]}; "
                "name two models with a shared space"
            )
        return cls(text, images)

    @property
    def dim(self) -> int:
        return int(self.text.get_embedding_dimension())

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        return _encode(self.text, replace_surrogates(texts)).reshape(len(texts), self.dim)

    @property
    def picture_batch(self) -> int:
        return picture_batch(self.images.device.type)

    def preprocess(self, image: Image.Image) -> Image.Image:
        """Return the picture unchanged: the library preprocesses it in `encode_pixels`."""
        return image

    def encode_pixels(self, pixels: Sequence[Image.Image]) -> np.ndarray:
        return _encode(self.images, list(pixels))

    def facts(self) -> dict[str, Any]:
        models = {"text": self.text} if self.images is self.text else {"text": self.text, "images": self.images}
        weights = {f"{part}.{key}": value for part, one in models.items() for key, value in one.state_dict().items()}
        return {
            "library": f"sentence-transformers {version('sentence-transformers')}",
            "weights_sha256": weights_hash(weights),
            "tokenizer_sha256": tokenizer_hash(getattr(self.text.tokenizer, "tokenizer", self.text.tokenizer)),
            "preprocessing_sha256": settings_hash(self.images[0].processor.image_processor.to_dict()),
            "dim": self.dim,
            "max_tokens": self.text.max_seq_length,
        }


def _load(name: str, device: str | torch.device) -> Any:
    check_hub(name, "modules.json")
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.util import is_sentence_transformer_model
    except ImportError as error:
        raise UserError(f"{name}: needs sentence-transformers; pip install 'clip-italian[rivals]'") from error
    try:
        # From any other folder the library would build an untrained model.
        if not is_sentence_transformer_model(name):
            raise UserError(
                f"{name}: not a sentence-transformers model (no modules.json), or the Hub cannot be reached; "
                "give a folder or Hub id with modules.json"
            )
        return SentenceTransformer(name, device=str(device), model_kwargs={"dtype": torch.float32}).eval()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{name}: sentence-transformers cannot load the model ({lines[0]})") from error


def _encode(model: Any, inputs: list[Any]) -> np.ndarray:
    found: np.ndarray = model.encode(inputs, normalize_embeddings=True, show_progress_bar=False)
    return found
