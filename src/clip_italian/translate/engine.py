"""What the run over a pairs file needs of an engine."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

# Everything that decides a translation: engine, languages and options. JSON data.
Identity = Mapping[str, str | int | None]


class Engine(Protocol):
    """Translates texts. `parallel` batches are given to it at once, each in a thread of its own."""

    parallel: int

    @property
    def identity(self) -> Identity:
        """What the cache keeps this engine's translations under."""

    def characters(self, text: str) -> int:
        """How many characters the text counts for in a budget."""

    def quota(self) -> int | None:
        """Characters that the account may still translate, None where there is no limit or it is not known.

        Raises UserError where the engine cannot work at all.
        """

    def batches(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """The texts, in any order, in groups for `translate`; looks ahead a bounded number of texts."""

    def translate(self, texts: Sequence[str]) -> list[str | None]:
        """The translations in order; None for a text that is too long. Raises UserError where it must stop."""

    def stop(self) -> None:
        """Make calls of `translate` in other threads give up waiting."""


def in_groups(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lists of `size` texts; the last may be shorter."""
    waiting = iter(texts)
    while group := list(islice(waiting, size)):
        yield group
