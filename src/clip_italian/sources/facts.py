"""Metadata of one picture, from the picture file or from a sidecar, before these are combined."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from clip_italian.pictures.coordinates import Point

# Ends of a maker's name that people do not say.
_COMPANY = re.compile(
    r"[\s,]+(corporation|corp|company|co|inc|ltd|gmbh|ag|imaging|optical|electric|electronics|computer|technologies)\.?$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Facts:
    """Texts by preference, and other metadata; empty or None where there is none.

    `place` is what the file calls it ("Stintino, Sardegna, Italia"), `point` its coordinates. `changed` is a date that
    programs set as well.
    """

    descriptions: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    place: str | None = None
    point: Point | None = None
    camera: str | None = None
    taken: datetime | None = None
    changed: datetime | None = None


def place_name(parts: Iterable[str | None]) -> str | None:
    """The parts of a place from small to large (location, city, region, country), joined by commas."""
    return ", ".join(dict.fromkeys(part.strip() for part in parts if part and part.strip())) or None


def camera_name(maker: str | None, model: str | None) -> str | None:
    """The name of a camera: "NIKON CORPORATION" and "NIKON D90" give "NIKON D90", "Apple" and "iPhone 12" both."""
    maker, model = (maker or "").strip(), (model or "").strip()
    while (shorter := _COMPANY.sub("", maker)) != maker:
        maker = shorter
    if model and model.split()[0].casefold() in maker.casefold().split():
        return model
    return f"{maker} {model}".strip() or None


def tag_levels(tags: Iterable[str], separator: str) -> Iterator[str]:
    """The levels of hierarchical tags: "Luoghi|Italia|Roma" gives three keywords."""
    for tag in tags:
        yield from (level for level in tag.split(separator) if level.strip())
