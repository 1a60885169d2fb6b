"""Colour management: converts pictures with another colour profile to sRGB.

Supported are ICC profiles, the gAMA and cHRM chunks of PNG, and the EXIF flag for Adobe RGB, which cameras write
instead of a profile. Profiles that are damaged or do not match the pixels are ignored.
"""

import io
import struct
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageCms

# Colour space of a profile, by Pillow mode.
_SPACES = dict.fromkeys(("RGB", "RGBA", "P", "PA"), "RGB") | dict.fromkeys(("L", "LA"), "GRAY") | {"CMYK": "CMYK"}
_BASES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
# Profiles that differ from sRGB by at most this much, of 255, count as sRGB: there are many variants of it.
_TOLERANCE = 3
# Profiles with a smaller difference between black and white, of 255, are damaged.
_CONTRAST = 64
# Larger profiles are not cached: tables for printing have 0.5 to 3 MB.
_CACHED_BYTES = 1 << 20
_CACHED = 32

_SRGB_WHITE, _SRGB_PRIMARIES = (0.3127, 0.329), (0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_ADOBE_PRIMARIES = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_ADOBE_GAMMA = 256 / 563
# As in PNG decoders, a gamma this close to sRGB's means sRGB's curve, which is not a power.
_NEAR_GAMMA = 0.05
# Bradford matrix, to adapt XYZ from D65 to D50, the white point of ICC profiles.
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])


def differs(image: Image.Image) -> bool:
    """Return True if the picture needs a conversion to sRGB."""
    return _conversion(image) is not None


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert a picture to sRGB, in mode RGB or RGBA; returns the picture itself if it is sRGB already."""
    transform = _conversion(image)
    if transform is None:
        return image
    space = _SPACES[image.mode]
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    elif "transparency" in image.info:
        image = image.convert("LA" if space == "GRAY" else "RGBA")
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    converted = transform.apply(image.convert(_BASES[space]))
    converted.info = {}
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _conversion(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    space = _SPACES.get(image.mode)
    profile = None if space is None else _profile(image)
    if space is None or profile is None:
        return None
    return (_transform if len(profile) <= _CACHED_BYTES else _transform.__wrapped__)(profile, space)


def _profile(image: Image.Image) -> bytes | None:
    """Return the ICC profile of a picture, or one made from its PNG or EXIF fields; None for sRGB."""
    embedded = image.info.get("icc_profile")
    if isinstance(embedded, bytes) and embedded:
        return embedded
    gamma = image.info.get("gamma")
    if gamma and "srgb" not in image.info and _SPACES[image.mode] == "RGB":
        chromaticity = image.info.get("chromaticity")
        return _make_profile(float(gamma), tuple(chromaticity) if chromaticity else (*_SRGB_WHITE, *_SRGB_PRIMARIES))
    exif = image.info.get("exif")
    if isinstance(exif, bytes) and b"R03\0" in exif and _SPACES[image.mode] == "RGB":  # DCF's optional colour space
        return _make_profile(_ADOBE_GAMMA, (*_SRGB_WHITE, *_ADOBE_PRIMARIES))
    return None


@lru_cache(maxsize=_CACHED)
def _transform(profile: bytes, space: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB; None if it is damaged, for another colour space, or nearly sRGB."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if opened.profile.xcolor_space.strip() != space:
            return None
        transform = ImageCms.ImageCmsTransform(opened, _srgb(), _BASES[space], "RGB")
        probe = _probe(space)
        converted = np.asarray(transform.apply(probe), np.int16)[0]
    except Exception:  # damaged profile, or Pillow built without LittleCMS
        return None
    if int(converted[-1].sum()) - int(converted[0].sum()) < 3 * _CONTRAST:
        return None
    original = np.asarray(probe.convert("RGB"), np.int16)[0]
    return None if space != "CMYK" and np.abs(converted - original).max() <= _TOLERANCE else transform


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _probe(space: str) -> Image.Image:
    """Return a picture of one row with colours from black to white."""
    if space == "CMYK":
        return Image.frombytes("CMYK", (2, 1), bytes((0, 0, 0, 255, 0, 0, 0, 0)))
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    if space == "GRAY":
        return Image.fromarray(steps[None])
    return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(1, -1, 3))


@lru_cache(maxsize=_CACHED)
def _make_profile(gamma: float, chromaticity: tuple[float, ...]) -> bytes | None:
    """Return an ICC profile for a file gamma (usually 0.45) and the x, y of white, red, green and blue.

    None if the values are not valid colours.
    """
    if not 0.1 < gamma < 4:
        return None
    x, y = np.array(chromaticity, np.float64).reshape(4, 2).T
    if (y <= 0).any() or (x < 0).any() or (x + y > 1.001).any():
        return None
    whole = np.stack([x / y, np.ones(4), (1 - x - y) / y])  # XYZ of white, red, green, blue
    try:
        primaries = whole[:, 1:] * np.linalg.solve(whole[:, 1:], whole[:, 0])
        cones = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ whole[:, 0]))
    except np.linalg.LinAlgError:
        return None
    adapted = np.linalg.solve(_BRADFORD, cones @ _BRADFORD) @ primaries
    if not np.isfinite(adapted).all() or np.abs(adapted).max() > 100:
        return None
    if abs(gamma * 2.2 - 1) < _NEAR_GAMMA and gamma != _ADOBE_GAMMA:
        curve = b"para" + struct.pack(">IHH5i", 0, 3, 0, *_fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
    else:
        curve = b"para" + struct.pack(">IHHi", 0, 0, 0, *_fixed(1 / gamma))
    points = zip((b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ"), (_D50, *adapted.T), strict=True)
    tags = {name: b"XYZ \0\0\0\0" + struct.pack(">3i", *_fixed(*point)) for name, point in points}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">2I", start + len(body), len(content))
        body += content
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s12x4s28x3i48x", size, b"\0\0\0\0", 0x04200000, b"mntr", b"RGB ", b"XYZ ", b"acsp",
                         *_fixed(*_D50))  # fmt: skip
    return header + struct.pack(">I", len(tags)) + table + body


def _fixed(*numbers: float) -> list[int]:
    return [round(float(number) * 65536) for number in numbers]
