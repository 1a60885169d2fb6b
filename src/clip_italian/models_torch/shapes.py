"""Bucketed batches of texts: a limited number of tensor shapes, with little padding.

Kernels, their caches and the allocator keep state for every shape (oneDNN: 22 KB each, up to 1,024 shapes), so the
memory of a service that embeds arbitrary batches grows until it has seen them all. Lengths are therefore rounded up to
multiples of 8, and batch sizes to `SIZES`. A batch is split if that saves more padding than it costs, so that short
texts are not padded to the length of a long one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from clip_italian.models.spelling import replace_surrogates

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 48, 56, 64)
_STEP = 8  # tokens
_OVERHEAD = 48  # fixed cost of a batch, in tokens: 30 ms at 0.65 ms per token (12 layers of 384, one core)
_TOKENISED = 1_024  # number of texts that are tokenised and sorted together


class Batch(NamedTuple):
    """Texts to embed together, by row number; the tensor is (size, length), with repeated texts to fill it."""

    rows: list[int]
    size: int
    length: int


def encode_in_buckets(
    texts: Sequence[str], dim: int, longest: int, tokenise: Callable[[list[str]], list[list[int]]],
    embed: Callable[[list[list[int]], int], np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Return embeddings (n, dim) of texts; `embed` gets the token ids of a batch and the length to pad them to.

    Raises TypeError for a single string instead of a list, and for items that are not strings.
    """
    texts = replace_surrogates(texts)
    result = np.empty((len(texts), dim), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # batch texts of similar length
    for start in range(0, len(order), _TOKENISED):
        part = order[start : start + _TOKENISED]
        ids = tokenise([texts[i] for i in part])
        for batch in batches([len(one) for one in ids], longest):
            members = [ids[row] for row in batch.rows]
            members += members[-1:] * (batch.size - len(members))
            result[[part[row] for row in batch.rows]] = embed(members, batch.length)[: len(batch.rows)]
    return result


def batches(lengths: Sequence[int], longest: int) -> Iterator[Batch]:
    """Split texts of the given lengths, at most `longest` tokens, into batches of minimal total cost."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    rounded = [min(-(-lengths[row] // _STEP) * _STEP, longest) for row in order]
    # least[n]: minimal cost of the n shortest texts, and the number of them in the last batch.
    least = [(0, 0)]
    for end, length in enumerate(rounded, start=1):
        most = min(end, SIZES[-1])
        least.append(min((least[end - n][0] + _OVERHEAD + _size(n) * length, n) for n in range(1, most + 1)))
    end = len(order)
    while end:
        count = least[end][1]
        yield Batch(order[end - count : end], _size(count), rounded[end - 1])
        end -= count


def pad_ids(ids: Sequence[Sequence[int]], length: int, pad: int, left: bool) -> dict[str, torch.Tensor]:
    """Return token ids and attention mask (n, length) int64, padded on the right, or on the left with `left`."""
    padded = np.full((len(ids), length), pad, dtype=np.int64)
    mask = np.zeros_like(padded)
    for row, one in enumerate(ids):
        span = slice(length - len(one), None) if left else slice(len(one))
        padded[row, span], mask[row, span] = one, 1
    return {"input_ids": torch.from_numpy(padded), "attention_mask": torch.from_numpy(mask)}


def _size(count: int) -> int:
    return _ROUNDED[count]


_ROUNDED = [next(size for size in SIZES if size >= count) for count in range(SIZES[-1] + 1)]
