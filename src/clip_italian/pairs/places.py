"""Where the pictures of a pairs file lie, and where its outputs must not."""

import os
from pathlib import Path

import pyarrow as pa

from clip_italian.errors import UsageError, UserError
from clip_italian.files.names import as_stored
from clip_italian.pairs.rows import Pair


def relocated(batch: pa.RecordBatch, old: Path, new: Path) -> pa.RecordBatch:
    """The rows of a pairs file in folder `old`, for a pairs file in folder `new`: both name the same pictures.

    Relative paths stay relative; absolute ones become so where the picture lies below `new`.
    """
    old, new = old.resolve(), new.resolve()

    def moved(image: str) -> str:
        if "://" in image or (old == new and not image.startswith("/")):
            return image
        picture = old / image
        inside = not Path(image).is_absolute() or picture.is_relative_to(new)
        return os.path.relpath(picture, new) if inside else image

    images = pa.array([moved(image) for image in batch.column("image").to_pylist()], pa.string())
    return batch.set_column(batch.schema.get_field_index("image"), batch.schema.field("image"), images)


def apart(source: Path, output: Path) -> None:
    """Raise UsageError where the output of a stage is its input: no stage changes what it reads."""
    if source.resolve() == output.resolve():
        raise UsageError(f"{output}: would replace its own input; choose another output")


def image_path(pair: Pair, pairs_file: Path) -> Path:
    """Where the picture lies: relative paths start at the folder of the pairs file.

    Raises UserError where it is still behind an address.
    """
    if "://" in pair.image:
        raise UserError(f"{pairs_file}: {pair.image} is not on this machine; get the pictures by clip-italian fetch")
    return as_stored(pairs_file.parent / pair.image)
