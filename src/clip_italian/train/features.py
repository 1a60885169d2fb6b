"""Outputs of frozen trunks, computed once over everything and kept on disk, where later runs find them.

A store is named by all that decides its content: weights, cut, pictures' files or texts, view, augmentation, precision.
Every later epoch then costs only what lies above the cut.

features/<name>/store.json     count, what it holds, dtypes
features/<name>/<key>.npy      an array per key of the trunk's output, memory-mapped
features/<name>/places.npy     where each row is, if rows were not written in their order
features/<name>/lengths.npy    tokens of each text, if token states are kept: texts lie one behind the other
features/<name>.partial/       a store in the making; a killed run resumes where it was saved
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from clip_italian import console
from clip_italian.config import Augmentation
from clip_italian.errors import UserError
from clip_italian.files import cache
from clip_italian.files.atomic import staged
from clip_italian.models.preprocess import Preprocess
from clip_italian.models_torch.cut import MASK, STATES, Cut, Inputs
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.hashes import tokenizer_hash
from clip_italian.models_torch.processors import normalise
from clip_italian.pictures.decoding import PictureError
from clip_italian.train.pictures import PLAIN_MARGIN, Augment, Decode, Job, Pictures, in_order
from clip_italian.train.step import autocast

DESCRIPTION = "store.json"
PLACES = "places.npy"
LENGTHS = "lengths.npy"
_PROGRESS = "progress.pt"
_SAVE_EVERY = 1024  # rows

# Pictures at a time: on 2 cores 4 are the fastest, their activations stay in the processor's cache.
_CPU_BATCH, _BATCH = 4, 256
_TEXT_BATCH = 64
_ROWS = 64  # that go through a tail at a time
_CHUNK = 10_000
# Part of a store's name: raise it when the content changes.
_VERSION = 2

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Store:
    """Trunk outputs of n pictures or texts, in memory or memory-mapped; bf16 is held as int16, since numpy has none.

    `places` (n,) is where each row is in the arrays. For token states it is where the first one of a row is, and
    `lengths` (n,) how many there are.
    """

    count: int
    arrays: dict[str, np.ndarray]
    dtypes: dict[str, torch.dtype]
    places: np.ndarray | None = None
    lengths: np.ndarray | None = None

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """A complete store; reads nothing but its description."""
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        dtypes = {key: getattr(torch, name) for key, name in described["dtypes"].items()}
        arrays = {key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in dtypes}
        places, lengths = (np.load(folder / name) if (folder / name).is_file() else None for name in (PLACES, LENGTHS))
        if lengths is not None:
            written = np.empty_like(lengths)
            written[places] = lengths
            places = (np.cumsum(written) - written)[places]
        return cls(described["count"], arrays, dtypes, places, lengths)

    @classmethod
    def of(cls, outputs: Inputs) -> "Store":
        """Outputs in memory."""
        count = len(next(iter(outputs.values())))
        arrays = {key: _as_numpy(value) for key, value in outputs.items()}
        return cls(count, arrays, {key: value.dtype for key, value in outputs.items()})

    def __len__(self) -> int:
        return self.count

    def take(self, rows: torch.Tensor) -> Inputs:
        """Outputs of some rows, on the CPU; token states are padded to the longest text among them."""
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
def run_tail(tail: Callable[[Inputs], torch.Tensor], store: Store, device: torch.device | None = None) -> torch.Tensor:
    """(n, hidden) float32 on the CPU: the output of `tail`, run on `device`, for everything in a store.

    It runs in float32, like the weights of the tail, also if the store's features were computed in bf16.
    """
    device = device or torch.device("cpu")
    parts = []
    for rows in torch.arange(len(store)).split(_ROWS):
        taken = {key: value.to(device) for key, value in store.take(rows).items()}
        inputs = {key: value.float() if value.is_floating_point() else value for key, value in taken.items()}
        parts.append(tail(inputs).float().cpu())
    return torch.cat(parts)


def keep_images(
    cut: Cut, encoder: DualEncoder, pictures: Pictures, rows: torch.Tensor, view: int, settings: Augmentation,
    dtype: torch.dtype, progress: Progress, workers: int = 0,
) -> Store:  # fmt: skip
    """Trunk outputs of one view of the pictures `rows` (n,), in their order; view 0 is the plain one.

    Other views are distorted with the view's number as seed. `progress` is called with the number of rows done since
    the last call. Raises PictureError for a picture that cannot be read, UserError where the disk is too small.
    """
    assert cut.trunk is not None
    size = _CPU_BATCH if encoder.device.type == "cpu" else _BATCH
    described = settings.model_dump(exclude={"share"}) if view else None
    processor = encoder.image_processor
    name = _digest(
        _weights(encoder.parts.vision), cut.name, processor.to_json_string(), view, described, size, str(dtype),
        _hash(json.dumps(pictures.state(row)) for row in rows.tolist()),
    )  # fmt: skip
    folder = _folder(name)
    with cache.lock(name):
        if (folder / DESCRIPTION).is_file():
            progress(len(rows))
            return Store.open(folder)
        draft = Draft.open(folder, f"picture features, view {view}" if view else "picture features", len(rows))
        progress(draft.done)
        distort = Augment(settings, processor, seed=view) if view else None
        if distort and draft.generator is not None:
            distort.generator_state = draft.generator
        preprocess = Preprocess.of(processor)
        crop_seed = view if view and settings.random_crop else None
        jobs = (
            [Job(part.numpy(), crop_seed) for part in rows[draft.done :].split(size)] if draft.done < len(rows) else []
        )
        with torch.inference_mode(), autocast(encoder.device, dtype):
            for pixels in in_order(Decode(pictures, preprocess, PLAIN_MARGIN), jobs, workers):
                if isinstance(pixels, PictureError):
                    raise pixels
                normalised = normalise(preprocess, pixels.to(encoder.device))
                draft.write(cut.trunk({"pixel_values": distort(normalised) if distort else normalised}))
                draft.save(distort.generator_state if distort else None)
                progress(len(pixels))
        draft.finish(folder)
    return Store.open(folder)


def keep_texts(cut: Cut, encoder: DualEncoder, texts: pa.Array, dtype: torch.dtype, progress: Progress) -> Store:
    """Trunk outputs of texts (n,), in their order: `pooled` (b, hidden), or `states` and `mask` when taken."""
    assert cut.trunk is not None
    name = _digest(
        _weights(encoder.parts.text), cut.name, tokenizer_hash(encoder.tokenizer), encoder.max_tokens, str(dtype),
        _hash(json.dumps(texts[i : i + _CHUNK].to_pylist()) for i in range(0, len(texts), _CHUNK)),
    )  # fmt: skip
    folder = _folder(name)
    with cache.lock(name):
        if (folder / DESCRIPTION).is_file():
            progress(len(texts))
            return Store.open(folder)
        lengths = _token_counts(encoder, texts)
        order = lengths.argsort(kind="stable")  # neighbours of similar length need little padding
        draft: Draft | None = None
        with torch.inference_mode(), autocast(encoder.device, dtype):
            start = 0
            while start < len(order):
                rows = order[start : start + _TEXT_BATCH]
                tokens = encoder.tokenize(texts.take(pa.array(rows)).to_pylist())
                outputs = cut.trunk({key: value.to(encoder.device) for key, value in tokens.items()})
                if draft is None:
                    draft = Draft.open(
                        folder, "caption features", len(order), lengths[order] if MASK in outputs else None
                    )
                    progress(draft.done)
                    if draft.done:
                        start = draft.done
                        continue
                draft.write(outputs)
                draft.save()
                progress(len(rows))
                start += len(rows)
        assert draft is not None
        draft.finish(folder, order.argsort())
    return Store.open(folder)


def _token_counts(encoder: DualEncoder, texts: pa.Array) -> np.ndarray:
    """(n,) int64: tokens of each text."""
    counts = [np.zeros(0, np.int64)]
    for start in range(0, len(texts), _CHUNK):
        tokens = encoder.tokenize(texts[start : start + _CHUNK].to_pylist())
        mask = tokens.get("attention_mask", torch.ones_like(tokens["input_ids"]))
        counts.append(mask.sum(dim=1).numpy())
    return np.concatenate(counts)


def _folder(name: str) -> Path:
    return cache.cache_dir() / "features" / name


def _weights(tower: nn.Module) -> str:
    """Digest of a tower's weights and buffers."""
    digest = hashlib.sha256()
    for name, value in [*tower.named_parameters(), *tower.named_buffers()]:
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _hash(parts: Iterator[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps([_VERSION, *parts]).encode()).hexdigest()[:24]


@dataclass
class Draft:
    """A store in the making: `done` of `count` rows are written; `generator` is the saved random state to resume with.

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
        """Begin the store `target`, or resume it; `what` names its content in messages."""
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
        """Write the next rows' outputs (b, …); token states with their mask (b, longest), whose ones come first."""
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
        """Flush, every `_SAVE_EVERY` rows or `now`, and remember the random state."""
        if not now and self.done - self._saved < _SAVE_EVERY:
            return
        for array in self._arrays.values():
            array.flush()  # type: ignore[attr-defined]
        with staged(self.folder / _PROGRESS) as temporary:
            torch.save({"done": self.done, "generator": generator, "dtypes": self._dtypes}, temporary)
        self._saved = self.done

    def finish(self, target: Path, places: np.ndarray | None = None) -> None:
        """Give the complete store its name; `places` (count,) is each row's place in the order of writing."""
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
        """Create the files at full size, so that a full disk shows now."""
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
