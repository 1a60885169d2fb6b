"""The paper's augmentation (section 3.2), batched, with kornia, on whatever device the pictures are.

Affine and perspective distortion, occasional equalisation, and jitter of brightness, contrast
and saturation; stretching to full contrast and random crops (`model.preprocess`) where the
recipe asks. Hue moves little, because captions speak of colours. Mirroring is off unless the
recipe asks for it: letters, arrows and "a sinistra" would turn wrong.
"""

import torch
from kornia import augmentation as K
from transformers import BaseImageProcessor

from clip_italian.config import Augmentation


class Augment:
    """Distort preprocessed pictures (batch, 3, height, width), keeping their normalisation.

    Draws from its own seed, so that a view is the same each time it is made; with `generator_state` kept, it can
    be gone on with.
    """

    def __init__(self, settings: Augmentation, processor: BaseImageProcessor, seed: int) -> None:
        self._mean = torch.tensor(processor.image_mean).view(3, 1, 1)
        self._std = torch.tensor(processor.image_std).view(3, 1, 1)
        self._distort = build(settings)
        self.generator_state = torch.Generator().manual_seed(seed).get_state()

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        mean, std = self._mean.to(pixels.device), self._std.to(pixels.device)
        with torch.random.fork_rng(devices=[]), torch.autocast(pixels.device.type, enabled=False):
            torch.set_rng_state(self.generator_state)
            distorted = self._distort((pixels * std + mean).clamp(0, 1))
            self.generator_state = torch.get_rng_state()
        return (distorted - mean) / std


def build(settings: Augmentation) -> torch.nn.Module:
    """A module from pixels in [0, 1] to the same shape.

    The empty border that an affine distortion opens is filled with the nearest pixels of the edge.
    """
    parts: list[torch.nn.Module] = [
        K.RandomAffine(
            degrees=settings.degrees,
            translate=(settings.translate, settings.translate),
            scale=(1 - settings.scale, 1 + settings.scale),
            shear=settings.shear,
            padding_mode="border",
            p=1.0,
        ),
        K.RandomPerspective(settings.perspective, p=settings.perspective_p),
        K.RandomEqualize(p=settings.equalize_p),
        K.ColorJitter(settings.brightness, settings.contrast, settings.saturation, settings.hue, p=settings.colour_p),
        K.RandomHorizontalFlip(p=settings.flip_p),
    ]
    if settings.autocontrast_p:  # not always there with p = 0, which would draw and change all that comes after
        parts.insert(3, K.RandomAutoContrast(p=settings.autocontrast_p))
    return torch.nn.Sequential(*parts)
