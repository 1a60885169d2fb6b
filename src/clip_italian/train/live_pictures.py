"""Pictures decoded anew for every batch: bytes from the workers, numbers and distortion on the training device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import BaseImageProcessor

from clip_italian.config import Augmentation
from clip_italian.models.preprocess import Preprocess
from clip_italian.models_torch.processors import normalise
from clip_italian.pictures.decoding import PictureError
from clip_italian.train.augment import build
from clip_italian.train.pictures import Pictures
from clip_italian.train.workers import in_order

# Pictures that a worker sends at once: 2 MB of shared memory, of which containers often have 64 MB.
_SLICE = 16
# How many times the pixels needed a JPEG must keep: twice as many leave its embedding as it is (cosine to that of
# the whole picture 0.9997 at worst, 1.0000 in the median of 60 photos), the number itself is twice as fast and good
# enough for what is distorted anyway (0.9985 and 0.9997).
PLAIN_MARGIN, DISTORTED_MARGIN = 2, 1


@dataclass(frozen=True)
class Job:
    """Rows of pictures, and the seed of their crops where they are random."""

    rows: np.ndarray
    seed: int | None


@dataclass(frozen=True)
class Decode:
    """Decodes the pictures of a job: (b, 3, height, width) uint8, or the error of the first that cannot be read.

    JPEG files are decoded at a half, a quarter or an eighth of their sides where that leaves `margin` times the
    pixels that are needed.
    """

    pictures: Pictures
    preprocess: Preprocess
    margin: int

    def __call__(self, job: Job) -> torch.Tensor | PictureError:
        needed = self.preprocess.at_least
        at_least = None if needed is None else self.margin * needed
        decoded = []
        for row in job.rows.tolist():
            try:
                image = self.pictures.open(row, at_least)
            except PictureError as error:
                return error
            random = None if job.seed is None else np.random.default_rng((job.seed, row))
            decoded.append(torch.from_numpy(self.preprocess.pixels(image, random)))
        return torch.stack(decoded)


class LivePictures:
    """Pixels of any batches of pictures, decoded by `workers` processes, or threads where 0, ahead of the reader."""

    def __init__(
        self, pictures: Pictures, processor: BaseImageProcessor, augmentation: Augmentation, workers: int
    ) -> None:
        self._preprocess = Preprocess.of(processor)
        self._pictures = pictures
        self._random_crop = augmentation.random_crop
        self._distort = build(augmentation)
        self._workers = workers

    def batches(self, plan: Sequence[np.ndarray], augment: bool, seeds: Sequence[int]) -> Iterator[torch.Tensor]:
        """(b, 3, height, width) uint8 of the rows of each batch, in order.

        With `augment`, and where the augmentation wants random crops, these depend on the batch's seed and the
        row alone. Raises PictureError with the name of a picture that cannot be read any more.
        """
        jobs = []
        for rows, seed in zip(plan, seeds, strict=True):
            crop_seed = seed if augment and self._random_crop else None
            jobs += [Job(rows[start : start + _SLICE], crop_seed) for start in range(0, len(rows), _SLICE)]
        decode = Decode(self._pictures, self._preprocess, DISTORTED_MARGIN if augment else PLAIN_MARGIN)
        decoded = in_order(decode, jobs, self._workers)
        for rows in plan:
            parts: list[torch.Tensor] = []
            while sum(map(len, parts)) < len(rows):
                part = next(decoded)
                if isinstance(part, PictureError):
                    raise part
                parts.append(part)
            yield torch.cat(parts)

    def on_device(self, pixels: torch.Tensor, augment: bool, device: torch.device) -> torch.Tensor:
        """What the vision tower takes, on `device`, of pixels (b, 3, height, width) uint8.

        Distortion draws from torch's global generator of the CPU (kornia's default, also for pictures on a GPU).
        """
        pixels = pixels.to(device, non_blocking=True)
        if not augment:
            return normalise(self._preprocess, pixels)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            return normalise(self._preprocess, self._distort(pixels.float() / 255) * 255)
