"""Outputs of frozen trunks, by row: kept in files that are read where they lie, or in memory.

A folder holds `<key>.npy`, an array a key of the trunk's output, and `store.json`. Where rows were not written in
their order, `places.npy` says where each is. Token states, of which texts have different numbers
(`lengths.npy`), lie one text behind the other.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from clip_italian.models_torch.cut import Inputs

DESCRIPTION = "store.json"
PLACES = "places.npy"
LENGTHS = "lengths.npy"
# The trunk's token states and which of them count; see `model.cut`.
STATES, MASK = "states", "mask"
_ROWS = 64  # that go through a tail at a time


class Store(Protocol):
    """Trunk outputs of n pictures or texts."""

    def __len__(self) -> int: ...

    def take(self, rows: torch.Tensor) -> Inputs:
        """Outputs of some rows, on the CPU; token states are padded to the longest text among them."""
        ...


@dataclass(frozen=True)
class TensorStore:
    """Outputs in memory."""

    outputs: Inputs

    def __len__(self) -> int:
        return len(next(iter(self.outputs.values())))

    def take(self, rows: torch.Tensor) -> Inputs:
        """See `Store`."""
        return {key: value[rows] for key, value in self.outputs.items()}


@dataclass(frozen=True)
class FileStore:
    """Outputs in a folder; `arrays` are memory-mapped, with bf16 seen as int16, since numpy has none.

    `places` (n,) is where each row is in them. For token states it is where the first one of a row is, and
    `lengths` (n,) how many there are.
    """

    count: int
    arrays: dict[str, np.ndarray]
    dtypes: dict[str, torch.dtype]
    places: np.ndarray | None = None
    lengths: np.ndarray | None = None

    @classmethod
    def open(cls, folder: Path) -> "FileStore":
        """A finished store; nothing but its description is read."""
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        dtypes = {key: getattr(torch, name) for key, name in described["dtypes"].items()}
        arrays = {key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in dtypes}
        places, lengths = (np.load(folder / name) if (folder / name).is_file() else None for name in (PLACES, LENGTHS))
        if lengths is not None:
            written = np.empty_like(lengths)
            written[places] = lengths
            places = (np.cumsum(written) - written)[places]
        return cls(described["count"], arrays, dtypes, places, lengths)

    def __len__(self) -> int:
        return self.count

    def take(self, rows: torch.Tensor) -> Inputs:
        """See `Store`; reads only what is asked for."""
        places = rows.numpy() if self.places is None else self.places[rows.numpy()]
        if self.lengths is None:
            return {key: self._tensor(key, array[places]) for key, array in self.arrays.items()}
        lengths = self.lengths[rows.numpy()]
        mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
        columns = np.broadcast_to(np.arange(mask.shape[1]), mask.shape)
        states = self._tensor(STATES, self.arrays[STATES][(places[:, None] + columns)[mask]])
        padded = states.new_zeros(*mask.shape, *states.shape[1:])
        padded[torch.from_numpy(mask)] = states
        return {STATES: padded, MASK: torch.from_numpy(mask).long()}

    def _tensor(self, key: str, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).view(self.dtypes[key])


@torch.no_grad()
def run_all(tail: Callable[[Inputs], torch.Tensor], store: Store, device: torch.device | None = None) -> torch.Tensor:
    """(n, hidden) float32 on the CPU: what `tail`, on `device`, makes of everything in a store."""
    device = device or torch.device("cpu")
    parts = []
    for rows in torch.arange(len(store)).split(_ROWS):
        inputs = {key: value.to(device) for key, value in store.take(rows).items()}
        parts.append(tail(inputs).float().cpu())
    return torch.cat(parts)
