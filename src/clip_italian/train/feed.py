"""The batches of a stage: what each epoch holds depends on seed and epoch only, and any step can be gone to at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch

from clip_italian.models_torch.cut import Inputs
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.train.examples import Examples
from clip_italian.train.live_pictures import LivePictures
from clip_italian.train.order import Drawn, plan_epoch, shape
from clip_italian.train.processes import Processes
from clip_italian.train.seeds import seed_of
from clip_italian.train.step import Batch
from clip_italian.train.store import Store

Shown = tuple[torch.Tensor, torch.Tensor]  # rows and views of pictures, (b,) each
_AUGMENTATION = 1 << 20  # apart from the numbers of chunks, which seed dropout


class Images(Protocol):
    """Where a vision tower's inputs come from; `views` counts the plain one."""

    @property
    def views(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def stream(self, drawn: Sequence[Shown], seeds: Sequence[int] | None = None) -> Iterator[Inputs]:
        """What `ready` makes inputs of, for each (rows, views), in order; view 0 is the plain picture.

        Where pictures are cropped and distorted afresh, `seeds`, one a batch, decide how; without seeds none is.
        """

    def ready(self, part: Inputs, seed: int | None = None) -> Inputs:
        """The tower's inputs on its device, of a part of what `stream` gave; distorted where a seed is given."""


class Texts(Protocol):
    """Where a text tower's inputs come from."""

    def inputs(self, texts: torch.Tensor) -> Inputs:
        """Inputs of texts by number."""


@dataclass(frozen=True)
class KeptImages:
    """Kept trunk outputs, a store a view; `places` (views, n) is a row's place in it, -1 where it has no such view."""

    stores: Sequence[Store]
    places: torch.Tensor
    device: torch.device

    @property
    def views(self) -> int:
        return len(self.stores)

    def stream(self, drawn: Sequence[Shown], seeds: Sequence[int] | None = None) -> Iterator[Inputs]:
        for rows, views in drawn:
            yield self.take(rows, views)

    def ready(self, part: Inputs, seed: int | None = None) -> Inputs:
        return to(part, self.device)

    def take(self, rows: torch.Tensor, views: torch.Tensor) -> Inputs:
        """Outputs of pictures in the views wanted, or in the plain one where they have no other."""
        places = self.places[views, rows]
        views = torch.where(places < 0, 0, views)
        places = torch.where(places < 0, self.places[0, rows], places)
        result: Inputs = {}
        for view in views.unique().tolist():
            mine = (views == view).nonzero().squeeze(1)
            for key, value in self.stores[view].take(places[mine]).items():
                result.setdefault(key, value.new_empty(len(rows), *value.shape[1:]))[mine] = value
        return result


@dataclass(frozen=True)
class LiveImages:
    """Pictures decoded for each batch, bytes until a part of it goes through the tower: a quarter of the memory."""

    pictures: LivePictures
    device: torch.device
    views: int = 1

    def stream(self, drawn: Sequence[Shown], seeds: Sequence[int] | None = None) -> Iterator[Inputs]:
        numbers = seeds if seeds is not None else [0] * len(drawn)
        for pixels in self.pictures.batches([rows.numpy() for rows, _ in drawn], seeds is not None, numbers):
            yield {"pixel_values": pixels}

    def ready(self, part: Inputs, seed: int | None = None) -> Inputs:
        if seed is not None:
            torch.manual_seed(seed)
        return {"pixel_values": self.pictures.on_device(part["pixel_values"], seed is not None, self.device)}


@dataclass(frozen=True)
class KeptTexts:
    """Kept trunk outputs of texts."""

    store: Store
    device: torch.device

    def inputs(self, texts: torch.Tensor) -> Inputs:
        return to(self.store.take(texts), self.device)


@dataclass(frozen=True)
class LiveTexts:
    """Texts cut into tokens for each batch, padded to the longest of it."""

    examples: Examples
    encoder: DualEncoder
    device: torch.device

    def inputs(self, texts: torch.Tensor) -> Inputs:
        return to(self.encoder.tokenize(self.examples.texts_of(texts)), self.device)


@dataclass(frozen=True)
class Feed:
    """Batches of `size` pictures over all processes, of which this one gets its part."""

    examples: Examples
    rows: torch.Tensor
    images: Images
    texts: Texts
    size: int
    original_share: float
    distort: bool
    processes: Processes
    seed: tuple[int, ...]

    def __len__(self) -> int:
        """Batches in an epoch."""
        return shape(self.rows, self.examples, self.size).count

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from the one with number `first` on."""
        plan = self._plan(number)
        drawn = [Drawn(*map(self.processes.share, (one.images, one.views, one.texts))) for one in plan[first:]]
        seeds = [
            seed_of(*self.seed, number, step, self.processes.rank, _AUGMENTATION) for step in range(first, len(plan))
        ]
        streamed = self.images.stream([(one.images, one.views) for one in drawn], seeds if self.distort else None)
        for one, images, seed in zip(drawn, streamed, seeds, strict=True):
            groups = self.examples.groups[one.images].to(self.images.device)
            ready = partial(self._ready, seed)
            yield Batch(one.images, images, self.texts.inputs(one.texts), groups, ready)

    def _ready(self, seed: int, images: Inputs, part: int) -> Inputs:
        return self.images.ready(images, seed_of(seed, part) if self.distort else None)

    def _plan(self, number: int) -> list[Drawn]:
        return plan_epoch(
            self.rows, self.examples, self.images.views, self.original_share, self.size, seed_of(*self.seed, number)
        )


def to(inputs: Inputs, device: torch.device) -> Inputs:
    """The inputs on a device."""
    return {key: value.to(device, non_blocking=True) for key, value in inputs.items()}
