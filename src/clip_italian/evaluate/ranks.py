"""Ranks over a full gallery, and what is computed from ranks: MRR@K, R@K, median and mean.

A query may have several right answers; its rank is that of the best one among the wrong ones,
counted from 1. Ties count against the model: a wrong answer with the same score stands before.
Scores that differ by no more than `TIE` are the same: a matrix product may give one and the same pair of
vectors slightly different scores depending on where in the matrix it stands (9e-8 were seen).

40,000 pictures against 200,000 captions of 512 dimensions, both directions: 72 s of processor time in all.
Memory beside the embeddings: some 10 MB a thread, at most 8 threads.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from clip_italian.errors import UserError
from clip_italian.evaluate.embeddings import same_dimension, unit

TIE = 1e-6
TIE_RULE = (
    "pessimistic: a wrong answer with an equal score counts as ranked before the right one "
    f"(equal: cosines within {TIE:.0e})"
)
CUTOFFS = (1, 5, 10)  # of MRR@K, as in the paper
RECALL_CUTOFFS = (1, 5, 10, 50, 100)
_ROWS, _COLUMNS = 512, 2048  # scores at a time in a thread, 4 MB: larger blocks are no faster
_MOST_THREADS = 8
_MOST_OF_A_BYTE = 255


@dataclass(frozen=True)
class _Right:
    """Right answers as pairs of a query and a gallery row, (p,) int64 each, sorted by query."""

    queries: np.ndarray
    gallery: np.ndarray


def ranks(queries: np.ndarray, gallery: np.ndarray, relevant: Sequence[Sequence[int]]) -> np.ndarray:
    """Rank of the best right answer of each query: (q,) int64, 1 is best.

    `queries` (q, d) and `gallery` (g, d) of any length, compared by cosine; `relevant[i]` lists the gallery
    rows that answer query i (at least one). Raises UserError for embeddings that cannot be compared.
    """
    queries, gallery, right = _prepared(queries, gallery, relevant)
    floors = _floors(_scores(queries, gallery, right), right.queries, len(queries), "query")
    return 1 + _count(queries, gallery, right, floors, None)[0]


def ranks_both_ways(
    queries: np.ndarray, gallery: np.ndarray, relevant: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """The same, and the ranks of gallery rows that look for the queries they answer: (q,) and (g,) int64.

    Every score is computed once. Each gallery row must answer a query.
    """
    queries, gallery, right = _prepared(queries, gallery, relevant)
    scores = _scores(queries, gallery, right)
    floors = _floors(scores, right.queries, len(queries), "query")
    gallery_floors = _floors(scores, right.gallery, len(gallery), "gallery row")
    first, second = _count(queries, gallery, right, floors, gallery_floors)
    return 1 + first, 1 + second


def mrr(found: np.ndarray, k: int) -> float:
    """Mean reciprocal rank within the first k, 0 beyond (the paper's MRR@K)."""
    return float(_reciprocal(found, k).mean())


def recall(found: np.ndarray, k: int) -> float:
    """Share of queries whose right answer is among the first k."""
    return float((found <= k).mean())


def by_query(found: np.ndarray) -> dict[str, np.ndarray]:
    """What each query adds to the figures that are means: (q,) float64 by the figure's name."""
    values = {f"MRR@{k}": _reciprocal(found, k) for k in CUTOFFS}
    values |= {f"R@{k}": (found <= k).astype(np.float64) for k in RECALL_CUTOFFS}
    return values | {"mean_rank": found.astype(np.float64)}


def summary(found: np.ndarray, gallery: int) -> dict[str, float | int]:
    """All retrieval figures of one direction, with the number of queries and the gallery size."""
    figures: dict[str, float | int] = {name: float(values.mean()) for name, values in by_query(found).items()}
    mean = figures.pop("mean_rank")
    return figures | {
        "median_rank": float(np.median(found)), "mean_rank": mean, "queries": len(found), "gallery": gallery,
    }  # fmt: skip


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
    places = np.arange(1, gallery + 1)
    reciprocal = at_rank / places
    figures: dict[str, float | int] = {f"MRR@{k}": float(reciprocal[:k].sum()) for k in CUTOFFS}
    figures |= {f"R@{k}": float(at_rank[:k].sum()) for k in RECALL_CUTOFFS}
    median = int(np.searchsorted(np.cumsum(at_rank), 0.5)) + 1
    mean = float((at_rank * places).sum())
    return figures | {"median_rank": float(median), "mean_rank": mean, "queries": total, "gallery": gallery}


def rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures with four decimals, those inside too, for files that people read."""

    def short(value: Any) -> Any:
        if isinstance(value, float):
            return round(value, 4)
        if isinstance(value, Mapping):
            return rounded(value)
        return [short(part) for part in value] if isinstance(value, list | tuple) else value

    return {name: short(value) for name, value in figures.items()}


def _reciprocal(found: np.ndarray, k: int) -> np.ndarray:
    return np.where(found <= k, 1.0 / found, 0.0)


def _prepared(
    queries: np.ndarray, gallery: np.ndarray, relevant: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray, _Right]:
    queries, gallery = unit(queries, "queries"), unit(gallery, "gallery")
    same_dimension(queries, gallery, "queries", "gallery rows")
    rows = np.repeat(np.arange(len(relevant)), [len(answers) for answers in relevant])
    columns = np.fromiter((row for answers in relevant for row in answers), np.int64, len(rows))
    return queries, gallery, _Right(rows, columns)


def _scores(queries: np.ndarray, gallery: np.ndarray, right: _Right) -> np.ndarray:
    """Score of every right pair: (p,) float64."""
    scores = np.empty(len(right.queries))
    for start in range(0, len(scores), _COLUMNS):
        some = slice(start, start + _COLUMNS)
        pairs = queries[right.queries[some]], gallery[right.gallery[some]]
        scores[some] = np.einsum("pd,pd->p", *pairs, dtype=np.float64)
    return scores


def _floors(scores: np.ndarray, owners: np.ndarray, count: int, what: str) -> np.ndarray:
    """For each owner the least score that ties with its best right answer: (count,) float32."""
    best = np.full(count, -np.inf)
    np.maximum.at(best, owners, scores)
    if np.isneginf(best).any():
        raise UserError(f"{what} {np.flatnonzero(np.isneginf(best))[0] + 1} has no right answer; leave it out")
    return (best - TIE).astype(np.float32)


def _count(
    queries: np.ndarray, gallery: np.ndarray, right: _Right, floors: np.ndarray, gallery_floors: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """How many wrong answers reach the floor of each query (q,), and of each gallery row (g,) where it has one."""

    def strip(start: int) -> tuple[np.ndarray, np.ndarray]:
        mine = slice(*np.searchsorted(right.queries, (start, start + _ROWS)))
        rows, columns = right.queries[mine] - start, right.gallery[mine]
        block = queries[start : start + _ROWS]
        by_row = np.zeros(len(block), np.int64)
        by_column = np.zeros(len(gallery), np.int64)
        for left in range(0, len(gallery), _COLUMNS):
            some = slice(left, left + _COLUMNS)
            scores = block @ gallery[some].T
            here = (columns >= left) & (columns < left + _COLUMNS)
            scores[rows[here], columns[here] - left] = -np.inf
            reached = scores >= floors[start : start + _ROWS, None]
            by_row += [np.count_nonzero(line) for line in reached]
            if gallery_floors is not None:
                np.greater_equal(scores, gallery_floors[some], out=reached)
                by_column[some] += _true_by_column(reached)
        return by_row, by_column

    starts = range(0, len(queries), _ROWS)
    if len(starts) == 1:
        return strip(0)
    # One thread of BLAS a strip: counting, which BLAS does not do, runs on all cores too.
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    above = np.zeros(len(gallery), np.int64)
    found = []
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        for by_row, by_column in pool.map(strip, starts):
            found.append(by_row)
            above += by_column
    return np.concatenate(found), above


def _true_by_column(reached: np.ndarray) -> np.ndarray:
    """Count of true values in each column: bytes are added as bytes, many times faster than as int64."""
    bytes_ = reached.view(np.uint8)
    total = np.zeros(reached.shape[1], np.int64)
    for start in range(0, len(bytes_), _MOST_OF_A_BYTE):
        total += np.add.reduce(bytes_[start : start + _MOST_OF_A_BYTE], axis=0, dtype=np.uint8)
    return total
