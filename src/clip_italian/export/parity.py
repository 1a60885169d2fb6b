"""A sample of texts and pictures, and how far a model's embeddings of it are from another's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clip_italian.errors import UserError
from clip_italian.languages import Language
from clip_italian.models.encoder import SearchEncoder
from clip_italian.models.exported import Parity
from clip_italian.pictures.decoding import PictureError, open_picture
from clip_italian.pictures.walk import find_pictures

LARGEST_DIFFERENCE = 1e-3
LEAST_COSINE = 0.99
_LABELS, _LONG = 24, 200  # of the language's names of ImageNet's classes
_PICTURES = 16
_SIZES = ((320, 240), (240, 320), (500, 333), (64, 64), (200, 600))  # width, height


@dataclass(frozen=True)
class Sample:
    """Texts of all lengths, one of them longer than any model reads, and pictures."""

    texts: tuple[str, ...]
    pictures: tuple[Image.Image, ...]

    @classmethod
    def of(cls, language: Language, folder: Path | None = None) -> "Sample":
        """Queries and labels of a language; pictures of a folder, or made up. Raises UserError."""
        labels = [one.label for one in language.imagenet]
        texts = [*language.paper_queries, *labels[:: max(1, len(labels) // _LABELS)], " ".join(labels[:_LONG])]
        return cls(tuple(texts), tuple(made_up(_PICTURES) if folder is None else _from(folder)))


def made_up(count: int) -> list[Image.Image]:
    """Pictures with the statistics of photos: noise in colour whose strength falls with its frequency, equal each time.

    A photo's spectrum falls as one over the frequency (Field 1987); white noise is like nothing that a model sees.
    """
    random = np.random.default_rng(0)
    pictures = []
    for number in range(count):
        width, height = _SIZES[number % len(_SIZES)]
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
        frequency[0, 0] = 1.0  # the mean is set below
        noise = np.fft.fft2(random.standard_normal((3, height, width)), axes=(1, 2)) / frequency
        waves = np.fft.ifft2(noise, axes=(1, 2)).real
        waves = np.tensordot(random.dirichlet(np.ones(3), 3), waves, axes=1)  # colours go together
        waves = (waves - waves.mean()) / waves.std() * random.uniform(30, 70) + random.uniform(60, 190, (3, 1, 1))
        pictures.append(Image.fromarray(np.clip(waves, 0, 255).astype(np.uint8).transpose(1, 2, 0)))
    return pictures


def compare(model: SearchEncoder, source: SearchEncoder, sample: Sample) -> tuple[Parity, Parity]:
    """How far `model` is from `source` on pictures and on texts."""
    return (
        of(model.encode_images(sample.pictures), source.encode_images(sample.pictures)),
        of(model.encode_text(sample.texts), source.encode_text(sample.texts)),
    )


def of(found: np.ndarray, expected: np.ndarray) -> Parity:
    """How far unit embeddings (n, dim) are from others."""
    cosines = np.sum(found.astype(np.float64) * expected, axis=1)
    return Parity(
        sample=len(found),
        largest_difference=float(np.abs(found - expected).max()),
        least_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
    )


def check(name: str, parity: Parity, lossless: bool) -> None:
    """Raise UserError for a graph that is not as good as it must be: 1e-3 in float32, else a cosine of 0.99."""
    if lossless and not parity.largest_difference <= LARGEST_DIFFERENCE:  # nan is no good either
        raise UserError(
            f"{name}: its embeddings differ by {parity.largest_difference:.1e} from the model's, more than "
            f"{LARGEST_DIFFERENCE:g}; nothing was written, please report the model's architecture"
        )
    if not parity.least_cosine >= LEAST_COSINE:
        raise UserError(
            f"{name}: cosine {parity.least_cosine:.3f} to float32 for the worst of {parity.sample} samples, less than "
            f"{LEAST_COSINE:g}; nothing was written, export without --quantise"
        )


def _from(folder: Path) -> list[Image.Image]:
    found: list[Image.Image] = []
    errors: list[PictureError] = []
    for path in _spread(find_pictures(folder)):
        try:
            found.append(open_picture(path, at_least=600))
        except PictureError as error:
            errors.append(error)
    if len(found) < 2:
        raise UserError(f"{folder}: {len(found)} pictures that can be read; measuring needs some, 50 are better")
    return found


def _spread(paths: Sequence[Path], most: int = 100) -> list[Path]:
    """At most so many, from all over the list."""
    return [paths[at] for at in np.unique(np.linspace(0, len(paths) - 1, most).round().astype(int))] if paths else []
