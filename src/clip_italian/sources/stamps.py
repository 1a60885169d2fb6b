"""Tux Paint stamps: drawings and photos cut out for children, with a sentence in many languages.

Each picture has a `.txt` beside it: the English sentence in the first line, then
`it.utf8=Una mela rossa.` and the like.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from clip_italian.pictures.decoding import PictureError, open_picture
from clip_italian.sources.emoji import rasterise


@dataclass(frozen=True)
class Stamp:
    """A stamp's name, sentence in the wanted language and in English, and picture file."""

    name: str
    sentence: str
    english: str
    path: Path


def read(folder: Path, language: str) -> Iterator[Stamp]:
    """Stamps under `folder` that have a sentence in `language`, sorted by name."""
    for text in sorted(folder.rglob("*.txt")):
        picture = next((text.with_suffix(s) for s in (".png", ".svg") if text.with_suffix(s).is_file()), None)
        lines = text.read_text(encoding="utf-8", errors="replace").splitlines()
        marker = f"{language}.utf8="
        sentence = next((line.removeprefix(marker) for line in lines if line.startswith(marker)), None)
        if picture is not None and sentence:
            name = str(text.relative_to(folder).with_suffix(""))
            yield Stamp(name, sentence.strip(), lines[0].strip(), picture)


def draw(stamp: Stamp, size: int) -> Image.Image:
    """The stamp with transparency, RGBA; vector stamps get `size` pixels in width.

    Raises PictureError where the file is no picture.
    """
    if stamp.path.suffix == ".svg":
        try:
            return rasterise(stamp.path.read_text(encoding="utf-8", errors="replace"), size)
        except ValueError as error:
            raise PictureError(f"{stamp.path}: cannot draw this SVG ({error})") from error
    return open_picture(stamp.path, mode="RGBA")
