"""Pictures of things: OpenMoji drawings, painted and put on a white square."""

import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from clip_italian.errors import UserError
from clip_italian.files import assets
from clip_italian.languages import Thing
from clip_italian.pictures.decoding import trim
from clip_italian.sources.emoji import rasterise

SIZE = 288  # pixels, the side of a picture
_SHADE = 0.78  # a darker paint as a share of the next lighter one


@dataclass(frozen=True)
class Placed:
    """A drawing on the square: centre and longer side as shares of the square's side."""

    image: Image.Image
    x: float
    y: float
    side: float


def read(things: Iterable[Thing]) -> dict[str, str]:
    """The SVG text of each thing's drawing, by code.

    Raises UserError where OpenMoji cannot be had, or lacks a drawing.
    """
    with zipfile.ZipFile(assets.fetch(assets.DRAWINGS)) as archive:
        members = {Path(name).stem: name for name in archive.namelist() if name.endswith(".svg")}
        wanted = [thing.code for thing in things]
        if lacking := [code for code in wanted if code not in members]:
            raise UserError(
                f"OpenMoji {assets.DRAWINGS.version}: no drawing {', '.join(lacking)}; mend the language file"
            )
        return {code: archive.read(members[code]).decode("utf-8") for code in wanted}


def paint(svg: str, paints: Sequence[str], colour: str) -> str:
    """The drawing with `paints`, from light to dark, replaced by `colour` (#rrggbb) and darker shades of it.

    Raises ValueError where the drawing has no such fill.
    """
    lower = svg.lower()
    if lacking := [old for old in paints if old.lower() not in lower]:
        raise ValueError(f"the drawing has no fill {', '.join(lacking)}")
    # All at once: a new paint may be one of the old ones.
    shades = {old.lower(): darker(colour, _SHADE**number) for number, old in enumerate(paints)}
    return re.sub("|".join(shades), lambda match: shades[match[0].lower()], svg, flags=re.IGNORECASE)


def darker(colour: str, share: float) -> str:
    """A colour (#rrggbb) with each of its parts multiplied by `share`."""
    return "#" + "".join(f"{round(int(colour[start : start + 2], 16) * share):02x}" for start in (1, 3, 5))


def drawing(svg: str) -> Image.Image:
    """The drawing without its empty border; RGBA."""
    return trim(rasterise(svg, SIZE))


def compose(placed: Iterable[Placed], size: int = SIZE) -> Image.Image:
    """Drawings on a white square of `size` pixels; RGB."""
    canvas = Image.new("RGB", (size, size), "white")
    for one in placed:
        scale = one.side * size / max(one.image.size)
        width, height = (max(1, round(side * scale)) for side in one.image.size)
        resized = one.image.resize((width, height), Image.Resampling.LANCZOS)
        canvas.paste(resized, (round(one.x * size - width / 2), round(one.y * size - height / 2)), resized)
    return canvas
