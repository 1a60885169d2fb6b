"""Percentile bootstrap by picture (Efron and Tibshirani 1993, chapters 13 and 16): intervals, and paired differences.

Captions of one picture are no independent observations, so whole pictures are drawn, with all their captions.
A caption that several pictures share counts for each of them in equal parts, so that every picture drawn once
gives the figure itself. The same seed and number of pictures draw the same pictures for every model: that is
what pairs them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVEL = 0.95
MEDIAN = "median_rank"
_NUMBERS = 2_000_000  # of a chunk of resamples, 16 MB


@dataclass(frozen=True)
class Resampling:
    """How many resamples, and the seed that draws them."""

    resamples: int = 1000
    seed: int = 0

    def facts(self) -> dict[str, Any]:
        """For result files."""
        return {"resamples": self.resamples, "seed": self.seed, "by": "picture", "level": LEVEL, "kind": "percentile"}


@dataclass(frozen=True)
class Owners:
    """Which picture a query's value counts for: parallel arrays (p,) of query, picture and share; `pictures` in all."""

    queries: np.ndarray
    pictures: np.ndarray
    shares: np.ndarray
    count: int


def owners(pictures_of: Sequence[Sequence[int]], count: int) -> Owners:
    """`pictures_of[q]` lists the pictures of query q, which share it equally."""
    lengths = np.array([len(rows) for rows in pictures_of])
    queries = np.repeat(np.arange(len(pictures_of)), lengths)
    pictures = np.fromiter((row for rows in pictures_of for row in rows), np.int64, len(queries))
    return Owners(queries, pictures, 1.0 / lengths[queries], count)


def own(count: int) -> Owners:
    """Each picture is a query itself."""
    rows = np.arange(count)
    return Owners(rows, rows, np.ones(count), count)


def intervals(
    values: Mapping[str, np.ndarray], found: np.ndarray | None, owners: Owners, settings: Resampling
) -> dict[str, list[float]]:
    """The interval of each mean of `values` (q,), and of the median of the ranks `found` (q,): [low, high]."""
    drawn = _resampled(values, found, owners, settings)
    return {name: _percentiles(samples) for name, samples in drawn.items()}


def paired(
    first: np.ndarray, second: np.ndarray, by_query: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    owners: Owners, settings: Resampling,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """The difference second - first of two models' ranks (q,) of the same queries, figure by figure.

    `by_query` makes the values whose means are the figures. Each entry: `difference`, `interval`
    [low, high], and `p`, two-sided: twice the smaller share of resamples on one side of 0, ties to both sides.
    """
    figures = {}
    samples = [_resampled(by_query(found), found, owners, settings) for found in (first, second)]
    means = [_figures(by_query(found), found) for found in (first, second)]
    for name in means[0]:
        drawn = samples[1][name] - samples[0][name]
        sides = (np.count_nonzero(drawn <= 0) + 1, np.count_nonzero(drawn >= 0) + 1)
        figures[name] = {
            "difference": means[1][name] - means[0][name],
            "interval": _percentiles(drawn),
            "p": min(1.0, 2 * min(sides) / (settings.resamples + 1)),
        }
    return figures


def _figures(values: Mapping[str, np.ndarray], found: np.ndarray) -> dict[str, float]:
    return {name: float(part.mean()) for name, part in values.items()} | {MEDIAN: float(np.median(found))}


def _percentiles(samples: np.ndarray) -> list[float]:
    tail = 50 * (1 - LEVEL)
    return [float(edge) for edge in np.percentile(samples, (tail, 100 - tail))]


def _resampled(
    values: Mapping[str, np.ndarray], found: np.ndarray | None, owners: Owners, settings: Resampling
) -> dict[str, np.ndarray]:
    """Each figure in each resample: (resamples,)."""
    parts = {name: _by_picture(part, owners) for name, part in values.items()}
    sums = np.stack(list(parts.values()), axis=1)
    weights = _by_picture(np.ones(int(owners.queries.max()) + 1), owners)
    order = None if found is None else np.argsort(found[owners.queries], kind="stable")
    means, medians = [], []
    for drawn in _draws(owners.count, len(owners.queries), settings):
        means.append((drawn @ sums) / (drawn @ weights)[:, None])
        if found is not None and order is not None:
            shares = drawn[:, owners.pictures[order]] * owners.shares[order]
            medians.append(_medians(found[owners.queries][order], shares))
    result = dict(zip(parts, np.concatenate(means).T, strict=True))
    return result | ({MEDIAN: np.concatenate(medians)} if medians else {})


def _by_picture(values: np.ndarray, owners: Owners) -> np.ndarray:
    return np.bincount(owners.pictures, values[owners.queries] * owners.shares, owners.count)


def _draws(count: int, size: int, settings: Resampling) -> Iterator[np.ndarray]:
    """How often each picture is drawn, some resamples at a time: (r, count) float64.

    Every resample has a generator of its own, so that the size of the chunks changes nothing.
    """
    seeds = np.random.SeedSequence(settings.seed).spawn(settings.resamples)
    step = max(1, _NUMBERS // max(size, count))
    for start in range(0, len(seeds), step):
        some = (np.random.default_rng(seed).integers(0, count, count) for seed in seeds[start : start + step])
        yield np.stack([np.bincount(rows, minlength=count) for rows in some]).astype(np.float64)


def _medians(sorted_values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted median of ascending values (p,) for each row of weights (r, p); between two values it is their mean."""
    reached = np.cumsum(weights, axis=1)
    half = reached[:, -1:] / 2
    margin = 1e-9 * half
    low = (reached >= half - margin).argmax(axis=1)
    high = (reached > half + margin).argmax(axis=1)
    return (sorted_values[low] + sorted_values[high]) / 2
