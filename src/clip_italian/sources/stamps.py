"""Tux Paint stamps: cut-out drawings and photos for children, described by a sentence in many languages.

A `.txt` beside each picture has the English sentence in its first line, then lines such as `it.utf8=Una mela rossa.`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from clip_italian.pictures.decoding import PictureError, open_picture
from clip_italian.sources.emoji import rasterise


@dataclass(frozen=True)
class Stamp:
    """A stamp: its name, its sentence in the target language and in English, and its picture file."""

    name: str
    sentence: str
    english: str
    path: Path


def read(folder: Path, language: str) -> Iterator[Stamp]:
    """Stamps below `folder` with a sentence in `language`, sorted by name."""
    for text in sorted(folder.rglob("*.txt")):
        picture = next((text.with_suffix(s) for s in (".png", ".svg") if text.with_suffix(s).is_file()), None)
        lines = text.read_text(encoding="utf-8", errors="replace").splitlines()
        marker = f"{language}.utf8="
        sentence = next((line.removeprefix(marker) for line in lines if line.startswith(marker)), None)
        if picture is not None and sentence:
            name = str(text.relative_to(folder).with_suffix(""))
            yield Stamp(name, sentence.strip(), lines[0].strip(), picture)


def draw(stamp: Stamp, size: int) -> Image.Image:
    """The stamp in RGBA; vector stamps are drawn `size` pixels wide.

    Raises PictureError if the file cannot be decoded.
    """
    if stamp.path.suffix == ".svg":
        try:
            return rasterise(stamp.path.read_text(encoding="utf-8", errors="replace"), size)
        except ValueError as error:
            raise PictureError(f"{stamp.path}: cannot draw this SVG ({error})") from error
    return open_picture(stamp.path, mode="RGBA")
