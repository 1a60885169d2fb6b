"""Copies of one picture brought together in a list of hits."""

from collections.abc import Sequence

from clip_italian.pictures.phash import alike
from clip_italian.search.rows import unpack_look
from clip_italian.search.store import Found


def grouped(found: Sequence[Found]) -> list[list[Found]]:
    """Hits that show the same picture as a better one stand behind it; groups in order of their best hit.

    The same picture: the same file, or nearly the same look (`identity.alike`).
    """
    groups: list[list[Found]] = []
    looks: list[str | None] = []
    for one in found:
        look = unpack_look(one.name.look) if one.name.look is not None else None
        same = None if look is None else next((n for n, seen in enumerate(looks) if seen and _same(seen, look)), None)
        if same is None:
            groups.append([one])
            looks.append(look)
        else:
            groups[same].append(one)
    return groups


def _same(a: str, b: str) -> bool:
    return a == b or alike(a, b)
