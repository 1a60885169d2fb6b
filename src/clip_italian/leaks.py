"""Which pictures a model was trained on: fingerprints that its folder keeps, and a search for others among them.

A fingerprint is 64 bits of the file's sha256, the 64 bits of outline and the six colours of
`identity.picture_hash`: 22 bytes a picture, from which no picture can be made.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from clip_italian.identity import COLOUR_TOLERANCE, DISTANCE, FLAT, picture_hash
from clip_italian.images import decode_batches
from clip_italian.near import packed
from clip_italian.split.groups import NO_KEY, content_key

INFO_KEY = "training_pictures"  # in clip_italian.json
SAME_FILE, SAME_LOOK = "the same file", "nearly the same picture"


@dataclass(frozen=True)
class Fingerprints:
    """Of n pictures: contents (n,) uint64, outlines (n,) uint64 and colours (n, 6) uint8."""

    contents: np.ndarray
    outlines: np.ndarray
    colours: np.ndarray

    @classmethod
    def of(cls, paths: Sequence[Path], looks: Sequence[str]) -> Self:
        """Of picture files and their `identity.picture_hash`, in order."""
        return cls.known(np.array([content_key(path) for path in paths], np.uint64), looks)

    @classmethod
    def known(cls, contents: np.ndarray, looks: Sequence[str]) -> Self:
        """The same where the files' `split.groups.content_key` (n,) are known already."""
        return cls(contents, *packed(looks))

    @classmethod
    def union(cls, parts: Sequence[Self]) -> Self:
        """The pictures of all parts, each once."""
        contents, outlines, colours = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("contents", "outlines", "colours")
        )
        table = np.column_stack([contents, outlines, colours.astype(np.uint64)])
        _, first = np.unique(table, axis=0, return_index=True)
        first.sort()
        return cls(contents[first], outlines[first], colours[first])

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """What `to_json` wrote."""
        return cls(
            np.frombuffer(base64.b64decode(data["contents"]), "<u8").astype(np.uint64),
            np.frombuffer(base64.b64decode(data["outlines"]), "<u8").astype(np.uint64),
            np.frombuffer(base64.b64decode(data["colours"]), np.uint8).reshape(-1, 6),
        )

    def to_json(self) -> dict[str, Any]:
        """JSON data: the arrays as base64 of their little-endian bytes."""
        return {
            "count": len(self.contents),
            "contents": base64.b64encode(self.contents.astype("<u8").tobytes()).decode(),
            "outlines": base64.b64encode(self.outlines.astype("<u8").tobytes()).decode(),
            "colours": base64.b64encode(self.colours.tobytes()).decode(),
        }

    def found_in(self, others: "Fingerprints") -> list[str | None]:
        """For each picture why it counts as one of `others`, or None where it is none of them."""
        files = np.isin(self.contents, others.contents) & (self.contents != NO_KEY)
        looks = (others.has(outline, colour) for outline, colour in zip(self.outlines, self.colours, strict=True))
        return [SAME_FILE if file else SAME_LOOK if look else None for file, look in zip(files, looks, strict=True)]

    def has(self, outline: np.uint64, colour: np.ndarray) -> bool:
        """Whether one of the pictures is like this one, as `identity.alike` tells."""
        flat = np.uint64(int(FLAT, 16))
        if outline == flat:
            return False
        rows = np.flatnonzero((np.bitwise_count(self.outlines ^ outline) <= DISTANCE) & (self.outlines != flat))
        far = np.abs(self.colours[rows].astype(np.int16) - colour).max(axis=1, initial=0)
        return bool((far <= COLOUR_TOLERANCE).any())


def fingerprints(
    paths: Sequence[Path], progress: Callable[[int], None] = lambda _: None
) -> tuple[list[Path], Fingerprints]:
    """Those of the picture files that can be read, and their fingerprints; `progress` gets how many are done."""
    good: list[Path] = []
    looks: list[str] = []
    for readable, hashes, bad in decode_batches(paths, 64, picture_hash):
        good += readable
        looks += hashes
        progress(len(readable) + len(bad))
    return good, Fingerprints.of(good, looks)
