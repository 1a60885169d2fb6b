"""Seeded random sample of a stream, in memory proportional to the sample."""

from collections.abc import Iterator
from hashlib import blake2b
from heapq import heappush, heappushpop
from typing import Generic, TypeVar

T = TypeVar("T")


class Sample(Generic[T]):
    """At most `size` of the values added, those whose keys have the smallest seeded hashes.

    The same keys and seed give the same sample in the same order, however the input is sorted or divided into
    files. Of several values with the same key the first counts.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._negated_hashes: list[int] = []
        self._chosen: dict[int, T] = {}

    def add(self, key: str, value: T) -> None:
        """Add a value to the stream that is sampled."""
        seeded = f"{self._seed}\0{key}".encode("utf-8", "surrogatepass")
        rank = int.from_bytes(blake2b(seeded, digest_size=16).digest())
        if rank in self._chosen or self._size == 0:
            return
        if len(self._chosen) < self._size:
            heappush(self._negated_hashes, -rank)
        elif rank < -self._negated_hashes[0]:
            del self._chosen[-heappushpop(self._negated_hashes, -rank)]
        else:
            return
        self._chosen[rank] = value

    def __iter__(self) -> Iterator[T]:
        """The sampled values, in an order that the seed decides."""
        return (self._chosen[rank] for rank in sorted(self._chosen))

    def __len__(self) -> int:
        return len(self._chosen)
