"""An index of pictures: vectors in a usearch file, rows in Parquet, and the model's hash.

    index.json       model hash, root folder, picture count, what was left out
    vectors.usearch  one float32 vector a picture
    rows.parquet     id and path of each, in the order of the vectors

Search is exact: 50,000 pictures of 512 dimensions take some milliseconds.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from usearch.index import Index as Vectors

from clip_italian.assets import staged
from clip_italian.errors import UserError
from clip_italian.images import PictureError

if TYPE_CHECKING:
    from clip_italian.model.dual_encoder import DualEncoder

FORMAT = 1


@dataclass(frozen=True)
class Hit:
    """One answer: its place from 1, the picture's id and path, and the cosine."""

    rank: int
    id: str
    path: Path
    score: float


@dataclass(frozen=True)
class Index:
    """An opened index; `search` takes a query embedding."""

    folder: Path
    vectors: Vectors
    ids: list[str]
    paths: list[str]
    info: dict[str, Any]

    @classmethod
    def open(cls, folder: Path | str) -> "Index":
        """Open an index folder; vectors are memory-mapped. Raises UserError where it is none."""
        folder = Path(folder)
        try:
            info = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            rows = pq.read_table(folder / "rows.parquet").to_pydict()
            vectors = Vectors.restore(folder / "vectors.usearch", view=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{folder}: no index here; make one with `clip-italian index build`") from error
        if vectors is None or len(vectors) != len(rows["id"]):
            raise UserError(f"{folder}: the index is damaged; build it again with `clip-italian index build`")
        return cls(folder, vectors, rows["id"], rows["path"], info)

    def __len__(self) -> int:
        return len(self.ids)

    def check_model(self, model: "DualEncoder") -> None:
        """Raise UserError where the index was made with another model."""
        if self.info["model"] != model.weights_hash:
            raise UserError(
                f"{self.folder}: the index was made with another model ({self.info['model_name']}, hash "
                f"{self.info['model']}); search with that one, or build the index again"
            )

    def search(self, query: np.ndarray, k: int = 10) -> list[Hit]:
        """The k pictures nearest to a query embedding (dim,) of unit length, best first."""
        if k < 1:
            raise UserError(f"k is {k}; ask for at least one picture")
        found = self.vectors.search(query, min(k, len(self)), exact=True)
        root = Path(self.info["root"])
        return [
            Hit(rank, self.ids[row], root / self.paths[row], 1.0 - distance)
            for rank, (row, distance) in enumerate(
                zip(found.keys.tolist(), found.distances.tolist(), strict=True), start=1
            )
        ]


def write(
    folder: Path, root: Path, paths: Sequence[Path], vectors: np.ndarray, model: "DualEncoder", model_name: str,
    left_out: Sequence[PictureError] = (), ids: Sequence[str] | None = None,
) -> None:  # fmt: skip
    """Write an index of `vectors` (n, dim) for the pictures `paths`, replacing what was there as a whole.

    Ids default to the paths relative to `root`. Raises UserError for no vectors at all.
    """
    if not len(vectors):
        raise UserError(f"{root}: no picture could be read, no index was made (first reason: {left_out[0]})")
    relative = [path.relative_to(root).as_posix() for path in paths]
    store = Vectors(ndim=vectors.shape[1], metric="cos", dtype="f32")
    store.add(np.arange(len(vectors)), vectors)
    info = {
        "format": FORMAT,
        "model": model.weights_hash,
        "model_name": model_name,
        "root": str(root.resolve()),
        "pictures": len(vectors),
        "left_out": [str(error) for error in left_out],
    }
    with staged(folder) as temporary:
        temporary.mkdir()
        store.save(temporary / "vectors.usearch")
        rows = {"id": list(ids) if ids is not None else relative, "path": relative}
        pq.write_table(pa.table(rows), temporary / "rows.parquet")
        (temporary / "index.json").write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def build(
    pictures: Sequence[Path], root: Path, folder: Path, model: "DualEncoder", model_name: str,
    progress: Callable[[int], None] = lambda _: None,
) -> list[PictureError]:  # fmt: skip
    """Embed picture files and write their index; return the errors of those that were skipped."""
    done, vectors, errors = model.encode_files(pictures, progress)
    write(folder, root, done, vectors, model, model_name, errors)
    return errors
