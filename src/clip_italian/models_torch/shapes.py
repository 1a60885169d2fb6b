"""Batches of texts in few shapes.

Kernels, their caches and the allocator keep something for each shape that they have seen (oneDNN 22 KB for each, up to
1,024 of them): a service to which any number of texts of any length may come grows until it has seen them all. So
lengths are rounded up to eights, and numbers of texts to `SIZES`. A batch is divided where that saves more padding
than it costs, so that short texts do not pay for a long one that came with them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from clip_italian.models.spelling import readable

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 48, 56, 64)
_STEP = 8  # tokens
_START = 48  # what a batch costs before its first token, in tokens: 30 ms of 0.65 ms each (12 layers of 384, one core)
_TOKENISED = 1_024  # texts that are tokenised and sorted together


class Batch(NamedTuple):
    """Texts (`rows`) that are embedded together: `size` of them, some of them only to fill it, of `length` tokens."""

    rows: list[int]
    size: int
    length: int


def encode_in_shapes(
    texts: Sequence[str], dim: int, longest: int, tokenise: Callable[[list[str]], list[list[int]]],
    embed: Callable[[list[list[int]], int], np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Embeddings (n, dim) of texts. `embed` makes those of some texts' token ids, filled up to a length.

    Raises TypeError for one text in place of a list, and for what is no text.
    """
    texts = readable(texts)
    result = np.empty((len(texts), dim), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # neighbours fill each other's batches
    for start in range(0, len(order), _TOKENISED):
        part = order[start : start + _TOKENISED]
        ids = tokenise([texts[i] for i in part])
        for batch in batches([len(one) for one in ids], longest):
            some = [ids[row] for row in batch.rows]
            some += some[-1:] * (batch.size - len(some))
            result[[part[row] for row in batch.rows]] = embed(some, batch.length)[: len(batch.rows)]
    return result


def batches(lengths: Sequence[int], longest: int) -> Iterator[Batch]:
    """Divide texts of so many tokens, `longest` at most, into batches that cost least together."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    rounded = [min(-(-lengths[row] // _STEP) * _STEP, longest) for row in order]
    # least[n]: cost of the n shortest, and how many of them are in the last batch.
    least = [(0, 0)]
    for end, length in enumerate(rounded, start=1):
        most = min(end, SIZES[-1])
        least.append(min((least[end - n][0] + _START + _size(n) * length, n) for n in range(1, most + 1)))
    end = len(order)
    while end:
        count = least[end][1]
        yield Batch(order[end - count : end], _size(count), rounded[end - 1])
        end -= count


def filled(ids: Sequence[Sequence[int]], length: int, pad: int, left: bool) -> dict[str, torch.Tensor]:
    """Token ids and mask (n, length) int64, padded at the end, or at the beginning with `left`."""
    found = np.full((len(ids), length), pad, dtype=np.int64)
    mask = np.zeros_like(found)
    for row, one in enumerate(ids):
        place = slice(length - len(one), None) if left else slice(len(one))
        found[row, place], mask[row, place] = one, 1
    return {"input_ids": torch.from_numpy(found), "attention_mask": torch.from_numpy(mask)}


def _size(count: int) -> int:
    return _ROUNDED[count]


_ROUNDED = [next(size for size in SIZES if size >= count) for count in range(SIZES[-1] + 1)]
