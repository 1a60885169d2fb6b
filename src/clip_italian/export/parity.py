"""Compares the embeddings of two models on a sample of texts and pictures."""

from collections.abc import Sequence
from contextlib import suppress
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
_LABELS, _LONG = 60, 200  # number of ImageNet labels used as texts, and joined to one long text
_PICTURES = 40
_SIZES = ((320, 240), (240, 320), (500, 333), (64, 64), (200, 600))  # width, height


Embedded = tuple[np.ndarray, np.ndarray]
"""Embeddings of pictures (n, dim) and of texts (m, dim)."""


@dataclass(frozen=True)
class Sample:
    """Texts of all lengths, one of them longer than any model's maximum, and pictures."""

    texts: tuple[str, ...]
    pictures: tuple[Image.Image, ...]

    @classmethod
    def of(cls, language: Language, folder: Path | None = None) -> "Sample":
        """Return queries and labels of a language, and pictures of a folder or synthetic ones.

        Raises UserError if the folder has fewer than two readable pictures.
        """
        labels = [one.label for one in language.imagenet]
        texts = [*language.paper_queries, *labels[:: max(1, len(labels) // _LABELS)], " ".join(labels[:_LONG])]
        return cls(tuple(texts), tuple(synthetic(_PICTURES) if folder is None else _from_folder(folder)))


def synthetic(count: int) -> list[Image.Image]:
    """Return reproducible pictures of coloured 1/f noise.

    The amplitude spectrum of photos falls with 1/f (Field 1987); white noise is unlike any input of a model.
    """
    random = np.random.default_rng(0)
    pictures = []
    for number in range(count):
        width, height = _SIZES[number % len(_SIZES)]
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
        frequency[0, 0] = 1.0  # the mean is set below
        noise = np.fft.fft2(random.standard_normal((3, height, width)), axes=(1, 2)) / frequency
        waves = np.fft.ifft2(noise, axes=(1, 2)).real
        waves = np.tensordot(random.dirichlet(np.ones(3), 3), waves, axes=1)  # correlate the channels
        waves = (waves - waves.mean()) / waves.std() * random.uniform(30, 70) + random.uniform(60, 190, (3, 1, 1))
        pictures.append(Image.fromarray(np.clip(waves, 0, 255).astype(np.uint8).transpose(1, 2, 0)))
    return pictures


made_up = synthetic  # alias of the former name, until 0.4


def compare(model: SearchEncoder, sample: Sample, expected: Embedded) -> tuple[Parity, Parity, float]:
    """Return the parity of a model's embeddings with the expected ones, of pictures and texts, and their agreement."""
    found = model.encode_images(sample.pictures), model.encode_text(sample.texts)
    return of(found[0], expected[0]), of(found[1], expected[1]), agreement(found, expected)


def of(found: np.ndarray, expected: np.ndarray) -> Parity:
    """Return the parity of unit embeddings (n, dim) with the expected ones."""
    cosines = np.sum(found.astype(np.float64) * expected, axis=1)
    return Parity(
        sample=len(found),
        largest_difference=float(np.abs(found - expected).max()),
        least_cosine=float(cosines.min()),
        low_cosine=float(np.quantile(cosines, 0.05)),
        mean_cosine=float(cosines.mean()),
    )


def agreement(found: Embedded, expected: Embedded, best: int = 10) -> float:
    """Return the share of the `best` hits of all searches that are the same in both embeddings.

    Pictures are searched with each text, and texts with each picture.
    """
    shares = []
    for queries, gallery in ((1, 0), (0, 1)):
        ours, theirs = (
            np.argsort(-(side[queries] @ side[gallery].T), axis=1, kind="stable")[:, :best]
            for side in (found, expected)
        )
        shares += [len(np.intersect1d(one, other)) / len(other) for one, other in zip(ours, theirs, strict=True)]
    return float(np.mean(shares))


def check(name: str, parity: Parity, lossless: bool) -> None:
    """Raise UserError if embeddings differ by more than 1e-3 (float32), or 95 % do not reach a cosine of 0.99."""
    if lossless and not parity.largest_difference <= LARGEST_DIFFERENCE:  # also rejects NaN
        raise UserError(
            f"{name}: the embeddings differ by {parity.largest_difference:.1e} from the model's, more than "
            f"{LARGEST_DIFFERENCE:g}; nothing was written, please report the model's architecture"
        )
    if not parity.low_cosine >= LEAST_COSINE:
        raise UserError(
            f"{name}: 95 % of {parity.sample} samples reach a cosine of {parity.low_cosine:.3f} to float32, less than "
            f"{LEAST_COSINE:g}; nothing was written, export without --quantise"
        )


def _from_folder(folder: Path) -> list[Image.Image]:
    pictures: list[Image.Image] = []
    for path in _evenly_spaced(find_pictures(folder)):
        with suppress(PictureError):
            pictures.append(open_picture(path, at_least=600))
    if len(pictures) < 2:
        raise UserError(
            f"{folder}: too few readable pictures ({len(pictures)}); give a folder with 2 or more, better 50"
        )
    return pictures


def _evenly_spaced(paths: Sequence[Path], most: int = 100) -> list[Path]:
    """Return at most `most` paths at equal distances in the list."""
    return [paths[at] for at in np.unique(np.linspace(0, len(paths) - 1, most).round().astype(int))] if paths else []
