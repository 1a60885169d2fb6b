"""From a picture to what a vision tower takes, in two steps: bytes of the right size, then numbers on the device.

What an image processor of `transformers` does to a picture is read off its settings and done by Pillow
directly, in about half the time, with equal results: `Preprocess.of` compares both and falls back on the
processor itself where they differ.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from clip_italian.errors import UserError

if TYPE_CHECKING:
    from transformers import BaseImageProcessor

_GEOMETRY_ALONE = {"do_rescale": False, "do_normalize": False}
_TOLERANCE = 1e-4  # of a normalised pixel
# Of a picture that is longer, in multiples of its short side, the middle is taken before its short side is brought to
# the tower's: 5,000 x 1 pixels would become 250 million.
_LONGEST = 32


@dataclass(frozen=True)
class Preprocess:
    """`scale` and `offset` (3, 1, 1) make a pixel of 0 to 255 the tower's; `direct` says that Pillow alone is as good.

    `resize` is the short side, or height and width; `crop` height and width, or None.
    """

    processor: "BaseImageProcessor"
    scale: np.ndarray
    offset: np.ndarray
    resize: int | tuple[int, int] | None
    crop: tuple[int, int] | None
    direct: bool

    @classmethod
    def of(cls, processor: "BaseImageProcessor") -> "Preprocess":
        """Read a processor's settings. Raises UserError for one that does not treat every pixel alike."""
        black, grey, white = (_constant(processor, value) for value in (0, 128, 255))
        scale = (white - black) / 255
        if np.abs(black + 128 * scale - grey).max() > _TOLERANCE:
            raise UserError(f"{type(processor).__name__}: an image processor that is not linear in the pixels; no use")
        settings = _settings(processor)
        found = cls(processor, scale, black, settings[0], settings[1], direct=True)
        alike = all(np.array_equal(found.pixels(probe), found._by_processor(probe)) for probe in _probes())
        return found if alike else cls(processor, scale, black, settings[0], settings[1], direct=False)

    @property
    def at_least(self) -> int | None:
        """Pixels that a picture should have on its short side before it is resized."""
        return _side(self.resize)

    def pixels(self, image: Image.Image, random: np.random.Generator | None = None) -> np.ndarray:
        """(3, height, width) uint8, cropped from the middle, or from anywhere where `random` is given.

        A random crop keeps the picture's shape also where the processor would not; edges are repeated where it
        is smaller than the crop.
        """
        if isinstance(self.resize, int) or random is not None:
            image = _middle(image)
        if random is not None:
            return self._random_crop(image, random)
        if not self.direct:
            return self._by_processor(image)
        if self.resize is not None:
            image = self._resized(image, _short(image, self.resize) if isinstance(self.resize, int) else self.resize)
        if self.crop is not None:
            height, width = self.crop
            top, left = (image.height - height) // 2, (image.width - width) // 2
            image = image.crop((left, top, left + width, top + height))
        return _channels_first(image)

    def _random_crop(self, image: Image.Image, random: np.random.Generator) -> np.ndarray:
        if self.resize is None:
            height, width = self.crop or (image.height, image.width)
        elif isinstance(self.resize, int):
            image = self._resized(image, _short(image, self.resize))
            height, width = self.crop or (min(image.size),) * 2
        else:
            factor = max(self.resize[0] / image.height, self.resize[1] / image.width)
            image = self._resized(image, (math.ceil(image.height * factor), math.ceil(image.width * factor)))
            height, width = self.crop or self.resize
        missing = max(0, height - image.height), max(0, width - image.width)
        pixels = np.asarray(image)
        if any(missing):
            sides = [(room // 2, room - room // 2) for room in missing]
            pixels = np.pad(pixels, [*sides, (0, 0)], mode="edge")
        top, left = random.integers(pixels.shape[0] - height + 1), random.integers(pixels.shape[1] - width + 1)
        return np.ascontiguousarray(pixels[top : top + height, left : left + width].transpose(2, 0, 1))

    def _resized(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        return image.resize((size[1], size[0]), resample=Image.Resampling(int(self._attribute("resample"))))

    def _by_processor(self, image: Image.Image) -> np.ndarray:
        more = {"include_top": False} if self._attribute("include_top") is not None else {}
        found = self.processor(images=image, return_tensors="np", **_GEOMETRY_ALONE, **more)["pixel_values"][0]
        return np.asarray(found, np.uint8)

    def _attribute(self, name: str) -> Any:
        return getattr(self.processor, name, None)


def _settings(processor: "BaseImageProcessor") -> tuple[int | tuple[int, int] | None, tuple[int, int] | None]:
    size, crop = getattr(processor, "size", None), getattr(processor, "crop_size", None)
    resize: int | tuple[int, int] | None = None
    if getattr(processor, "do_resize", False) and size is not None:
        short = size.get("shortest_edge")
        resize = int(short) if short else (int(size["height"]), int(size["width"]))
    if crop is None or not getattr(processor, "do_center_crop", False):
        return resize, None
    return resize, (int(crop["height"]), int(crop["width"]))


def needed_side(processor: "BaseImageProcessor") -> int | None:
    """Pixels that a picture should have on its short side before a processor resizes it; None where it does not."""
    return _side(_settings(processor)[0])


def _side(resize: int | tuple[int, int] | None) -> int | None:
    return max(resize) if isinstance(resize, tuple) else resize


def _constant(processor: "BaseImageProcessor", value: int) -> np.ndarray:
    """(3, 1, 1) what becomes of a pixel in the middle of a picture of one grey."""
    image = Image.new("RGB", (600, 600), (value,) * 3)
    pixels = np.asarray(processor(images=image, return_tensors="np")["pixel_values"][0])
    return pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2].reshape(3, 1, 1).astype(np.float32)


def _probes() -> list[Image.Image]:
    """Pictures whose sides and contents tell ways of resizing and cropping apart: wide, tall, small."""
    sizes = ((401, 301), (299, 733), (57, 43))
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 256, (height, width, 3), np.uint8)) for width, height in sizes]


def _short(image: Image.Image, side: int) -> tuple[int, int]:
    """Height and width where the short one is `side`; the long one is rounded down, as in `transformers`."""
    if image.width <= image.height:
        return int(side * image.height / image.width), side
    return side, int(side * image.width / image.height)


def _middle(image: Image.Image) -> Image.Image:
    """The picture itself, or the middle of one that is much longer than wide, or wider than long."""
    most = _LONGEST * min(image.size)
    if max(image.size) <= most:
        return image
    width, height = (min(side, most) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _channels_first(image: Image.Image) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
