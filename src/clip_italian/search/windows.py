"""How well windows of a picture fit a text, by two ways: encoding crops, or pooling the tower's last map.

Crops serve any model. Where the tower is an EfficientNet, whose output is what its head makes of the mean over the last
map, one pass over a larger picture tells the same of every window of the map, without encoding each.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageStat

if TYPE_CHECKING:
    from clip_italian.models.encoder import MapEncoder, SearchEncoder

# Sides of crops as shares of the picture's mean side, and how many of them are encoded: all of the
# first level, which are 18 at most, of the others those that the heat so far prefers.
LEVELS = ((0.45, None), (0.31, 11), (0.22, 9))
# Sides of the pictures that maps are made of, in multiples of the tower's own, and of windows in cells of the map.
MAP_SCALES = (1.3, 2.6)
MAP_WINDOWS = (1, 2, 4, 8)
_CELL = 32  # pixels, of EfficientNet's last map


@dataclass(frozen=True)
class Windows:
    """Windows (n, 4) as left, top, right, bottom in shares of the picture, with scores and weights (n,), and the cost.

    A score is the dot product of the window's embedding with a direction. Weights sum to 1 or more over places of which
    enough is known. `encoded` counts pixels, in pictures of the size that the tower takes.
    """

    boxes: np.ndarray
    scores: np.ndarray
    weights: np.ndarray
    encoded: float


def of_maps(encoder: "MapEncoder", picture: Image.Image, direction: np.ndarray) -> Iterator[Windows]:
    """Windows of the last map, for each scale in `MAP_SCALES`; the tower must be an EfficientNet."""
    own = encoder.image_size
    for scale in MAP_SCALES:
        stretch = scale * own / mean_side(picture.size)
        # The padding of the convolutions holds for sizes that differ from the tower's own by whole cells.
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


def of_crops(
    encoder: "SearchEncoder",
    picture: Image.Image,
    direction: np.ndarray,
    heat: Callable[[Sequence[Windows]], np.ndarray],
) -> Iterator[Windows]:
    """Square crops level by level, where `heat` (rows, columns) of the levels before is highest."""
    done: list[Windows] = []
    for share, most in LEVELS:
        boxes = squares(picture.size, share)
        if most is not None:
            warmth = means(heat(done), boxes)
            boxes = boxes[np.argsort(-warmth, kind="stable")[:most]]
        scores = encoder.encode_images([crop(picture, box) for box in boxes]) @ direction
        # Of squares that overlap by half four lie over a place; towards edges it are fewer, and less is known.
        done.append(Windows(boxes, scores, np.full(len(boxes), 0.25), len(boxes)))
        yield done[-1]


def mean_side(size: tuple[int, int]) -> float:
    """The geometric mean of a picture's sides; in one that is longer than about 12 to 1 more, to keep windows few."""
    return max((size[0] * size[1]) ** 0.5, max(size) / 3.5)


def squares(size: tuple[int, int], share: float) -> np.ndarray:
    """Squares (n, 4) over a picture of width and height in pixels, overlapping by half or more, in shares of it.

    Their side is a `share` of `mean_side`. One that is higher or wider than the picture lies over its middle and juts
    out.
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
    """A box (4,) in shares of the picture; what lies outside has the picture's mean colour."""
    left, top, right, bottom = np.rint(box * np.tile(picture.size, 2)).astype(int).tolist()
    if left >= 0 and top >= 0 and right <= picture.width and bottom <= picture.height:
        return picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    canvas = Image.new("RGB", (right - left, bottom - top), tuple(map(int, ImageStat.Stat(picture).mean)))
    canvas.paste(picture, (-left, -top))
    return canvas


def paint(windows: Windows, shape: tuple[int, int], idle: float) -> np.ndarray:
    """Weighted mean score of the windows over each cell of a grid: (rows, columns).

    Cells under less weight than 1, as at edges and where it was not looked, have the score `idle` for the rest.
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
