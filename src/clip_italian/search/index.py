"""An index of pictures: vectors, rows, and the hash of the model that made them, in a folder or a Milvus collection.

`search.update` builds and changes it; `search.storage` describes the files.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from clip_italian.errors import UsageError, UserError
from clip_italian.models.encoder import SearchEncoder
from clip_italian.pictures.decoding import decode, decode_bytes, read_bytes
from clip_italian.pictures.phash import alike, unpacked
from clip_italian.search.engine import LISTS_FILE
from clip_italian.search.filters import Filter
from clip_italian.search.schema import CONTENT, Manifest, absolute_path
from clip_italian.search.storage import MANIFEST_FILE, FolderStore, LackingError, Match, Store, read_manifest
from clip_italian.search.words import fused, reader

# Columns that rows of format 2 do not have.
_SINCE_FORMAT_3 = frozenset(CONTENT.names[CONTENT.names.index("taken") + 1 :])
# Rows of each ranking, by look and by words, that are fused: pages of a search then fit together.
_DEPTH = 100

DETAILS = ("caption", "title", "description", "keywords", "location", "camera", "source", "license", "page")


@dataclass(frozen=True)
class Hit:
    """One result: its rank from 1, the picture's id, file (`path`) and permanent row number, and the cosine.

    `probability` that it matches the text, where the index is calibrated; `copies` are hits that show the same
    picture, where a search groups them. A picture inside a tar file lies at `part`: first byte and length. It was
    `taken` at this local time, at `latitude` and `longitude` in degrees; None where this is unknown.
    `inside` is its path below the indexed folder.
    """

    rank: int
    id: str
    file: str
    score: float
    row: int = -1
    probability: float | None = None
    copies: "tuple[Hit, ...]" = ()
    part: tuple[int, int] | None = field(default=None, repr=False)
    taken: datetime | None = field(default=None, repr=False)
    latitude: float | None = field(default=None, repr=False)
    longitude: float | None = field(default=None, repr=False)
    inside: str = field(default="", repr=False)

    @cached_property
    def path(self) -> Path:
        """The picture's file. Computed on demand: ten of them took a sixth of the time of a search."""
        return Path(self.file)

    def open(self, at_least: int | None = None) -> Image.Image:
        """The picture, decoded safely (`decoding.decode`); raises PictureError where it is gone or damaged."""
        if self.part is None:
            return decode(self.path, self.file, at_least=at_least)
        return decode_bytes(read_bytes(self.path, self.part), f"{self.file} at {self.part[0]}", at_least)


