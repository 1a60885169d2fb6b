"""Fingerprints of training pictures, kept in the model folder to detect leaks of training data into test sets.

A fingerprint is 64 bits of the file's sha256, and the 64-bit outline and six colours of `phash.picture_hash`: 22 bytes
per picture, from which the picture cannot be reconstructed. With an encoder for copies, a signature of 40 bytes
(`copies.signatures`) is added.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from clip_italian.files.digests import NO_KEY, content_key
from clip_italian.pictures import copies, phash
from clip_italian.pictures.decoding import decode_batches
from clip_italian.pictures.phash import COLOUR_DIGITS, COLOUR_TOLERANCE, DISTANCE, FLAT, picture_hash

INFO_KEY = "training_pictures"  # in clip_italian.json
_CHUNK = 100_000
SAME_FILE, SAME_LOOK = "the same file", "nearly the same picture"


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of n pictures: contents (n,) uint64, outlines (n,) uint64, colours (n, 6) uint8.

    `features` are optional `copies.signatures` (n, 40) uint8 by the encoder named `encoder`, zeros if unknown.
    """

    contents: np.ndarray
    outlines: np.ndarray
    colours: np.ndarray
    features: np.ndarray | None = None
    encoder: str | None = None

    @classmethod
    def of(cls, paths: Sequence[Path], looks: Sequence[str]) -> Self:
        """Return the fingerprints of picture files, given their `phash.picture_hash` in the same order."""
        return cls.known(np.array([content_key(path) for path in paths], np.uint64), looks)

    @classmethod
    def known(cls, contents: np.ndarray, looks: Sequence[str]) -> Self:
        """Return the fingerprints for known `digests.content_key` (n,) and `phash.picture_hash` of the files."""
        return cls(contents, *_to_arrays(looks))

    @classmethod
    def union(cls, parts: Sequence[Self]) -> Self:
        """Merge fingerprints without duplicates, preferring those with features, all from the first encoder."""
        parts = sorted(parts, key=lambda part: part.encoder is None)
        encoder = parts[0].encoder if parts else None
        contents, outlines, colours = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("contents", "outlines", "colours")
        )
        table = np.column_stack([contents, outlines, colours.astype(np.uint64)])
        _, first = np.unique(table, axis=0, return_index=True)
        first.sort()
        if encoder is None:
            return cls(contents[first], outlines[first], colours[first])
        features = np.concatenate([part._features_by(encoder) for part in parts])
        return cls(contents[first], outlines[first], colours[first], features[first], encoder)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Parse the output of `to_json`."""
        return cls(
            np.frombuffer(base64.b64decode(data["contents"]), "<u8").astype(np.uint64),
            np.frombuffer(base64.b64decode(data["outlines"]), "<u8").astype(np.uint64),
            np.frombuffer(base64.b64decode(data["colours"]), np.uint8).reshape(-1, 6),
            np.frombuffer(base64.b64decode(data["features"]), np.uint8).reshape(-1, copies.SIGNATURE_BYTES)
            if "features" in data
            else None,
            data.get("encoder"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON data with the arrays as base64 of their little-endian bytes."""
        more: dict[str, Any] = {}
        if self.features is not None:
            more = {"features": base64.b64encode(self.features.tobytes()).decode(), "encoder": self.encoder}
        return {
            "count": len(self.contents),
            "contents": base64.b64encode(self.contents.astype("<u8").tobytes()).decode(),
            "outlines": base64.b64encode(self.outlines.astype("<u8").tobytes()).decode(),
            "colours": base64.b64encode(self.colours.tobytes()).decode(),
        } | more

    def described(self, features: np.ndarray, encoder: copies.Encoder) -> Self:
        """Return a copy with signatures of the pictures' features (n, dim) by an encoder."""
        return replace(self, features=copies.signatures(features), encoder=encoder.name)

    def _features_by(self, encoder: str) -> np.ndarray:
        if self.features is not None and self.encoder == encoder:
            return self.features
        return np.zeros((len(self.contents), copies.SIGNATURE_BYTES), np.uint8)

    def found_in(self, others: "Fingerprints") -> list[str | None]:
        """Return for each picture the reason why it matches one of `others`, or None."""
        files = np.isin(self.contents, others.contents) & (self.contents != NO_KEY)
        theirs = others.features if self.encoder == others.encoder else None
        mine = self.features
        looks = [
            others.has(outline, colour)
            or (mine is not None and theirs is not None and copies.matches_signature(mine[row], theirs))
            for row, (outline, colour) in enumerate(zip(self.outlines, self.colours, strict=True))
        ]
        return [SAME_FILE if file else SAME_LOOK if look else None for file, look in zip(files, looks, strict=True)]

    def has(self, outline: np.uint64, colour: np.ndarray) -> bool:
        """Return True if one of the pictures has a similar hash, as defined by `phash.alike`."""
        flat = np.uint64(int(FLAT, 16))
        if outline == flat:
            return False
        rows = np.flatnonzero((np.bitwise_count(self.outlines ^ outline) <= DISTANCE) & (self.outlines != flat))
        far = np.abs(self.colours[rows].astype(np.int16) - colour).max(axis=1, initial=0)
        return bool((far <= COLOUR_TOLERANCE).any())


def fingerprints(
    paths: Sequence[Path], progress: Callable[[int], None] = lambda _: None, encoder: copies.Encoder | None = None
) -> tuple[list[Path], Fingerprints]:
    """Return the readable picture files and their fingerprints; `progress` is called with the number of files done.

    With an `encoder`, the files are decoded a second time to add features.
    """
    good: list[Path] = []
    looks: list[str] = []
    for readable, hashes, bad in decode_batches(paths, 64, picture_hash):
        good += readable
        looks += hashes
        progress(len(readable) + len(bad))
    found = Fingerprints.of(good, looks)
    return good, found if encoder is None else found.described(copies.features_of(good, encoder), encoder)


def _to_arrays(hashes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Convert picture hashes to outlines (n,) uint64 and colours (n, 6) uint8."""
    outlines = np.empty(len(hashes), np.uint64)
    colours = np.empty((len(hashes), COLOUR_DIGITS // 2), np.uint8)
    for start in range(0, len(hashes), _CHUNK):
        rows = slice(start, start + _CHUNK)
        read = [phash.parts(text) for text in hashes[rows]]
        outlines[rows] = [outline for outline, _ in read]
        colours[rows] = np.frombuffer(b"".join(colour for _, colour in read), np.uint8).reshape(-1, COLOUR_DIGITS // 2)
    return outlines, colours
