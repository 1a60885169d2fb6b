"""Where training pictures come from: files of their own, or members of WebDataset shards (`train.shards`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import pyarrow as pa
import torch
from PIL import Image

from clip_italian.files.names import as_stored
from clip_italian.pictures.decoding import PictureError, open_picture


class Pictures(Protocol):
    """Pictures by row number. Small to send to another process: no picture is in memory before it is opened."""

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """What people find the picture by: its path, or shard and member."""
        ...

    def bytes(self, row: int) -> bytes:
        """The picture's file as it is; raises PictureError where it cannot be read."""
        ...

    def open(self, row: int, at_least: int | None = None) -> Image.Image:
        """RGB and upright; a JPEG may come smaller, but with at least so many pixels on its short side.

        Raises PictureError for a picture that is gone or damaged.
        """
        ...

    def state(self, row: int) -> tuple[str, int, int]:
        """Name, size in bytes and time of the last change in ns: equal as long as the picture is the same.

        Raises PictureError where it is gone.
        """
        ...

    def subset(self, rows: torch.Tensor) -> Self:
        """Some of the pictures, numbered anew."""
        ...


class FilePictures:
    """Picture files, given by paths or by an Arrow array of paths; relative ones start at `folder`."""

    def __init__(self, paths: Sequence[Path | str] | pa.Array, folder: Path | None = None) -> None:
        self._folder = folder or Path()
        self._paths = (
            paths if isinstance(paths, pa.Array) else pa.array([str(path) for path in paths], pa.large_string())
        )

    def __len__(self) -> int:
        return len(self._paths)

    def path(self, row: int) -> Path:
        """Where the file lies."""
        return as_stored(self._folder / self._paths[row].as_py())

    def name(self, row: int) -> str:
        """The path as text."""
        return str(self.path(row))

    def bytes(self, row: int) -> bytes:
        """The whole file."""
        path = self.path(row)
        try:
            return path.read_bytes()
        except OSError as error:
            raise PictureError(f"{path}: cannot be read ({error.strerror})") from None

    def open(self, row: int, at_least: int | None = None) -> Image.Image:
        """See `Pictures`."""
        return open_picture(self.path(row), at_least=at_least)

    def state(self, row: int) -> tuple[str, int, int]:
        """See `Pictures`."""
        path = self.path(row)
        try:
            found = path.stat()
        except OSError as error:
            raise PictureError(f"{path}: cannot be read ({error.strerror})") from None
        return str(path), found.st_size, found.st_mtime_ns

    def subset(self, rows: torch.Tensor) -> "FilePictures":
        """See `Pictures`."""
        return FilePictures(self._paths.take(pa.array(rows.numpy())), self._folder)
