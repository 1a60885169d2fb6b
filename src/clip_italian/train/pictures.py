"""Training pictures: where they are, and pixels made from them by workers, normalised and distorted on the device."""

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Self, TypeVar

import numpy as np
import pyarrow as pa
import torch
from kornia import augmentation as K
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers import BaseImageProcessor

from clip_italian.config import Augmentation
from clip_italian.files.names import as_stored
from clip_italian.models.preprocess import Preprocess
from clip_italian.models_torch.processors import normalise
from clip_italian.pictures.decoding import PictureError, open_picture

J = TypeVar("J")
R = TypeVar("R")

# Pictures that a worker sends at once: 2 MB of shared memory, of which containers often have 64 MB.
_SLICE = 16
# How many times the needed pixels a JPEG must keep: twice as many leave its embedding unchanged (cosine to that of the
# whole picture 0.9997 at worst, 1.0000 in the median of 60 photos); the number itself is twice as fast and good enough
# for pictures that are distorted anyway (0.9985 and 0.9997).
PLAIN_MARGIN, DISTORTED_MARGIN = 2, 1

_MOST_THREADS = 8
_AHEAD = 4  # jobs a worker may be ahead of the reader


class Pictures(ABC):
    """Pictures by row number. Cheap to send to another process: no picture is in memory before it is opened."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, row: int) -> str:
        """The name that people find the picture by: its path, or shard and member."""

    @abstractmethod
    def bytes(self, row: int) -> bytes:
        """The picture's file, undecoded; raises PictureError where it cannot be read."""

    @abstractmethod
    def open(self, row: int, at_least: int | None = None) -> Image.Image:
        """RGB and upright; a JPEG may come smaller, but with at least so many pixels on its short side.

        Raises PictureError for a picture that is missing or damaged.
        """

    @abstractmethod
    def state(self, row: int) -> tuple[str, int, int]:
        """Name, size in bytes and time of the last change in ns: equal as long as the picture is the same.

        Raises PictureError where it is missing.
        """

    @abstractmethod
    def subset(self, rows: torch.Tensor) -> Self:
        """Some of the pictures, renumbered."""


class FilePictures(Pictures):
    """Picture files, given by paths or by an Arrow array of paths; relative ones start at `folder`."""

    def __init__(self, paths: Sequence[Path | str] | pa.Array, folder: Path | None = None) -> None:
        self._folder = folder or Path()
        self._paths = (
            paths if isinstance(paths, pa.Array) else pa.array([str(path) for path in paths], pa.large_string())
        )

    def __len__(self) -> int:
        return len(self._paths)

    def path(self, row: int) -> Path:
        """Path of the file."""
        return as_stored(self._folder / self._paths[row].as_py())

    def name(self, row: int) -> str:
        """The path as text."""
        return str(self.path(row))

    def bytes(self, row: int) -> bytes:
        path = self.path(row)
        try:
            return path.read_bytes()
        except OSError as error:
            raise PictureError(f"{path}: cannot be read ({error.strerror})") from None

    def open(self, row: int, at_least: int | None = None) -> Image.Image:
        return open_picture(self.path(row), at_least=at_least)

    def state(self, row: int) -> tuple[str, int, int]:
        path = self.path(row)
        try:
            found = path.stat()
        except OSError as error:
            raise PictureError(f"{path}: cannot be read ({error.strerror})") from None
        return str(path), found.st_size, found.st_mtime_ns

    def subset(self, rows: torch.Tensor) -> Self:
        return type(self)(self._paths.take(pa.array(rows.numpy())), self._folder)


class _Jobs(Dataset[R], Generic[J, R]):
    def __init__(self, work: Callable[[J], R], jobs: Sequence[J]) -> None:
        self._work, self._jobs = work, jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, number: int) -> R:
        return self._work(self._jobs[number])


