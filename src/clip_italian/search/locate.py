"""Where in a picture the words are: a heat map, a box and a point, and a picture that shows them.

The original demo of CLIP-Italian hid parts of the picture and measured how the similarity changed. Here the similarity
of windows is measured directly, which takes fewer encodings and points better (figures: docs/results.md).

Any model can encode windows as crops. Of an EfficientNet, whose output is what its head makes of the mean over its last
feature map, one pass over a larger picture scores every window of the map.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageStat

from clip_italian.languages import Language
from clip_italian.models.encoder import MapEncoder, SearchEncoder
from clip_italian.pictures.decoding import as_displayed
from clip_italian.search.numerics import connected, smooth

CELLS = 64  # of the heat map's longer side
_SMOOTH = 1.0  # cells
# Share of the similarity to the neutral texts that is subtracted.
_NEUTRAL = 0.5
# The box holds the heat around the maximum that is above this share of it.
_BORDER_OF_MAPS, _BORDER_OF_CROPS = 0.65, 0.75
_ROUNDING = 1e-6  # smaller differences of cosines are rounding
_SHORT_SIDE = 1024  # pixels; larger pictures are scaled down first
# Sides of crops as shares of the picture's mean side, and how many are encoded: all of the first level, at most 18, and
# on the other levels the hottest so far.
LEVELS = ((0.45, None), (0.31, 11), (0.22, 9))
# Sides of the pictures that maps are computed from, in multiples of the tower's own, and of windows, in cells of a map.
MAP_SCALES = (1.3, 2.6)
MAP_WINDOWS = (1, 2, 4, 8)
_CELL = 32  # pixels, of EfficientNet's last map
LONGEST = 1600  # pixels of the longer side; larger pictures are shown smaller
# Colours of heat from 0 to 1, and their opacity.
_STOPS = (0.0, 0.3, 0.6, 0.8, 1.0)
_COLOURS = np.array([(20, 30, 120), (60, 60, 190), (220, 50, 60), (250, 140, 20), (255, 235, 60)], np.float32)
_OPACITY = (0.0, 0.2, 0.5, 0.5, 0.5)
_PALE = 0.7  # share of its own colour that the picture loses, so that it cannot pass for heat


@dataclass(frozen=True)
class Located:
    """Where the words are in a picture of `size` (width, height).

    `box` is left, top, right, bottom in pixels; `point` is x, y in pixels, the heat's centre in the box; `heat` (rows,
    columns) float32 covers the whole picture, scaled to 0 … 1. `strength` is the hottest cell before scaling: a
    difference of cosines, larger where the words are in the picture. `encoded` is the cost, in pictures of the usual
    size.
    """

    query: str
    size: tuple[int, int]
    box: tuple[int, int, int, int]
    point: tuple[int, int]
    heat: np.ndarray
    strength: float
    encoded: float


@dataclass(frozen=True)
class Windows:
    """Windows (n, 4) as left, top, right, bottom in shares of the picture, with scores and weights (n,), and the cost.

    A score is the dot product of the window's embedding with a direction. Weights sum to 1 or more over places that
    enough windows cover. `encoded` counts pixels, in pictures of the tower's own size.
    """

    boxes: np.ndarray
    scores: np.ndarray
    weights: np.ndarray
    encoded: float


def locate(encoder: SearchEncoder, picture: Image.Image, query: str, language: Language) -> Located:
    """Find words in a picture, turned upright (`decoding.as_displayed`).

    They are always found somewhere, since a heat map is relative.
    """
    picture = as_displayed(picture)
    wanted, *neutral = encoder.encode_text([query, *language.neutral])
    direction = wanted - _NEUTRAL * np.mean(neutral, axis=0)
    small = picture
    if min(small.size) > _SHORT_SIDE:
        small = small.resize([round(side * _SHORT_SIDE / min(small.size)) for side in small.size], reducing_gap=2.0)
    heat = partial(heat_of, shape=grid_shape(picture.size))
    if encoder.maps is not None:
        found, border = list(windows_of_map(encoder.maps, small, direction)), _BORDER_OF_MAPS
    else:
        found, border = list(windows_of_crops(encoder, small, direction, heat)), _BORDER_OF_CROPS
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
    """Mean score over kinds of windows, slightly smoothed: (rows, columns)."""
    idle = float(found[0].scores.mean())
    painted = [paint(part, shape, idle) for part in found]
    return smooth(np.mean(painted, axis=0), _SMOOTH)


def read(heat: np.ndarray, size: tuple[int, int], border: float) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """Box and point in a picture of width and height, from its heat map (rows, columns).

    The box holds the connected cells around the maximum with at least the share `border` of it; the point is their
    centre, weighted by the excess over that.
    """
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    rows, columns = np.nonzero(connected(heat >= border * heat.max(), row, column))
    excess = heat[rows, columns].astype(np.float64) - border * heat.max() + _ROUNDING
    across, down = size[0] / heat.shape[1], size[1] / heat.shape[0]
    x = ((columns + 0.5) * excess).sum() / excess.sum() * across
    y = ((rows + 0.5) * excess).sum() / excess.sum() * down
    left, right = round(columns.min() * across), round((columns.max() + 1) * across)
    upper, lower = round(rows.min() * down), round((rows.max() + 1) * down)
    return (left, upper, max(right, left + 1), max(lower, upper + 1)), (int(x + _ROUNDING), int(y + _ROUNDING))


def windows_of_map(encoder: MapEncoder, picture: Image.Image, direction: np.ndarray) -> Iterator[Windows]:
    """Windows of the last feature map, for each scale in `MAP_SCALES`; the tower must be an EfficientNet."""
    own = encoder.image_size
    for scale in MAP_SCALES:
        stretch = scale * own / mean_side(picture.size)
        # The convolutions pad alike for sizes that differ from the tower's own by whole cells.
        width, height = (
            max(own % _CELL or _CELL, own + _CELL * round((side * stretch - own) / _CELL)) for side in picture.size
        )
        (rows, columns), pooled = encoder.embed_windows(picture, width, height, MAP_WINDOWS)
        boxes, scores, weights = [], [], []
        for windows in pooled:
            top, left = np.indices((windows.rows, windows.columns)).reshape(2, -1)
            box = np.stack([left, top, left + windows.width, top + windows.height], axis=1)
            boxes.append(box / (columns, rows, columns, rows))
            scores.append(windows.embeddings @ direction)
            weights.append(np.full(len(box), 1 / (windows.height * windows.width)))
        found = (np.concatenate(boxes), np.concatenate(scores), np.concatenate(weights))
        yield Windows(*found, encoded=width * height / own**2)


def windows_of_crops(
    encoder: SearchEncoder,
    picture: Image.Image,
    direction: np.ndarray,
    heat: Callable[[Sequence[Windows]], np.ndarray],
) -> Iterator[Windows]:
    """Square crops level by level, where the `heat` (rows, columns) of earlier levels is highest."""
    done: list[Windows] = []
    for share, most in LEVELS:
        boxes = squares(picture.size, share)
        if most is not None:
            warmth = means(heat(done), boxes)
            boxes = boxes[np.argsort(-warmth, kind="stable")[:most]]
        scores = encoder.encode_images([crop(picture, box) for box in boxes]) @ direction
        # Squares that overlap by half cover a place four times, and less often near edges.
        done.append(Windows(boxes, scores, np.full(len(boxes), 0.25), len(boxes)))
        yield done[-1]


def mean_side(size: tuple[int, int]) -> float:
    """The geometric mean of a picture's sides; more for one longer than about 12 to 1, to limit the windows."""
    return max((size[0] * size[1]) ** 0.5, max(size) / 3.5)


