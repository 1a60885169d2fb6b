"""A seeded sample of a stream, in memory of the sample's size."""

from collections.abc import Iterator
from hashlib import blake2b
from heapq import heappush, heappushpop
from typing import Generic, TypeVar

T = TypeVar("T")


class Sample(Generic[T]):
    """At most `size` of the values added, drawn by the hashes of their keys.

    The same keys and seed give the same sample in the same order, however the input is sorted or divided
    into files. Of values with one key only the first counts.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._largest_first: list[int] = []
        self._chosen: dict[int, T] = {}

    def add(self, key: str, value: T) -> None:
        """Offer a value."""
        seeded = f"{self._seed}\0{key}".encode("utf-8", "surrogatepass")
        place = int.from_bytes(blake2b(seeded, digest_size=16).digest())
        if place in self._chosen or self._size == 0:
            return
        if len(self._chosen) < self._size:
            heappush(self._largest_first, -place)
        elif place < -self._largest_first[0]:
            del self._chosen[-heappushpop(self._largest_first, -place)]
        else:
            return
        self._chosen[place] = value

    def __iter__(self) -> Iterator[T]:
        """The values drawn, in an order that the seed decides."""
        return (self._chosen[place] for place in sorted(self._chosen))

    def __len__(self) -> int:
        return len(self._chosen)
