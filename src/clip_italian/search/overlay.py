"""A picture with the heat of what was looked for, and the box around it."""

import numpy as np
from PIL import Image, ImageDraw

from clip_italian.pictures.decoding import as_seen
from clip_italian.search.locate import Located

LONGEST = 1600  # pixels of the longer side; larger pictures are shown smaller
# Colours of heat from 0 to 1, and how much of the picture they cover.
_STOPS = (0.0, 0.3, 0.6, 0.8, 1.0)
_COLOURS = np.array([(20, 30, 120), (60, 60, 190), (220, 50, 60), (250, 140, 20), (255, 235, 60)], np.float32)
_COVER = (0.0, 0.2, 0.5, 0.5, 0.5)
_PALE = 0.7  # how much of its own colour the picture loses, so that it is not taken for heat


def overlay(picture: Image.Image, located: Located) -> Image.Image:
    """RGB, of the picture's size or smaller; the box is white with a dark edge, the point a ring."""
    picture = as_seen(picture)
    scale = min(1.0, LONGEST / max(picture.size))
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    shown = np.asarray(picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0), np.float32)
    heat = np.asarray(Image.fromarray(located.heat).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    base = shown.mean(axis=2, keepdims=True) * _PALE + shown * (1 - _PALE)
    tint = np.stack([np.interp(heat, _STOPS, _COLOURS[:, channel]) for channel in range(3)], axis=2)
    cover = np.interp(heat, _STOPS, _COVER)[:, :, None]
    result = Image.fromarray((base * (1 - cover) + tint * cover).astype(np.uint8))
    _draw_box(ImageDraw.Draw(result), located, scale, max(2, round(max(size) / 200)))
    return result


def _draw_box(pen: ImageDraw.ImageDraw, located: Located, scale: float, width: int) -> None:
    left, top, right, bottom = (round(edge * scale) for edge in located.box)
    x, y = (round(place * scale) for place in located.point)
    for colour, grow, line in (("black", width // 2, 2 * width), ("white", 0, width)):
        right, bottom = max(right, left + 1), max(bottom, top + 1)  # of a thin picture that is shown smaller
        pen.rectangle((left - grow, top - grow, right - 1 + grow, bottom - 1 + grow), outline=colour, width=line)
        radius = 2 * width + grow
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=line)
