"""Pictures and texts by sentence-transformers: mCLIP, the multilingual baseline of the paper.

mCLIP's text model was taught to write into the space of `clip-ViT-B-32` (Reimers and Gurevych 2020), which embeds the
pictures: two models, each loaded and called by the library. Needs the extra `rivals`.
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
from clip_italian.models.spelling import readable
from clip_italian.models_torch.hashes import settings_hash, tokenizer_hash, weights_hash

PREFIX = SENTENCE_TRANSFORMERS


@dataclass
class SentenceEncoder(Encoder):
    """Two `SentenceTransformer`s with one space; they may be the same one."""

    text: Any
    images: Any
    info: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, name: str, device: str | torch.device) -> Self:
        """Load `sentence-transformers:TEXT,IMAGES`, folders or Hub ids, or `…:MODEL` for one that embeds both.

        Raises UserError where the library or a model is missing, or the two do not belong together.
        """
        text_name, _, images_name = name.removeprefix(PREFIX).partition(",")
        text = _load(text_name, device)
        images = _load(images_name, device) if images_name else text
        if "image" not in images.modalities:
            raise UserError(
                f"{images_name or text_name}: embeds no pictures; name the model of the pictures too: "
                f"{PREFIX}TEXT,IMAGES"
            )
        dims = text.get_embedding_dimension(), images.get_embedding_dimension()
        if dims[0] != dims[1]:
            raise UserError(f"{name}: texts get {dims[0]} dimensions, pictures {dims[1]}; name two models of one space")
        return cls(text, images)

    @property
    def dim(self) -> int:
        return int(self.text.get_embedding_dimension())

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        return _encode(self.text, readable(texts)).reshape(len(texts), self.dim)

    @property
    def picture_batch(self) -> int:
        return picture_batch(self.images.device.type)

    def preprocess(self, image: Image.Image) -> Image.Image:
        """The picture itself: the library prepares pictures where it embeds them."""
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
        # Of another kind of folder the library would make a model that nobody trained.
        if not is_sentence_transformer_model(name):
            raise UserError(
                f"{name}: no model of sentence-transformers (no modules.json), or the Hub cannot be reached; "
                "give a folder or a Hub id that has one"
            )
        return SentenceTransformer(name, device=str(device), model_kwargs={"dtype": torch.float32}).eval()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{name}: cannot load the model by sentence-transformers ({lines[0]})") from error


def _encode(model: Any, inputs: list[Any]) -> np.ndarray:
    found: np.ndarray = model.encode(inputs, normalize_embeddings=True, show_progress_bar=False)
    return found
