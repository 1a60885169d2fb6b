"""Similar hashes found in memory: the same pairs as by comparing all, and as DuckDB finds."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.pictures.looks import near_looks, neighbours
from clip_italian.pictures.near import near_pairs
from clip_italian.pictures.phash import alike, packed
from tests.pictures.test_near import HASHES, PLAIN


def pairs_of(hashes, distance):
    looks = np.array([list(packed(one)) for one in hashes], np.uint8).reshape(-1, 14)
    return {(int(a), int(b)) for left, right in near_looks(looks, distance) for a, b in zip(left, right, strict=True)}


@settings(deadline=None, max_examples=100)
@given(st.lists(st.one_of(HASHES, PLAIN), max_size=25), st.integers(0, 10))
def test_pairs_equal_a_brute_force_comparison(hashes, distance):
    expected = {(i, j) for i, j in combinations(range(len(hashes)), 2) if alike(hashes[i], hashes[j], distance)}
    assert pairs_of(hashes, distance) == expected


def test_pairs_equal_those_of_the_join_on_disk(monkeypatch):
    monkeypatch.setattr("clip_italian.pictures.looks._PAIRS", 100)
    numbers = np.random.default_rng(0)
    outlines = [int(v) for v in numbers.integers(1, 2**63, 400, dtype=np.int64)]
    outlines += [one ^ sum(1 << int(bit) for bit in numbers.choice(64, 5)) for one in outlines]
    hashes = [f"{one:016x}-{bytes(numbers.integers(90, 104, 6).tolist()).hex()}" for one in outlines]
    found = near_pairs(hashes, 4)
    assert len(found) > 10
    assert pairs_of(hashes, 4) == set(found)


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_neighbours_come_once_and_in_bounded_arrays(most):
    ends = np.array([3, 3, 3, 3, 7, 7, 7])
    parts = list(neighbours(ends, most))
    assert [pair for a, b in parts for pair in zip(a.tolist(), b.tolist(), strict=True)] == [
        (i, j) for i, end in enumerate(ends) for j in range(i + 1, end)
    ]
    assert all(len(a) <= max(most, 2) for a, _ in parts)
    assert list(neighbours(np.zeros(0, np.int64), 5)) == []
