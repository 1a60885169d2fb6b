"""Which picture, view and caption goes into which batch of an epoch: decided by a seed alone.

No batch shows a picture twice, however many rows have it, and the number of batches is the same in every epoch.
Both come from dealing like cards: rows of one picture lie together in the pack and go to successive batches, of
which there are at least as many as rows of it.
"""

from dataclasses import dataclass

import torch

from clip_italian.train.examples import Examples


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
    """The shape of every epoch over `rows`: as many batches of `size` as can be without a picture twice in one.

    What fills less than half a batch is left out, and so are rows of a picture beyond the number of batches.
    Where there are fewer pictures than `size`, a batch holds all of them.
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

    `original_share` of the captions are drawn from before translation where there are any. What is left out
    (see `shape`) differs from seed to seed.
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
    """How many equal values stand before each."""
    sorted_values, order = values.sort(stable=True)
    starts = torch.searchsorted(sorted_values, sorted_values)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(values)) - starts
    return ranks