def squares(size: tuple[int, int], share: float) -> np.ndarray:
    """Squares (n, 4) over a picture of width and height in pixels, overlapping by half or more, in shares of it.

    Their side is a `share` of `mean_side`. A square larger than the picture is centred and extends beyond it.
    """
    side = share * mean_side(size)
    places = []
    for length in size:
        room = length - side
        steps = int(np.ceil(2 * room / side - 1e-9)) if room > 0 else 0
        places.append(np.linspace(0, room, steps + 1) if steps else np.array([room / 2]))
    left, top = (grid.ravel() for grid in np.meshgrid(*places))
    return np.stack([left, top, left + side, top + side], axis=1) / np.tile(size, 2)


def crop(picture: Image.Image, box: np.ndarray) -> Image.Image:
    """The crop of a box (4,) in shares of the picture; outside the picture it has the picture's mean colour."""
    left, top, right, bottom = np.rint(box * np.tile(picture.size, 2)).astype(int).tolist()
    if left >= 0 and top >= 0 and right <= picture.width and bottom <= picture.height:
        return picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    canvas = Image.new("RGB", (right - left, bottom - top), tuple(map(int, ImageStat.Stat(picture).mean)))
    canvas.paste(picture, (-left, -top))
    return canvas


def paint(windows: Windows, shape: tuple[int, int], idle: float) -> np.ndarray:
    """Weighted mean score of the windows over each cell of a grid: (rows, columns).

    Where weights sum to less than 1, as at edges, the score `idle` fills the rest.
    """
    rows, columns = shape
    edges = np.clip(np.rint(windows.boxes * (columns, rows, columns, rows)), 0, (columns, rows, columns, rows))
    left, top, right, bottom = edges.astype(int).T
    total, weight = np.zeros((rows + 1, columns + 1)), np.zeros((rows + 1, columns + 1))
    for sums, values in ((total, windows.weights * windows.scores), (weight, windows.weights)):
        for y, x, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
            np.add.at(sums, (y, x), sign * values)
    total, weight = (sums.cumsum(0).cumsum(1)[:rows, :columns] for sums in (total, weight))
    return (total + np.maximum(1 - weight, 0) * idle) / np.maximum(weight, 1)