def in_order(work: Callable[[J], R], jobs: Sequence[J], workers: int) -> Iterator[R]:
    """`work(job)` of every job, in order, ahead of the reader: by processes (torch's DataLoader), or by threads for 0.

    Decoding and resizing release Python's lock, so threads do well; processes pay on machines with many cores. For
    processes, `work` and its results must be picklable (tensors go through shared memory). An exception in a process
    arrives as one of the same type with its traceback as text: let `work` return the errors it expects.
    """
    if not jobs:
        return
    if workers:
        # A generator of its own: an epoch must not change what the training draws from torch's.
        yield from DataLoader(
            _Jobs(work, jobs), batch_size=None, num_workers=min(workers, len(jobs)), prefetch_factor=_AHEAD,
            collate_fn=_unchanged, generator=torch.Generator(),
        )  # fmt: skip
        return
    threads = min(_MOST_THREADS, max(2, os.cpu_count() or 1))
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(work, job))
                if len(waiting) > threads * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _unchanged(value: R) -> R:
    return value


@dataclass(frozen=True)
class Job:
    """Rows of pictures, and the seed of their crops where those are random."""

    rows: np.ndarray
    seed: int | None


@dataclass(frozen=True)
class Decode:
    """Decodes the pictures of a job: (b, 3, height, width) uint8, or the error of the first that cannot be read.

    JPEG files are decoded at a half, a quarter or an eighth of their sides where that leaves `margin` times the pixels
    that are needed.
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
    """Pixels of any batches of pictures, decoded ahead of the reader by `workers` processes, or by threads where 0."""

    def __init__(
        self, pictures: Pictures, processor: BaseImageProcessor, augmentation: Augmentation, workers: int
    ) -> None:
        self._preprocess = Preprocess.of(processor)
        self._pictures = pictures
        self._random_crop = augmentation.random_crop
        self._distort = distortion(augmentation)
        self._workers = workers

    def batches(self, plan: Sequence[np.ndarray], augment: bool, seeds: Sequence[int]) -> Iterator[torch.Tensor]:
        """(b, 3, height, width) uint8 of the rows of each batch, in order.

        With `augment`, and where the augmentation asks for random crops, these depend on the batch's seed and the row
        alone. Raises PictureError with the name of a picture that can no longer be read.
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
        """Inputs of the vision tower, on `device`, from pixels (b, 3, height, width) uint8.

        Distortion draws from torch's global generator of the CPU (kornia's default, also for pictures on a GPU).
        """
        pixels = pixels.to(device, non_blocking=True)
        if not augment:
            return normalise(self._preprocess, pixels)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            return normalise(self._preprocess, self._distort(pixels.float() / 255) * 255)


class Augment:
    """Distorts preprocessed pictures (batch, 3, height, width), keeping their normalisation.

    Draws from its own seed, so that a view is the same each time it is made; set `generator_state` to resume.
    """

    def __init__(self, settings: Augmentation, processor: BaseImageProcessor, seed: int) -> None:
        self._mean = torch.tensor(processor.image_mean).view(3, 1, 1)
        self._std = torch.tensor(processor.image_std).view(3, 1, 1)
        self._distort = distortion(settings)
        self.generator_state = torch.Generator().manual_seed(seed).get_state()

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        mean, std = self._mean.to(pixels.device), self._std.to(pixels.device)
        with torch.random.fork_rng(devices=[]), torch.autocast(pixels.device.type, enabled=False):
            torch.set_rng_state(self.generator_state)
            distorted = self._distort((pixels * std + mean).clamp(0, 1))
            self.generator_state = torch.get_rng_state()
        return (distorted - mean) / std


def distortion(settings: Augmentation) -> torch.nn.Module:
    """The paper's augmentation (section 4) by kornia: a module from pixels in [0, 1] to the same shape.

    Affine and perspective distortion, occasional equalisation, and jitter of brightness, contrast, saturation and hue
    with the formulas of Pillow; stretching to full contrast where the recipe asks for it. Hue moves little, because
    captions speak of colours.
    Mirroring is off unless the recipe asks for it: letters, arrows and "a sinistra" would turn wrong. The empty border
    that an affine distortion opens is filled with the nearest pixels of the edge.
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
