"""Ranks over a full gallery, and what is computed from ranks: MRR@K, R@K, median.

A query may have several right answers; its rank is that of the best one among the wrong ones,
counted from 1. Ties count against the model: a wrong answer with the same score stands before.
"""

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np

TIE_RULE = "pessimistic: a wrong answer with an equal score counts as ranked before the right one"
CUTOFFS = (1, 5, 10)
_CHUNK = 1024


def ranks(queries: np.ndarray, gallery: np.ndarray, relevant: Sequence[Sequence[int]]) -> np.ndarray:
    """Rank of the best right answer of each query: (q,) int64, 1 is best.

    `queries` (q, d) and `gallery` (g, d) have unit length; `relevant[i]` lists the gallery rows
    that answer query i (at least one). Memory: 1024 x g float32 at a time.
    """
    result = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), _CHUNK):
        scores = queries[start : start + _CHUNK] @ gallery.T
        for row, line in enumerate(scores, start=start):
            right = list(relevant[row])
            best = line[right].max()
            line[right] = -np.inf
            result[row] = 1 + np.count_nonzero(line >= best)
    return result


def mrr(found: np.ndarray, k: int) -> float:
    """Mean reciprocal rank within the first k, 0 beyond (the paper's MRR@K)."""
    return float(np.where(found <= k, 1.0 / found, 0.0).mean())


def recall(found: np.ndarray, k: int) -> float:
    """Share of queries whose right answer is among the first k."""
    return float((found <= k).mean())


def summary(found: np.ndarray, gallery: int) -> dict[str, float | int]:
    """All retrieval figures of one direction, with the number of queries and the gallery size."""
    figures: dict[str, float | int] = {f"MRR@{k}": mrr(found, k) for k in CUTOFFS}
    figures |= {f"R@{k}": recall(found, k) for k in CUTOFFS}
    return figures | {"median_rank": float(np.median(found)), "queries": len(found), "gallery": gallery}


def chance(relevant: Sequence[Sequence[int]], gallery: int) -> dict[str, float | int]:
    """What a random order of the gallery would score on average, computed exactly.

    With r right answers among g, the best of them is at rank k with probability
    C(g - k, r - 1) / C(g, r).
    """
    counts = np.unique([len(set(answers)) for answers in relevant], return_counts=True)
    total = len(relevant)
    at_rank = np.zeros(gallery)
    for right, queries in zip(*(c.tolist() for c in counts), strict=True):
        ways = comb(gallery, right)
        at_rank += queries / total * np.array([comb(gallery - k, right - 1) / ways for k in range(1, gallery + 1)])
    reciprocal = at_rank / np.arange(1, gallery + 1)
    figures: dict[str, float | int] = {f"MRR@{k}": float(reciprocal[:k].sum()) for k in CUTOFFS}
    figures |= {f"R@{k}": float(at_rank[:k].sum()) for k in CUTOFFS}
    median = int(np.searchsorted(np.cumsum(at_rank), 0.5)) + 1
    return figures | {"median_rank": float(median), "queries": total, "gallery": gallery}


def rounded(figures: Mapping[str, float | int]) -> dict[str, float | int]:
    """Figures with four decimals, for files that people read."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}
