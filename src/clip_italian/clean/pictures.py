"""What a picture file must be to be of use in training: readable, large enough, not flat, not moving."""

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
    """Thresholds; a picture that is exactly at one passes."""

    min_side: int = Field(64, ge=1, description="pixels of the shorter side; smaller are icons, blurred when enlarged")
    max_aspect: float = Field(4.0, ge=1, description="longer by shorter side; the square crop loses most of the rest")
    max_pixels: int = Field(MAX_PIXELS, ge=1, le=MAX_PIXELS, description="more are refused before decoding")
    min_range: int = Field(8, ge=0, le=255, description="between the extremes of red, green or blue, in 64 x 64 fields")


@dataclass(frozen=True)
class PictureFacts:
    """A picture that can be used: upright size in pixels, and `identity.picture_hash`."""

    width: int
    height: int
    phash: str


Failure = tuple[str, str]  # reason and detail


def check(path: Path, limits: PictureLimits) -> PictureFacts | Failure:
    """Facts of a picture file, or why it cannot be used.

    Reasons: unreadable, too-many-pixels, animated, too-small, extreme-aspect, single-colour. Never
    raises for a broken file, and Pillow's warnings about it are not shown.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return header_failure(path, limits) or _content(open_picture(path), limits)
        except PictureError as error:
            return "unreadable", str(error).removeprefix(f"{path}: ")


def header_failure(file: Path | BinaryIO, limits: PictureLimits) -> Failure | None:
    """What the header alone tells: too-many-pixels, animated, too-small, extreme-aspect, or None.

    None also where it cannot be read, which decoding then reports.
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
    # A JPEG of several frames (MPO) is a photo with its preview or its stereo half; a TIFF has pages.
    if frames > 1 and kind in ("GIF", "PNG", "WEBP", "AVIF"):
        return "animated", f"{frames} frames"
    if min(width, height) < limits.min_side:
        return "too-small", size
    if max(width, height) > limits.max_aspect * min(width, height):
        return "extreme-aspect", size
    return None


def _content(image: Image.Image, limits: PictureLimits) -> PictureFacts | Failure:
    # Means of fields, so that noise, a speck or a thin frame is no content.
    fields = image.resize((64, 64), Image.Resampling.BOX)
    if np.ptp(np.asarray(fields), axis=(0, 1)).max() < limits.min_range:
        return "single-colour", f"#{fields.resize((1, 1), Image.Resampling.BOX).tobytes().hex()}"
    return PictureFacts(image.width, image.height, picture_hash(image))
