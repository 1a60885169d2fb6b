"""Composed pictures whose objects' positions are known, for `locate_pointing.py`.

Objects are the picture book's: OpenMoji drawings and Tux Paint stamps, cut out. Half of the pictures are grids of
two to twelve objects, half are scenes: two to six objects of different sizes at free places before a soft
background of two colours. The query is what the picture book says of one of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from clip_italian.files import assets
from clip_italian.languages import Language
from clip_italian.pictures.decoding import PictureError, trim
from clip_italian.sources import emoji, stamps

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels

DRAWN = 288  # pixels, the side that drawings get before they are scaled
SIZES = ((640, 480), (480, 640), (800, 500), (512, 512))
GRIDS = ((2, 1), (2, 2), (3, 2), (3, 3), (4, 3))  # columns and rows; exchanged in upright pictures
IN_SCENE = (2, 6)
SHARE = (0.12, 0.8)  # an object's longer side in the picture's shorter one; its logarithm is drawn evenly
_TRIES = 60


@dataclass(frozen=True)
class Thing:
    """A drawing or stamp that can be pasted: its name, caption and what draws it."""

    id: str
    caption: str
    source: emoji.Emoji | stamps.Stamp

    def draw(self) -> Image.Image:
        """RGBA without empty border. Raises PictureError where it cannot be drawn."""
        if isinstance(self.source, emoji.Emoji):
            return trim(emoji.rasterise(self.source.svg, DRAWN))
        return trim(stamps.draw(self.source, DRAWN))


@dataclass(frozen=True)
class Scene:
    """A composed picture, what is asked, where that is, and cut-outs and captions of all in it, the right one first."""

    kind: str
    image: Image.Image
    query: str
    box: Box
    cutouts: tuple[Image.Image, ...]
    captions: tuple[str, ...]


def things(language: Language) -> list[Thing]:
    """Everything that the picture book draws, by id; the stamps are left out where there is no apt-get."""
    found = [
        Thing(f"emoji-{one.code}", language.describe_emoji(one.name), one)
        for one in emoji.read(assets.fetch(assets.DRAWINGS), assets.fetch(assets.EMOJI_NAMES), language.code)
    ]
    folder = assets.stamps()
    for stamp in stamps.read(folder / "stamps", language.code) if folder else ():
        caption = language.describe_stamp(stamp.sentence)
        if caption is not None:
            found.append(Thing("stamp-" + stamp.name.replace("/", "-"), caption, stamp))
    return found


def compose(pool: Sequence[Thing], alike: np.ndarray, count: int, seed: int) -> Iterator[Scene]:
    """`count` scenes; `alike` (n, n) tells which things must not stand in one picture, because one query fits both."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        width, height = SIZES[rng.integers(len(SIZES))]
        grid = number % 2 == 0
        columns, rows = GRIDS[rng.integers(len(GRIDS))]
        if height > width:
            columns, rows = rows, columns
        wanted = columns * rows if grid else int(rng.integers(IN_SCENE[0], IN_SCENE[1] + 1))
        chosen = _choose(pool, alike, wanted, rng)
        cutouts = [one.draw() for one in chosen]
        if grid:
            canvas = Image.new("RGB", (width, height), _pastel(rng))
            boxes = _grid_boxes(cutouts, (width, height), (columns, rows), rng)
        else:
            canvas = _soft(width, height, rng)
            boxes = _free_boxes(cutouts, (width, height), rng)
        for cutout, box in zip(cutouts, boxes, strict=False):
            resized = cutout.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.LANCZOS)
            canvas.paste(resized, box[:2], resized)
        # Those for which there was no room are not in the picture.
        captions = tuple(one.caption for one in chosen[: len(boxes)])
        yield Scene("grid" if grid else "scene", canvas, captions[0], boxes[0], tuple(cutouts[: len(boxes)]), captions)


def drawable(pool: Sequence[Thing]) -> list[Thing]:
    """Those of the pool that can be drawn."""
    good = []
    for one in pool:
        try:
            one.draw()
        except PictureError:
            continue
        good.append(one)
    return good


def _choose(pool: Sequence[Thing], alike: np.ndarray, wanted: int, rng: np.random.Generator) -> list[Thing]:
    chosen: list[int] = []
    for number in rng.permutation(len(pool)):
        if not alike[number, chosen].any():
            chosen.append(int(number))
            if len(chosen) == wanted:
                break
    return [pool[number] for number in chosen]


def _fit(cutout: Image.Image, side: float) -> tuple[int, int]:
    scale = side / max(cutout.size)
    return max(1, round(cutout.width * scale)), max(1, round(cutout.height * scale))


def _grid_boxes(
    cutouts: Sequence[Image.Image], size: tuple[int, int], grid: tuple[int, int], rng: np.random.Generator
) -> list[Box]:
    cell = (size[0] / grid[0], size[1] / grid[1])
    boxes = []
    for cutout, place in zip(cutouts, rng.permutation(grid[0] * grid[1]), strict=True):
        width, height = _fit(cutout, min(cell) * rng.uniform(0.55, 0.92))
        left = int(place % grid[0] * cell[0] + rng.uniform(0, cell[0] - width))
        top = int(place // grid[0] * cell[1] + rng.uniform(0, cell[1] - height))
        boxes.append((left, top, left + width, top + height))
    return boxes


def _free_boxes(cutouts: Sequence[Image.Image], size: tuple[int, int], rng: np.random.Generator) -> list[Box]:
    """Boxes that do not overlap, for the first of the cut-outs; the rest found no room."""
    boxes: list[Box] = []
    for cutout in cutouts:
        for _ in range(_TRIES):
            width, height = _fit(cutout, min(size) * np.exp(rng.uniform(*np.log(SHARE))))
            left, top = int(rng.integers(size[0] - width + 1)), int(rng.integers(size[1] - height + 1))
            box = (left, top, left + width, top + height)
            if all(box[2] <= b[0] or b[2] <= box[0] or box[3] <= b[1] or b[3] <= box[1] for b in boxes):
                boxes.append(box)
                break
        else:
            break
    return boxes


def _pastel(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(200, 256, 3).tolist()
    return red, green, blue


def _soft(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """A background of two colours that run into each other in blots."""
    ends = rng.integers(60, 256, (2, 3))
    blots = rng.random((int(rng.integers(3, 9)), int(rng.integers(3, 9))))
    image = Image.fromarray((255 * blots).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    share = np.asarray(image, np.float32)[:, :, None] / 255
    grain = rng.normal(0, 4, (height, width, 1))
    return Image.fromarray(np.clip(ends[0] * share + ends[1] * (1 - share) + grain, 0, 255).astype(np.uint8))
