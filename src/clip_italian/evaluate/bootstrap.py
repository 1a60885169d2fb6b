"""Percentile bootstrap by picture (Efron and Tibshirani 1993, chapters 13 and 16): intervals and paired differences.

Captions of one picture are not independent observations, so a resample draws whole pictures with all their captions.
A caption that several pictures share counts for each of them in equal parts, so that a resample with every picture once
gives the figure itself. The same seed and number of pictures give the same resamples for every model, which pairs them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVEL = 0.95
MEDIAN = "median_rank"
_CHUNK = 2_000_000  # numbers in a chunk of resamples, 16 MB


@dataclass(frozen=True)
class Resampling:
    """Number of resamples and their random seed."""

    resamples: int = 1000
    seed: int = 0

    def facts(self) -> dict[str, Any]:
        """The settings as result files have them."""
        return {"resamples": self.resamples, "seed": self.seed, "by": "picture", "level": LEVEL, "kind": "percentile"}


@dataclass(frozen=True)
class Owners:
    """The pictures that each query's value counts for: parallel arrays (p,) of query, picture and share.

    `count` is the number of all pictures.
    """

    queries: np.ndarray
    pictures: np.ndarray
    shares: np.ndarray
    count: int


def owners(pictures_of: Sequence[Sequence[int]], count: int) -> Owners:
    """Owners of queries that pictures share equally; `pictures_of[q]` lists the pictures of query q."""
    lengths = np.array([len(rows) for rows in pictures_of])
    queries = np.repeat(np.arange(len(pictures_of)), lengths)
    pictures = np.fromiter((row for rows in pictures_of for row in rows), np.int64, len(queries))
    return Owners(queries, pictures, 1.0 / lengths[queries], count)


def own(count: int) -> Owners:
    """Owners of queries that are the pictures themselves."""
    rows = np.arange(count)
    return Owners(rows, rows, np.ones(count), count)


def intervals(
    values: Mapping[str, np.ndarray], rank: np.ndarray | None, owners: Owners, resampling: Resampling
) -> dict[str, list[float]]:
    """Intervals [low, high] of the mean of each of `values` (q,), and of the median of `rank` (q,), if given."""
    drawn = _resampled(values, rank, owners, resampling)
    return {name: _percentiles(samples) for name, samples in drawn.items()}


def paired(
    first: np.ndarray, second: np.ndarray, by_query: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    owners: Owners, resampling: Resampling,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Differences second - first of two models' ranks (q,) of the same queries, by figure.

    `by_query` returns the values whose means are the figures. An entry has the `difference`, its `interval`
    [low, high], and a two-sided `p`: twice the smaller share of resamples on one side of 0, ties counted on both.
    """
    figures = {}
    samples = [_resampled(by_query(rank), rank, owners, resampling) for rank in (first, second)]
    means = [_figures(by_query(rank), rank) for rank in (first, second)]
    for name in means[0]:
        drawn = samples[1][name] - samples[0][name]
        sides = (np.count_nonzero(drawn <= 0) + 1, np.count_nonzero(drawn >= 0) + 1)
        figures[name] = {
            "difference": means[1][name] - means[0][name],
            "interval": _percentiles(drawn),
            "p": min(1.0, 2 * min(sides) / (resampling.resamples + 1)),
        }
    return figures


def _figures(values: Mapping[str, np.ndarray], rank: np.ndarray) -> dict[str, float]:
    return {name: float(part.mean()) for name, part in values.items()} | {MEDIAN: float(np.median(rank))}


def _percentiles(samples: np.ndarray) -> list[float]:
    tail = 50 * (1 - LEVEL)
    return [float(edge) for edge in np.percentile(samples, (tail, 100 - tail))]


def _resampled(
    values: Mapping[str, np.ndarray], rank: np.ndarray | None, owners: Owners, resampling: Resampling
) -> dict[str, np.ndarray]:
    """Each figure in each resample: (resamples,)."""
    parts = {name: _by_picture(part, owners) for name, part in values.items()}
    sums = np.stack(list(parts.values()), axis=1)
    weights = _by_picture(np.ones(int(owners.queries.max()) + 1), owners)
    order = None if rank is None else np.argsort(rank[owners.queries], kind="stable")
    means, medians = [], []
    for drawn in _draws(owners.count, len(owners.queries), resampling):
        means.append((drawn @ sums) / (drawn @ weights)[:, None])
        if rank is not None and order is not None:
            shares = drawn[:, owners.pictures[order]] * owners.shares[order]
            medians.append(_medians(rank[owners.queries][order], shares))
    result = dict(zip(parts, np.concatenate(means).T, strict=True))
    return result | ({MEDIAN: np.concatenate(medians)} if medians else {})


def _by_picture(values: np.ndarray, owners: Owners) -> np.ndarray:
    return np.bincount(owners.pictures, values[owners.queries] * owners.shares, owners.count)


def _draws(count: int, size: int, resampling: Resampling) -> Iterator[np.ndarray]:
    """Number of times each picture is drawn, in chunks of resamples: (r, count) float64.

    Each resample has its own generator, so that the result does not depend on the size of the chunks.
    """
    seeds = np.random.SeedSequence(resampling.seed).spawn(resampling.resamples)
    step = max(1, _CHUNK // max(size, count))
    for start in range(0, len(seeds), step):
        some = (np.random.default_rng(seed).integers(0, count, count) for seed in seeds[start : start + step])
        yield np.stack([np.bincount(rows, minlength=count) for rows in some]).astype(np.float64)


def _medians(sorted_values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted medians of ascending values (p,) for each row of weights (r, p); between two values, their mean."""
    reached = np.cumsum(weights, axis=1)
    half = reached[:, -1:] / 2
    margin = 1e-9 * half
    low = (reached >= half - margin).argmax(axis=1)
    high = (reached > half + margin).argmax(axis=1)
    return (sorted_values[low] + sorted_values[high]) / 2
