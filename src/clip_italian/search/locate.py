"""Where in a picture is what words say: a heat map, a box and a point, and a picture that shows them.

The original demo of CLIP-Italian hid parts of the picture and looked how the similarity changed. Here the similarity of
small parts is asked directly, which takes fewer encodings and points better (figures: docs/results.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, label

from clip_italian.languages import Language
from clip_italian.pictures.decoding import as_seen
from clip_italian.search import windows
from clip_italian.search.windows import Windows

if TYPE_CHECKING:
    from clip_italian.models.encoder import SearchEncoder

CELLS = 64  # of the heat map's longer side
_SMOOTH = 1.0  # cells
# How much of the likeness to no words at all is taken off.
_NEUTRAL = 0.5
# The box holds the heat around the maximum that is above this share of it.
_BORDER_OF_MAPS, _BORDER_OF_CROPS = 0.65, 0.75
_ROUNDING = 1e-6  # differences of cosines below it are none
_SHORT_SIDE = 1024  # pixels; larger pictures are scaled down first


@dataclass(frozen=True)
class Located:
    """Where the words are in a picture of `size` (width, height).

    `box` is left, top, right, bottom in pixels, `point` x, y in pixels, the heat's centre in the box; `heat` (rows,
    columns) float32 from 0 to 1 over the whole picture. `strength` is what the hottest cell had before heat was brought
    between 0 and 1: a difference of cosines, larger where the words are in the picture. `encoded` is how many pictures
    of usual size the encoder worked through.
    """

    query: str
    size: tuple[int, int]
    box: tuple[int, int, int, int]
    point: tuple[int, int]
    heat: np.ndarray
    strength: float
    encoded: float


def locate(encoder: "SearchEncoder", picture: Image.Image, query: str, language: Language) -> Located:
    """Look for the words in a picture, seen upright (`images.as_seen`).

    They are always found somewhere: a heat map is relative.
    """
    picture = as_seen(picture)
    asked, *neutral = encoder.encode_text([query, *language.neutral])
    direction = asked - _NEUTRAL * np.mean(neutral, axis=0)
    small = picture
    if min(small.size) > _SHORT_SIDE:
        small = small.resize([round(side * _SHORT_SIDE / min(small.size)) for side in small.size], reducing_gap=2.0)
    heat = partial(heat_of, shape=grid_shape(picture.size))
    if encoder.maps is not None:
        found, border = list(windows.of_maps(encoder.maps, small, direction)), _BORDER_OF_MAPS
    else:
        found, border = list(windows.of_crops(encoder, small, direction, heat)), _BORDER_OF_CROPS
    scores = heat(found)
    least, strength = float(scores.min()), float(scores.max())
    span = strength - least
    relative = ((scores - least) / span if span > _ROUNDING else np.zeros_like(scores)).astype(np.float32)
    box, point = read(relative, picture.size, border)
    return Located(query, picture.size, box, point, relative, strength, sum(part.encoded for part in found))


def grid_shape(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the heat map of a picture of width and height."""
    columns, rows = (max(1, round(CELLS * side / max(size))) for side in size)
    return rows, columns


def heat_of(found: Sequence[Windows], shape: tuple[int, int]) -> np.ndarray:
    """Mean score over kinds of windows, a little smoothed: (rows, columns)."""
    idle = float(found[0].scores.mean())
    painted = [windows.paint(part, shape, idle) for part in found]
    return np.asarray(gaussian_filter(np.mean(painted, axis=0), _SMOOTH, mode="nearest"))


def read(heat: np.ndarray, size: tuple[int, int], border: float) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """Box and point in a picture of width and height, from its heat map (rows, columns).

    The box holds the connected cells around the maximum that have this share of it or more; the point is the centre of
    what they have beyond that.
    """
    top = np.unravel_index(heat.argmax(), heat.shape)
    parts, _ = label(heat >= border * heat.max())
    rows, columns = np.nonzero(parts == parts[top])
    excess = heat[rows, columns].astype(np.float64) - border * heat.max() + _ROUNDING
    across, down = size[0] / heat.shape[1], size[1] / heat.shape[0]
    x = ((columns + 0.5) * excess).sum() / excess.sum() * across
    y = ((rows + 0.5) * excess).sum() / excess.sum() * down
    left, right = round(columns.min() * across), round((columns.max() + 1) * across)
    upper, lower = round(rows.min() * down), round((rows.max() + 1) * down)
    return (left, upper, max(right, left + 1), max(lower, upper + 1)), (int(x + _ROUNDING), int(y + _ROUNDING))
