"""Agreement among raters beyond chance: Gwet's AC1 and AC2.

K. L. Gwet, Handbook of Inter-Rater Reliability, 4th edition, 2014, chapters 3 to 5: any number of raters,
missing ratings, weights for ordered categories. AC1 is AC2 with identity weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # type: ignore[import-untyped]

CONFIDENCE = 0.95


class Weighting(StrEnum):
    """Weights of disagreement: none for different ratings, or more the closer they are."""

    identity = "identity"
    linear = "linear"
    quadratic = "quadratic"
    ordinal = "ordinal"


@dataclass(frozen=True)
class Agreement:
    """An agreement coefficient with its components.

    `low` and `high` bound the 95 % confidence interval for the population from which the items were drawn; they and
    `standard_error` are None for a single item. `observed` is the (weighted) share of agreement, `expected` the one by
    chance. `items` is the number of items with a rating, `shared` of those with two or more.
    """

    coefficient: float
    standard_error: float | None
    low: float | None
    high: float | None
    observed: float
    expected: float
    items: int
    shared: int


def weights(weighting: Weighting, categories: int) -> NDArray[np.float64]:
    """Square matrix of agreement (0 to 1) between ordered, equally spaced categories."""
    distance = np.abs(np.subtract.outer(np.arange(categories), np.arange(categories))).astype(float)
    farthest = max(categories - 1, 1)
    if weighting is Weighting.linear:
        return 1 - distance / farthest
    if weighting is Weighting.quadratic:
        return 1 - (distance / farthest) ** 2
    if weighting is Weighting.ordinal:
        # Number of pairs among the categories from one rating to the other.
        return 1 - distance * (distance + 1) / (farthest * (farthest + 1))
    return np.eye(categories)


def count(ratings: Sequence[Sequence[int | None]], categories: Sequence[int]) -> NDArray[np.float64]:
    """Number of raters by item (row) and category (column). None is a missing rating."""
    return np.array([[row.count(category) for category in categories] for row in map(list, ratings)], float)


def gwet(counts: NDArray[np.float64], weighting: Weighting) -> Agreement:
    """AC1 (identity weights) or AC2 of the number of raters by item (row) and category (column).

    Items without a rating are left out. Raises ValueError if no item has two ratings or if there are fewer than two
    categories.
    """
    counts = counts[counts.sum(axis=1) > 0]
    raters = counts.sum(axis=1)
    both = raters >= 2
    items, categories, shared = len(counts), counts.shape[1], int(both.sum())
    if shared == 0 or categories < 2:
        raise ValueError("agreement needs an item with two ratings and two categories")
    table = weights(weighting, categories)

    # Per item: the share of rater pairs that agree, and the share of each category.
    agreeing = (counts * (counts @ table - 1)).sum(axis=1) / np.where(both, raters * (raters - 1), 1)
    shares = counts / raters[:, None]
    prevalence = shares.mean(axis=0)
    factor = table.sum() / (categories * (categories - 1))
    observed = agreeing[both].mean()
    expected = factor * (prevalence * (1 - prevalence)).sum()
    coefficient = (observed - expected) / (1 - expected)

    # Contribution of each item to the coefficient; their variance gives its variance (Gwet 2014, section 5.3).
    by_item = np.where(both, items / shared * (agreeing - expected) / (1 - expected), 0)
    chance = factor * (shares * (1 - prevalence)).sum(axis=1)
    by_item = by_item - 2 * (1 - coefficient) * (chance - expected) / (1 - expected)
    error = low = high = None
    if items > 1:
        error = float(np.sqrt(((by_item - coefficient) ** 2).sum() / (items * (items - 1))))
        reach = float(stdtrit(items - 1, (1 + CONFIDENCE) / 2)) * error
        low, high = float(coefficient - reach), float(min(1, coefficient + reach))
    return Agreement(float(coefficient), error, low, high, float(observed), float(expected), items, shared)
