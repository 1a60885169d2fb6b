"""The batches of a stage: which picture, view and caption goes into which, and the towers' inputs for them.

An epoch depends on seed and epoch only, and any step can be jumped to. No batch shows a picture twice, however many
rows have it, and the number of batches is the same in every epoch. Both come from dealing like cards: rows of one
picture lie together in the pack and go to successive batches, of which there are at least as many as rows of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from clip_italian.models_torch.cut import Inputs
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.train.data import Examples
from clip_italian.train.distil import Targets
from clip_italian.train.features import Store
from clip_italian.train.parallel import Processes
from clip_italian.train.pictures import LivePictures
from clip_italian.train.step import Batch, seed_of

Shown = tuple[torch.Tensor, torch.Tensor]  # rows and views of pictures, (b,) each
_AUGMENTATION = 1 << 20  # beyond the numbers of chunks, which seed dropout


@dataclass(frozen=True)
class Drawn:
    """One batch of all processes together: rows, the view of each picture, and numbers of texts; all (batch,)."""

    images: torch.Tensor
    views: torch.Tensor
    texts: torch.Tensor


@dataclass(frozen=True)
class Shape:
    """`full` batches of `size` rows and one of `rest` rows, if any; of one picture at most `most` rows take part."""

    size: int
    full: int
    rest: int
    most: int

    @property
    def count(self) -> int:
        """Number of batches."""
        return self.full + (self.rest > 0)


def shape(rows: torch.Tensor, examples: Examples, size: int) -> Shape:
    """The shape of every epoch over `rows`: as many batches of `size` as possible without a picture twice in one.

    Less than half a batch is left out, and so are rows of a picture beyond the number of batches. Where there are fewer
    pictures than `size`, a batch holds all of them.
    """
    _, numbers = examples.identities[rows].unique(return_counts=True)
    size = min(size, len(numbers))
    most = int(numbers.max())
    while True:
        full, rest = divmod(int(numbers.clamp(max=most).sum()), size)
        rest = rest if rest >= size / 2 else 0
        # A picture with a row in each full batch may have none in the rest: see `_deal`.
        fits = min(most, full)
        if fits == most:
            return Shape(size, full, rest, most)
        most = fits


def plan_epoch(
    rows: torch.Tensor, examples: Examples, views: int, original_share: float, size: int, seed: int
) -> list[Drawn]:
    """One epoch of `rows` in batches of `size`: random order, one random caption and one of `views` views each.

    `original_share` of the captions are drawn from before translation where there are any. The rows left out (see
    `shape`) differ from seed to seed.
    """
    form = shape(rows, examples, size)
    generator = torch.Generator().manual_seed(seed)
    shuffled = rows[torch.randperm(len(rows), generator=generator)]
    images = _deal(shuffled, examples.identities[shuffled], form, generator)
    chance = torch.rand(2, len(images), generator=generator, dtype=torch.float64)
    use_original = (chance[0] < original_share) & (examples.original[images + 1] > examples.original[images])
    first = torch.where(use_original, examples.original[images], examples.own[images])
    end = torch.where(use_original, examples.original[images + 1], examples.own[images + 1])
    texts = first + (chance[1] * (end - first)).long()
    chosen_views = torch.randint(views, (len(images),), generator=generator)
    parts = (part.split(form.size) for part in (images, chosen_views, texts))
    return [Drawn(*batch) for batch in zip(*parts, strict=True)]


def _deal(shuffled: torch.Tensor, identities: torch.Tensor, form: Shape, generator: torch.Generator) -> torch.Tensor:
    """Rows of all batches, one after another."""
    total = form.full * form.size + form.rest
    if len(identities.unique()) == len(identities):
        return shuffled[:total]
    chosen = (_rank(identities) < form.most).nonzero().squeeze(1)[:total]
    # Rows of one picture together, pictures in the order of their first rows.
    _, which = identities[chosen].unique(return_inverse=True)
    places = torch.arange(len(chosen))
    first = torch.full((len(chosen),), len(chosen)).scatter_reduce_(0, which, places, "amin")
    pack = chosen[first[which].argsort(stable=True)]
    # Round by round to all batches until the short one has its share, then to the full ones. Rounds are at
    # least `most` long in both parts, so that no batch is met twice within as many successive rows.
    order = torch.randperm(form.full, generator=generator)
    dealt = places - form.rest * form.count
    batch = torch.where(dealt < 0, places % form.count, dealt % form.full)
    batch = torch.cat([order, torch.tensor([form.full])])[batch]
    return shuffled[pack[batch.argsort(stable=True)]]


def _rank(values: torch.Tensor) -> torch.Tensor:
    """How many equal values come before each."""
    sorted_values, order = values.sort(stable=True)
    starts = torch.searchsorted(sorted_values, sorted_values)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(values)) - starts
    return ranks


@dataclass(frozen=True)
class KeptImages:
    """Kept trunk outputs, a store per view; `places` (views, n) is a row's place in it, -1 where it has none."""

    stores: Sequence[Store]
    places: torch.Tensor
    device: torch.device

    @property
    def views(self) -> int:
        """Number of views, the plain one included."""
        return len(self.stores)

    def stream(self, drawn: Sequence[Shown], seeds: Sequence[int] | None = None) -> Iterator[Inputs]:
        """Outputs for each (rows, views), in order; view 0 is the plain picture. `seeds` do not matter."""
        for rows, views in drawn:
            yield self.take(rows, views)

    def prepare(self, part: Inputs, seed: int | None = None) -> Inputs:
        """The tail's inputs on its device, from a part of the stream."""
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
    """Pictures decoded for each batch, bytes until a chunk of them goes through the tower: a quarter of the memory."""

    pictures: LivePictures
    device: torch.device
    views: int = 1

    def stream(self, drawn: Sequence[Shown], seeds: Sequence[int] | None = None) -> Iterator[Inputs]:
        """Pixels for each (rows, views), in order; cropped at random by `seeds`, one a batch, where given."""
        numbers = seeds if seeds is not None else [0] * len(drawn)
        for pixels in self.pictures.batches([rows.numpy() for rows, _ in drawn], seeds is not None, numbers):
            yield {"pixel_values": pixels}

    def prepare(self, part: Inputs, seed: int | None = None) -> Inputs:
        """The tower's inputs on its device, from a part of the stream; distorted where a seed is given."""
        if seed is not None:
            torch.manual_seed(seed)
        return {"pixel_values": self.pictures.on_device(part["pixel_values"], seed is not None, self.device)}


