"""The interface of translation engines."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

# Everything that decides a translation, as JSON data: engine, languages and options.
Identity = Mapping[str, str | int | None]


class Engine(ABC):
    """Translates texts. `translate` is called in `parallel` threads at once."""

    parallel: int

    @property
    @abstractmethod
    def identity(self) -> Identity:
        """Key of this engine's translations in the cache."""

    @abstractmethod
    def characters(self, text: str) -> int:
        """Number of characters that the text uses of a budget."""

    @abstractmethod
    def quota(self) -> int | None:
        """Characters that the account may still translate; None if there is no limit or it is unknown.

        Raises UserError if the engine cannot work at all.
        """

    @abstractmethod
    def batches(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """The texts, in any order, in batches for `translate`; reads a bounded number of texts ahead."""

    @abstractmethod
    def translate(self, texts: Sequence[str]) -> list[str | None]:
        """The translations in order; None for a text that is too long. Raises UserError if it has to stop."""

    @abstractmethod
    def stop(self) -> None:
        """Make calls of `translate` in other threads stop waiting for retries."""


def in_groups(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lists of `size` texts; the last may be shorter."""
    waiting = iter(texts)
    while group := list(islice(waiting, size)):
        yield group