def means(grid: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Mean of a grid (rows, columns) over each of the boxes (n, 4) in shares of it: (n,)."""
    rows, columns = grid.shape
    sums = np.zeros((rows + 1, columns + 1))
    sums[1:, 1:] = grid.cumsum(0).cumsum(1)
    left, top, right, bottom = np.clip(np.rint(boxes * (columns, rows, columns, rows)), 0, None).astype(int).T
    right, bottom = np.clip(right, left + 1, columns), np.clip(bottom, top + 1, rows)
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return inside / ((right - left) * (bottom - top))


def overlay(picture: Image.Image, located: Located) -> Image.Image:
    """The picture in RGB, perhaps smaller, with heat, a white box with a dark edge, and a ring around the point."""
    picture = as_displayed(picture)
    scale = min(1.0, LONGEST / max(picture.size))
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    shown = np.asarray(picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0), np.float32)
    heat = np.asarray(Image.fromarray(located.heat).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    base = shown.mean(axis=2, keepdims=True) * _PALE + shown * (1 - _PALE)
    tint = np.stack([np.interp(heat, _STOPS, _COLOURS[:, channel]) for channel in range(3)], axis=2)
    cover = np.interp(heat, _STOPS, _OPACITY)[:, :, None]
    result = Image.fromarray((base * (1 - cover) + tint * cover).astype(np.uint8))
    _draw_box(ImageDraw.Draw(result), located, scale, max(2, round(max(size) / 200)))
    return result


def _draw_box(pen: ImageDraw.ImageDraw, located: Located, scale: float, width: int) -> None:
    left, top, right, bottom = (round(edge * scale) for edge in located.box)
    x, y = (round(place * scale) for place in located.point)
    for colour, grow, line in (("black", width // 2, 2 * width), ("white", 0, width)):
        right, bottom = max(right, left + 1), max(bottom, top + 1)  # a thin picture may lose its width when reduced
        pen.rectangle((left - grow, top - grow, right - 1 + grow, bottom - 1 + grow), outline=colour, width=line)
        radius = 2 * width + grow
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=line)