@dataclass(frozen=True)
class NoImages:
    """No inputs for any picture, for runs that learn from captions alone."""

    device: torch.device
    views: int = 1

    def stream(self, drawn: Sequence[Shown], seeds: Sequence[int] | None = None) -> Iterator[Inputs]:
        """Empty inputs for each (rows, views)."""
        return ({} for _ in drawn)

    def prepare(self, part: Inputs, seed: int | None = None) -> Inputs:
        """The empty inputs."""
        return part


@dataclass(frozen=True)
class KeptTexts:
    """Kept trunk outputs of texts."""

    store: Store
    device: torch.device

    def inputs(self, texts: torch.Tensor) -> Inputs:
        """Inputs of texts by number."""
        return to(self.store.take(texts), self.device)


@dataclass(frozen=True)
class LiveTexts:
    """Texts tokenized for each batch, padded to the longest of it."""

    examples: Examples
    encoder: DualEncoder
    device: torch.device

    def inputs(self, texts: torch.Tensor) -> Inputs:
        """Inputs of texts by number."""
        return to(self.encoder.tokenize(self.examples.texts_of(texts)), self.device)


Images = KeptImages | LiveImages | NoImages
Texts = KeptTexts | LiveTexts


@dataclass(frozen=True)
class Batches:
    """Batches of `size` pictures over all processes; this process gets its part of each.

    `targets` are a teacher's embeddings of the texts, if there is one.
    """

    examples: Examples
    rows: torch.Tensor
    images: Images
    texts: Texts
    size: int
    original_share: float
    distort: bool
    processes: Processes
    seed: tuple[int, ...]
    targets: Targets | None = None

    def __len__(self) -> int:
        """Batches in an epoch."""
        return shape(self.rows, self.examples, self.size).count

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from the one with number `first` on."""
        plan = plan_epoch(
            self.rows, self.examples, self.images.views, self.original_share, self.size, seed_of(*self.seed, number)
        )
        drawn = [Drawn(*map(self.processes.share, (one.images, one.views, one.texts))) for one in plan[first:]]
        seeds = [
            seed_of(*self.seed, number, step, self.processes.rank, _AUGMENTATION) for step in range(first, len(plan))
        ]
        streamed = self.images.stream([(one.images, one.views) for one in drawn], seeds if self.distort else None)
        for one, images, seed in zip(drawn, streamed, seeds, strict=True):
            groups = self.examples.groups[one.images].to(self.images.device)
            targets = None if self.targets is None else self.targets.of(one.texts)
            texts = self.texts.inputs(one.texts)
            yield Batch(one.images, images, texts, groups, partial(self._prepare, seed), targets)

    def _prepare(self, seed: int, images: Inputs, chunk: int) -> Inputs:
        return self.images.prepare(images, seed_of(seed, chunk) if self.distort else None)


def to(inputs: Inputs, device: torch.device) -> Inputs:
    """The inputs on a device."""
    return {key: value.to(device, non_blocking=True) for key, value in inputs.items()}