@dataclass(frozen=True)
class Index:
    """An opened index; `search` takes a query embedding. Threads may share it."""

    folder: Path
    manifest: Manifest
    store: Store
    _stamp: tuple[int, ...] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Open an index folder in milliseconds; nothing is read that a search does not need.

        The opened index never changes, also when others change the folder: `fresh` opens the new state. Raises
        UserError where there is no index, or a damaged one.
        """
        folder = Path(folder)
        stamp = _stamp_of(folder)
        manifest = read_manifest(folder)
        if manifest.store is not None:
            from clip_italian.search.milvus import MilvusStore

            return cls(folder, manifest, MilvusStore.open(manifest), stamp)
        store = FolderStore.open(folder)
        return cls(folder, store.manifest, store, stamp)

    def fresh(self) -> Self:
        """This index where the folder has not changed, else the index as it is now.

        index.json is read only when its modification time, inode or size has changed.
        """
        stamp = _stamp_of(self.folder)
        if stamp is not None and stamp == self._stamp:
            return self
        if read_manifest(self.folder) == self.manifest:
            return replace(self, _stamp=stamp)
        return type(self).open(self.folder)

    def __len__(self) -> int:
        return len(self.store)

    @property
    def updated(self) -> datetime | None:
        """When the index last changed (UTC), None where that is not known."""
        return datetime.fromtimestamp(self._stamp[0] / 1e9, UTC) if self._stamp is not None else None

    @property
    def info(self) -> dict[str, Any]:
        """Facts from index.json: model, folders, pictures, segments."""
        manifest = self.manifest
        return {
            "pictures": len(self),
            "model": manifest.model,
            "model_name": manifest.model_name,
            "precision": manifest.identity.precision,
            "dim": manifest.dim,
            "search": "IVF" if any(LISTS_FILE in one.files for one in manifest.segments) else "exact",
            "roots": manifest.roots,
            "generation": manifest.generation,
            "segments": len(manifest.segments),
            "deleted": sum(one.deleted for one in manifest.segments),
            "left_out": manifest.left_out,
            "store": manifest.store or "folder",
            "calibrated": manifest.calibration is not None,
            "exclude": manifest.exclude,
            "hidden": manifest.hidden,
            "words": self.store.has_words,
            "language": manifest.language,
        }

    @property
    def slowness(self) -> str | None:
        """A line that says why searches take long and which command helps; None where nothing does."""
        if not (rows := self.store.old_rows):
            return None
        return (
            f"{self.folder}: an older version wrote {rows:,} of its vectors, and every search compares all of them; "
            f"make it fast by: clip-italian index compact {shlex.quote(str(self.folder))}"
        )

    def check_model(self, model: SearchEncoder) -> None:
        """Raise UserError where the index was made with another model, or in a precision that differs too much.

        Precisions of one model may differ if their ten best hits agree (`Identity.shares_index_with`).
        """
        check_model(self.folder, self.manifest, model)

    def search(
        self, query: np.ndarray | None, k: int = 10, *, skip: int = 0, where: Filter | None = None, group: bool = False,
        exact: bool = False, calibrated: bool = False, words: str = "",
    ) -> list[Hit]:  # fmt: skip
        """The pictures nearest to a query embedding (dim,), best first: k, after the first `skip`.

        `where`: only rows that pass it. `group`: a picture and its copies count as one. `exact`: look at every vector
        also where there are lists. `calibrated`: with probabilities, which hold for texts only. `words`: pictures
        whose names, texts, keywords, places, dates or cameras have these words are ranked higher (`words.fused`).
        Without a query only words are looked for, and the score is the share of their weight that a picture has.
        """
        if k < 1 or skip < 0:
            raise UserError(f"{k} pictures after {skip}: ask for at least one, after none or more")
        if where is not None:
            self._check_filter(where)
        unit = None if query is None else self._unit(query)
        wanted = self._words(words)
        if unit is None and not wanted:
            if not words.strip():
                raise UsageError("nothing to look for; give some words")
            raise UsageError(reader(self.manifest.language).why_none(words))

        def ranked(count: int) -> list[Match]:
            if unit is None:
                return [Match(one.match.row, one.share) for one in self.store.matching(wanted, None, count, where)]
            return self._fused(unit, wanted, count, where, exact)

        groups = _groups(ranked, skip + k) if group else [[one] for one in ranked(skip + k)]
        return [self._hit(rank, same, calibrated) for rank, same in enumerate(groups[skip : skip + k], start=skip + 1)]

    def hit(self, row: int) -> Hit | None:
        """The picture with this row number (rank 0, no score), None where there is none."""
        found = self.store.row(row)
        return None if found is None else self._hit(0, [Match(found, float("nan"))], calibrated=False)

    def details(self, row: int) -> dict[str, Any] | None:
        """What the row with this number says of its picture: the columns `DETAILS`; None where there is none."""
        return self.store.fields(row, DETAILS)

    def _unit(self, query: np.ndarray) -> np.ndarray:
        """A query of unit length. Raises UserError for one that is none."""
        if query.shape != (self.manifest.dim,):
            raise UserError(f"{self.folder}: a query has {self.manifest.dim} numbers here, not {query.shape}")
        length = float(np.linalg.norm(query))
        if not 0 < length < np.inf:
            raise UserError("the query's embedding is zero or no number; the model cannot be searched with")
        return np.asarray(query / length, np.float32)

    def _check_filter(self, where: Filter) -> None:
        """Raise LackingError for a filter by metadata that an index of an older format does not have."""
        lacking = _SINCE_FORMAT_3.intersection(where.columns) if self.manifest.format < 3 else ()
        if lacking:
            what = f"this index is of an older format, without {', '.join(sorted(lacking))} to filter by"
            raise LackingError(self.folder, f"{what}; run clip-italian index build again")

    def _words(self, text: str) -> list[str]:
        """The words of a text as this index compares them. Raises LackingError where an index has none."""
        if not text.strip():
            return []
        if not self.store.has_words:
            instead = (
                "build it into another collection" if self.manifest.store else "run clip-italian index build again"
            )
            raise LackingError(self.folder, f"this index has no words to search; {instead}")
        return reader(self.manifest.language).query_words(text)

    def _fused(
        self, query: np.ndarray, words: Sequence[str], count: int, where: Filter | None, exact: bool
    ) -> list[Match]:
        """The first `count` of the rankings by look and by words as one."""
        depth = max(count, _DEPTH)
        named = self.store.matching(words, query, depth, where) if words else []
        if not named:
            return self.store.nearest(query, count, where, exact)
        looks = self.store.nearest(query, depth, where, exact)
        rows = {one.row.number: one for one in [*looks, *(one.match for one in named)]}
        order = fused([one.row.number for one in looks], [(one.match.row.number, one.share) for one in named])
        return [rows[number] for number in order[:count]]

    def _hit(self, rank: int, same: Sequence[Match], calibrated: bool) -> Hit:
        row, score = same[0]
        curve = self.manifest.calibration if calibrated else None
        return Hit(
            rank, row.id, absolute_path(self.manifest.roots, row.root, row.path), score, row.number,
            curve.probability(score) if curve else None,
            tuple(self._hit(rank, [one], calibrated) for one in same[1:]),
            (row.offset, row.length) if row.offset is not None and row.length is not None else None,
            row.taken, row.latitude, row.longitude, row.path,
        )  # fmt: skip


def check_model(folder: Path, manifest: Manifest, model: SearchEncoder) -> None:
    """Raise UserError where a model does not fit an index; see `Index.check_model`."""
    own, other = manifest.identity, model.identity
    if own.shares_index_with(other):
        return
    if own.source == other.source:
        least = min(own.agreement, other.agreement)
        torch = "give --engine torch, or " if own.precision == "float32" else ""
        raise UserError(
            f"{folder}: the index was made in {own.precision}, the model runs in {other.precision} here, and only "
            f"{least:.0%} of the ten best hits are the same; {torch}build the index again"
        )
    raise UserError(
        f"{folder}: the index was made with another model ({manifest.model_name}, hash {manifest.model}); search with "
        "that one, or build the index again"
    )


def _stamp_of(folder: Path) -> tuple[int, ...] | None:
    """Modification time, inode and size of index.json; None where it cannot be read."""
    try:
        status = (folder / MANIFEST_FILE).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _groups(ranked: Callable[[int], list[Match]], count: int) -> list[list[Match]]:
    """At least `count` groups of copies among the best rows that `ranked` gives, fewer where there are not so many."""
    wanted = count + 32
    while True:
        found = ranked(wanted)
        groups = _grouped(found)
        if len(groups) >= count or len(found) < wanted:
            return groups
        wanted *= 4


def _grouped(found: Sequence[Match]) -> list[list[Match]]:
    """Matches grouped by picture, best first in each group; groups in the order of their best match.

    Two matches show the same picture where their perceptual hashes are equal or near (`phash.alike`).
    """
    groups: list[list[Match]] = []
    hashes: list[str | None] = []
    for one in found:
        own = unpacked(one.row.look) if one.row.look is not None else None
        same = None
        if own is not None:
            same = next((n for n, seen in enumerate(hashes) if seen and (seen == own or alike(seen, own))), None)
        if same is None:
            groups.append([one])
            hashes.append(own)
        else:
            groups[same].append(one)
    return groups
