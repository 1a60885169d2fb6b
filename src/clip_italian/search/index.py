"""An index of pictures: vectors, rows, and the hash of the model that made them, in a folder or a Milvus collection.

What the folder holds is in `search.manifest`. It is made and changed by `search.update`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from clip_italian.errors import UserError
from clip_italian.pictures.decoding import decode, decode_bytes, read_bytes
from clip_italian.search import manifest
from clip_italian.search.filters import Filter
from clip_italian.search.group import grouped
from clip_italian.search.local import LocalStore
from clip_italian.search.manifest import Manifest
from clip_italian.search.rows import place
from clip_italian.search.store import Found, Store

if TYPE_CHECKING:
    from clip_italian.models.encoder import SearchEncoder


@dataclass(frozen=True)
class Hit:
    """One answer: its place from 1, the picture's id, file (`path`) and permanent row number, and the cosine.

    `probability` that it is what the words say, where the index is calibrated; `copies` are hits that show the same
    picture, where a search groups them. A picture inside a tar file lies at `part`: first byte and length.
    """

    rank: int
    id: str
    file: str
    score: float
    row: int = -1
    probability: float | None = None
    copies: "tuple[Hit, ...]" = ()
    part: tuple[int, int] | None = field(default=None, repr=False)

    @cached_property
    def path(self) -> Path:
        """Where the picture lies. Made when asked for: ten of them took a sixth of the time of a search."""
        return Path(self.file)

    def open(self, at_least: int | None = None) -> Image.Image:
        """The picture, decoded safely (`images.decode`); raises PictureError where it is gone or damaged."""
        return open_at(self.path, self.part, at_least)


@dataclass(frozen=True)
class Index:
    """An opened index; `search` takes a query embedding. Threads may share it."""

    folder: Path
    manifest: Manifest
    store: Store

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Open an index folder, in milliseconds: nothing is read that a search does not need.

        It stays as it is now, also while others change it: `fresh` opens what is there later. Raises UserError
        where there is no index, or a damaged one.
        """
        folder = Path(folder)
        settings = manifest.read(folder)
        if settings.store is not None:
            from clip_italian.search.milvus import MilvusStore

            return cls(folder, settings, MilvusStore.open(settings))
        return cls(folder, *LocalStore.open(folder))

    def fresh(self) -> Self:
        """Itself where nothing has changed, else the index as it is now."""
        now = manifest.read(self.folder)
        return self if now.generation == self.manifest.generation else type(self).open(self.folder)

    def __len__(self) -> int:
        return len(self.store)

    @property
    def info(self) -> dict[str, Any]:
        """What index.json tells of the whole: model, folders, pictures, segments."""
        settings = self.manifest
        return {
            "pictures": len(self),
            "model": settings.model,
            "model_name": settings.model_name,
            "dim": settings.dim,
            "search": "exact" if not any(one.graph for one in settings.segments) else "HNSW",
            "roots": settings.roots,
            "generation": settings.generation,
            "segments": len(settings.segments),
            "deleted": sum(one.deleted for one in settings.segments),
            "left_out": settings.left_out,
            "store": settings.store or "folder",
            "calibrated": settings.calibration is not None,
            "exclude": settings.exclude,
            "hidden": settings.hidden,
        }

    def check_model(self, model: "SearchEncoder") -> None:
        """Raise UserError where the index was made with another model."""
        if self.manifest.model != model.weights_hash:
            raise UserError(
                f"{self.folder}: the index was made with another model ({self.manifest.model_name}, hash "
                f"{self.manifest.model}); search with that one, or build the index again"
            )

    def search(
        self, query: np.ndarray, k: int = 10, *, skip: int = 0, where: Filter | None = None, group: bool = False,
        exact: bool = False, calibrated: bool = False,
    ) -> list[Hit]:  # fmt: skip
        """The pictures nearest to a query embedding (dim,), best first: k, after the first `skip`.

        `where`: only rows that it lets through. `group`: a picture and its copies count as one. `exact`: look at
        every vector also where there is a graph. `calibrated`: tell probabilities, which hold for texts only.
        """
        if k < 1 or skip < 0:
            raise UserError(f"{k} pictures after {skip}: ask for at least one, after none or more")
        if query.shape != (self.manifest.dim,):
            raise UserError(f"{self.folder}: a query has {self.manifest.dim} numbers here, not {query.shape}")
        length = float(np.linalg.norm(query))
        if not 0 < length < np.inf:
            raise UserError("the query's embedding is zero or no number; the model cannot be searched with")
        query = np.asarray(query / length, np.float32)
        if not group:
            found = [[one] for one in self.store.nearest(query, skip + k, where, exact)]
        else:
            found = self._grouped(query, skip + k, where, exact)
        return [self._hit(rank, same, calibrated) for rank, same in enumerate(found[skip : skip + k], start=skip + 1)]

    def hit(self, row: int) -> Hit | None:
        """The picture with this row number (rank 0, no score), if it is there."""
        name = self.store.name(row)
        return None if name is None else self._hit(0, [Found(name, float("nan"))], calibrated=False)

    def _grouped(self, query: np.ndarray, count: int, where: Filter | None, exact: bool) -> list[list[Found]]:
        wanted = count + 32
        while True:
            found = self.store.nearest(query, wanted, where, exact)
            groups = grouped(found)
            if len(groups) >= count or len(found) < wanted:
                return groups
            wanted *= 4

    def _hit(self, rank: int, same: Sequence[Found], calibrated: bool) -> Hit:
        first, score = same[0].name, same[0].score
        curve = self.manifest.calibration if calibrated else None
        return Hit(
            rank, first.id, place(self.manifest.roots, first.root, first.path), score, first.row,
            curve.probability(score) if curve else None,
            tuple(self._hit(rank, [one], calibrated) for one in same[1:]),
            (first.offset, first.length) if first.offset is not None and first.length is not None else None,
        )  # fmt: skip


def open_at(path: Path, part: tuple[int, int] | None, at_least: int | None = None) -> Image.Image:
    """Decode a picture file, or a part of one (first byte, length). Raises PictureError where it cannot be."""
    if part is None:
        return decode(path, str(path), at_least=at_least)
    return decode_bytes(read_bytes(path, part), f"{path} at {part[0]}", at_least)
