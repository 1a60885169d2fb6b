"""Checks of picture files: readable, large enough, not a single colour, not animated."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from pydantic import Field

from clip_italian.config import Strict
from clip_italian.pictures.decoding import MAX_PIXELS, PictureError, open_picture, retry_without_metadata
from clip_italian.pictures.phash import picture_hash


class PictureLimits(Strict):
    """Thresholds; a picture exactly at one passes."""

    min_side: int = Field(64, ge=1, description="pixels of the shorter side; smaller pictures are icons")
    max_aspect: float = Field(4.0, ge=1, description="longer by shorter side; a square crop loses most of longer ones")
    max_pixels: int = Field(MAX_PIXELS, ge=1, le=MAX_PIXELS, description="larger pictures are rejected before decoding")
    min_range: int = Field(8, ge=0, le=255, description="largest minus smallest red, green or blue over 64 x 64 fields")


@dataclass(frozen=True)
class PictureFacts:
    """Upright size in pixels and perceptual hash of a usable picture."""

    width: int
    height: int
    phash: str


Failure = tuple[str, str]  # reason and detail


def check(path: Path, limits: PictureLimits) -> PictureFacts | Failure:
    """Facts of a picture file, or the reason why it cannot be used.

    Reasons: unreadable, too-many-pixels, animated, too-small, extreme-aspect, single-colour. Never raises for a broken
    file, and suppresses Pillow's warnings.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return header_failure(path, limits) or _content(open_picture(path), limits)
        except PictureError as error:
            return "unreadable", str(error).removeprefix(f"{path}: ")


def header_failure(file: Path | BinaryIO, limits: PictureLimits) -> Failure | None:
    """The reason visible in the header: too-many-pixels, animated, too-small, extreme-aspect, or None.

    Also None if the header cannot be read, which decoding reports later.
    """

    def work(some: Path | BinaryIO, _: bytes | None) -> tuple[int, int, int, str | None]:
        with Image.open(some) as image:
            return image.width, image.height, getattr(image, "n_frames", 1), image.format

    try:
        width, height, frames, kind = retry_without_metadata(file, work)
    except Image.DecompressionBombError:
        return "too-many-pixels", f"more than {limits.max_pixels:,}"
    except Exception:  # whatever a decoder raises on a broken header
        return None
    size = f"{width} x {height}"
    if width * height > limits.max_pixels:
        return "too-many-pixels", size
    # A JPEG with several frames (MPO) is a photo with a preview or a stereo pair; a TIFF has pages.
    if frames > 1 and kind in ("GIF", "PNG", "WEBP", "AVIF"):
        return "animated", f"{frames} frames"
    if min(width, height) < limits.min_side:
        return "too-small", size
    if max(width, height) > limits.max_aspect * min(width, height):
        return "extreme-aspect", size
    return None


def _content(image: Image.Image, limits: PictureLimits) -> PictureFacts | Failure:
    # Averages over fields: noise, a speck or a thin frame is not content.
    fields = image.resize((64, 64), Image.Resampling.BOX)
    if np.ptp(np.asarray(fields), axis=(0, 1)).max() < limits.min_range:
        return "single-colour", f"#{fields.resize((1, 1), Image.Resampling.BOX).tobytes().hex()}"
    return PictureFacts(image.width, image.height, picture_hash(image))
