"""A store in the making: rows are written one after another, and a killed run goes on where it was saved.

While it is made, the folder is called `<name>.partial`; it gets its name when it is complete.
"""

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.models_torch.cut import Inputs
from clip_italian.train.store import DESCRIPTION, LENGTHS, MASK, PLACES, STATES

_PROGRESS = "progress.pt"
_SAVE_EVERY = 1024  # rows


@dataclass
class Draft:
    """`done` of `count` rows of a store are written; `generator` is the random state to go on with, if one was saved.

    `lengths` (count,), in the order of writing, are given for texts whose token states are kept.
    """

    folder: Path
    what: str
    count: int
    lengths: np.ndarray | None = None
    done: int = 0
    generator: torch.Tensor | None = None
    _arrays: dict[str, np.ndarray] = field(default_factory=dict)
    _dtypes: dict[str, str] = field(default_factory=dict)
    _saved: int = 0

    @classmethod
    def open(cls, target: Path, what: str, count: int, lengths: np.ndarray | None = None) -> "Draft":
        """Begin the store `target`, or go on with it; `what` names its content to people."""
        folder = target.with_name(f"{target.name}.partial")
        draft = cls(folder, what, count, lengths)
        if (folder / _PROGRESS).is_file():
            found = torch.load(folder / _PROGRESS, weights_only=True)
            draft.done = draft._saved = found["done"]
            draft.generator, draft._dtypes = found["generator"], found["dtypes"]
            draft._arrays = {key: np.load(folder / f"{key}.npy", mmap_mode="r+") for key in draft._dtypes}
        else:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        return draft

    def write(self, outputs: Inputs) -> None:
        """The next rows' outputs (b, …); token states with their mask (b, longest), whose ones come first."""
        rows = len(next(iter(outputs.values())))
        if MASK in outputs:
            outputs = {STATES: outputs[STATES][outputs[MASK].bool()]}
        if not self._arrays:
            self._allocate(outputs)
        for key, value in outputs.items():
            first = self._first(self.done)
            self._arrays[key][first : first + len(value)] = _as_numpy(value)
        self.done += rows

    def save(self, generator: torch.Tensor | None = None, now: bool = False) -> None:
        """Make sure, now and then, that what was written is kept, and the random state with it."""
        if not now and self.done - self._saved < _SAVE_EVERY:
            return
        for array in self._arrays.values():
            array.flush()  # type: ignore[attr-defined]
        with staged(self.folder / _PROGRESS) as temporary:
            torch.save({"done": self.done, "generator": generator, "dtypes": self._dtypes}, temporary)
        self._saved = self.done

    def finish(self, target: Path, places: np.ndarray | None = None) -> None:
        """Give the complete store its name; `places` (count,) is where each row stands in the order of writing."""
        self.save(now=True)
        self._arrays.clear()
        if places is not None:
            np.save(self.folder / PLACES, places)
        if self.lengths is not None:
            np.save(self.folder / LENGTHS, self.lengths if places is None else self.lengths[places])
        described = {"count": self.count, "what": self.what, "dtypes": self._dtypes}
        (self.folder / DESCRIPTION).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        (self.folder / _PROGRESS).unlink()
        self.folder.rename(target)

    def _first(self, row: int) -> int:
        return row if self.lengths is None else int(self.lengths[:row].sum())

    def _allocate(self, outputs: Inputs) -> None:
        """Make the files in full size, so that a full disk shows now."""
        total = self._first(self.count)
        sizes = {key: total * value[0].numel() * value.element_size() for key, value in outputs.items()}
        needed, free = sum(sizes.values()), shutil.disk_usage(self.folder).free
        console.notice(f"keeps {self.what}: {_gigabytes(needed)} in {self.folder.parent}")
        if needed > free:
            raise UserError(
                f"{self.folder.parent}: {self.what} take {_gigabytes(needed)}, and {_gigabytes(free)} are free; "
                "set CLIP_ITALIAN_CACHE to a larger disk, or cached = false in the recipe's stages"
            )
        for key, value in outputs.items():
            self._dtypes[key] = str(value.dtype).removeprefix("torch.")
            path = self.folder / f"{key}.npy"
            shape = (total, *value.shape[1:])
            self._arrays[key] = np.lib.format.open_memmap(path, "w+", _as_numpy(value[:0]).dtype, shape)
            if hasattr(os, "posix_fallocate"):
                with path.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _as_numpy(values: torch.Tensor) -> np.ndarray:
    values = values.detach().cpu().contiguous()
    return (values.view(torch.int16) if values.dtype == torch.bfloat16 else values).numpy()


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
