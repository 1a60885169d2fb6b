"""A moving average of the weights: steadier than the last ones at no cost for a search (Polyak and Juditsky 1992)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from clip_italian.train.checkpoint import Named, Tensors
from clip_italian.train.sharded import like, own_part, whole


class Average:
    """The average of the parameters `named`, of which each step leaves the share `decay`; 0: nothing is kept.

    In the first steps the share is less, (1 + steps) / (10 + steps), so that the random start is soon forgotten.
    """

    def __init__(self, named: Named, decay: float) -> None:
        self._named = list(named) if decay else []
        self._decay = decay
        self._values = [parameter.detach().clone() for _, parameter in self._named]
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take the parameters as they are now into the average."""
        if self._named:
            decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
            values = [own_part(value) for value in self._values]
            torch._foreach_lerp_(values, [own_part(parameter.detach()) for _, parameter in self._named], 1 - decay)
            self._steps += 1

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """A block in which the parameters are the average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> Tensors:
        """The average by name, and how many steps are in it, for a checkpoint; all processes must ask at once."""
        if not self._named:
            return {}
        values = {name: whole(value).cpu().clone() for (name, _), value in zip(self._named, self._values, strict=True)}
        return values | {_STEPS: torch.tensor(self._steps)}

    def load(self, state: Tensors) -> None:
        """Go on from what `state` gave."""
        for (name, _), value in zip(self._named, self._values, strict=True):
            value.copy_(like(state[name], value))
        self._steps = int(state.get(_STEPS, torch.tensor(0)))

    @torch.no_grad()
    def _swap(self) -> None:
        for (_, parameter), value in zip(self._named, self._values, strict=True):
            own = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(own)


_STEPS = "steps"  # no parameter's name is a single word
