"""The picture book: emoji drawings and Tux Paint stamps with captions in one language.

A small data set that any machine can make from package registries: about 2,800 pictures of 288 x 288 pixels, each with
one caption, in about 30 s on 2 cores.
"""

import hashlib
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clip_italian import console
from clip_italian.files import assets, atomic
from clip_italian.languages import Language
from clip_italian.pairs import Pair, concept, write
from clip_italian.pictures.decoding import PictureError, fit_square, trim
from clip_italian.pictures.near import near_pairs
from clip_italian.pictures.phash import DISTANCE, picture_hash
from clip_italian.sources import emoji, stamps
from clip_italian.split.draw import assign

SIZE = 288
SPLIT_SEED = "picture-book-1"


@dataclass(frozen=True)
class Entry:
    """A picture to draw, with its caption in the target language and in English."""

    id: str
    drawing: emoji.Emoji | stamps.Stamp
    caption: str
    english: str
    license: str


@dataclass(frozen=True)
class Drawing:
    """Digest of a drawn picture's pixels, and its perceptual hash."""

    pixels: str
    phash: str


def collect(language: Language, output: Path, notice: Callable[[str], None]) -> list[Pair]:
    """Draw the pictures into the folder NAME-images beside `output`, write the pairs file and return its pairs.

    `notice` gets a line about what is left out: the stamps if there is no apt-get, and pictures that cannot be drawn.
    """
    found = list(_emoji_entries(language)) + list(_stamp_entries(language, notice))
    with atomic.staged(output.parent / f"{output.stem}-images") as folder:
        folder.mkdir()
        drawn = _draw_all(found, folder)
    undrawable = [entry.id for entry, drawing in zip(found, drawn, strict=True) if drawing is None]
    if undrawable:
        notice(f"{len(undrawable)} stamps have no usable size and are left out: {', '.join(undrawable)}")
    kept = [(entry, drawing) for entry, drawing in zip(found, drawn, strict=True) if drawing is not None]
    keys = [[concept(entry.caption), f"pixels {drawing.pixels}"] for entry, drawing in kept]
    for pair in near_pairs([drawing.phash for _, drawing in kept], DISTANCE):
        for row in pair:
            keys[row].append(f"alike {pair}")
    splits = assign(keys, SPLIT_SEED)
    pairs = [
        Pair(
            id=entry.id,
            image=f"{output.stem}-images/{entry.id}.png",
            captions=(entry.caption,),
            source="picture-book",
            split=split,
            captions_original=(entry.english,),
            license=entry.license,
            phash=drawing.phash,
        )
        for (entry, drawing), split in zip(kept, splits, strict=True)
    ]
    write(pairs, output)
    return pairs


def _emoji_entries(language: Language) -> Iterator[Entry]:
    for drawing in emoji.read(assets.fetch(assets.DRAWINGS), assets.fetch(assets.EMOJI_NAMES), language.code):
        caption = language.describe_emoji(drawing.name)
        yield Entry(f"emoji-{drawing.code}", drawing, caption, drawing.english, assets.DRAWINGS.license)


def _stamp_entries(language: Language, notice: Callable[[str], None]) -> Iterator[Entry]:
    folder = assets.stamps()
    if folder is None:
        notice(
            "no apt-get on this machine: the picture book is made without the Tux Paint stamps, so figures will differ"
        )
        return
    if not assets.stamps_are_reference():
        notice("this version of the stamps is not the one behind the published figures, which may differ")
    for stamp in stamps.read(folder / "stamps", language.code):
        caption = language.describe_stamp(stamp.sentence)
        if caption is not None:
            name = "stamp-" + stamp.name.replace("/", "-")
            yield Entry(name, stamp, caption, stamp.english.rstrip("."), assets.STAMPS_LICENSE)


def _draw_all(entries: list[Entry], folder: Path) -> list[Drawing | None]:
    """Draw every entry into `folder` in two processes, as resvg holds the GIL; None for those that cannot be drawn."""
    # A forked child starts at once; a spawned one would import torch first. The children use no torch.
    method = "fork" if sys.platform == "linux" else "spawn"
    context = multiprocessing.get_context(method)
    drawn: list[Drawing | None] = []
    with ProcessPoolExecutor(2, mp_context=context) as pool, console.progress("drawing", len(entries)) as advance:
        for drawing in pool.map(partial(_draw, folder=folder), entries, chunksize=16):
            drawn.append(drawing)
            advance(1)
    return drawn


def _draw(entry: Entry, folder: Path) -> Drawing | None:
    """Draw one picture and save it; None if it cannot be drawn."""
    try:
        if isinstance(entry.drawing, emoji.Emoji):
            image = emoji.rasterise(entry.drawing.svg, SIZE)
        else:
            image = stamps.draw(entry.drawing, SIZE)
    except PictureError:
        return None
    square = fit_square(trim(image), SIZE)
    square.save(folder / f"{entry.id}.png", compress_level=1)
    return Drawing(hashlib.sha256(square.tobytes()).hexdigest(), picture_hash(square))
