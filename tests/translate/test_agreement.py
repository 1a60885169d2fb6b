"""Gwet's coefficients against published figures, a formula by hand and what must hold for any ratings."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clip_italian.translate.agreement import Weighting, count, gwet, weights

NONE = None
# Gwet (2014), page 120; also cac.raw4raters of the R package irrCAC: 12 units by 4 raters.
FOUR_RATERS = [
    (1, 1, NONE, 1), (2, 2, 3, 2), (3, 3, 3, 3), (3, 3, 3, 3), (2, 2, 2, 2), (1, 2, 3, 4),
    (4, 4, 4, 4), (1, 1, 2, 1), (2, 2, 2, 2), (NONE, 5, 5, 5), (NONE, NONE, 1, 1), (NONE, NONE, 3, NONE),
]  # fmt: skip

# distrib.6raters of irrCAC (Fleiss' psychiatric diagnoses): 15 patients, of 6 raters each.
SIX_RATERS = [
    (0, 0, 0, 6, 0), (0, 3, 0, 0, 3), (0, 1, 4, 0, 1), (0, 0, 0, 0, 6), (0, 3, 0, 3, 0),
    (2, 0, 4, 0, 0), (0, 0, 4, 0, 2), (2, 0, 3, 1, 0), (2, 0, 0, 4, 0), (0, 0, 0, 0, 6),
    (1, 0, 0, 5, 0), (1, 1, 0, 4, 0), (0, 3, 3, 0, 0), (1, 0, 0, 5, 0), (0, 2, 0, 3, 1),
]  # fmt: skip

# cont3x3abstractors of irrCAC (Gwet 2014): two abstractors' diagnoses of 100 patients.
TWO_RATERS = [[13, 0, 0], [0, 20, 7], [0, 4, 56]]


def two_raters():
    return [(i, k) for i in range(3) for k in range(3) for _ in range(TWO_RATERS[i][k])]


@pytest.mark.parametrize(
    ("weighting", "coefficient", "error", "low", "observed", "expected"),
    [
        # irrCAC's README and the documentation of its port to Python
        (Weighting.identity, 0.77544, 0.14295, 0.46081, 0.81818, 0.19032),
        (Weighting.quadratic, 0.914, 0.10396, 0.68518, 0.97538, 0.7137),
    ],
)
def test_four_raters_to_five_digits(weighting, coefficient, error, low, observed, expected):
    found = gwet(count(FOUR_RATERS, range(1, 6)), weighting)
    assert found.coefficient == pytest.approx(coefficient, abs=5.1e-6)
    assert found.standard_error == pytest.approx(error, abs=5.1e-6)
    assert found.low == pytest.approx(low, abs=5.1e-6)
    assert found.high == 1
    assert found.observed == pytest.approx(observed, abs=5.1e-6)
    assert found.expected == pytest.approx(expected, abs=5.1e-6)
    assert (found.items, found.shared) == (12, 11)


@pytest.mark.parametrize(
    ("weighting", "coefficient", "error", "low", "observed", "expected"),
    [
        # the port's tests, which hold irrCAC's figures to three digits
        (Weighting.linear, 0.859, 0.117, 0.600, 0.939, 0.571),
        (Weighting.ordinal, 0.899, 0.107, 0.664, 0.968, 0.685),
    ],
)
def test_four_raters_to_three_digits(weighting, coefficient, error, low, observed, expected):
    found = gwet(count(FOUR_RATERS, range(1, 6)), weighting)
    figures = (found.coefficient, found.standard_error, found.low, found.observed, found.expected)
    assert figures == pytest.approx((coefficient, error, low, observed, expected), abs=5.1e-4)


def test_six_raters():
    """irrCAC's README: 0.4448007, 0.08418757, (0.264, 0.625), 0.5511111, 0.1914815."""
    found = gwet(np.array(SIX_RATERS, float), Weighting.identity)
    assert found.coefficient == pytest.approx(0.4448007, abs=5e-8)
    assert found.standard_error == pytest.approx(0.08418757, abs=5e-9)
    assert (found.low, found.high) == pytest.approx((0.264, 0.625), abs=5.1e-4)
    assert (found.observed, found.expected) == pytest.approx((0.5511111, 0.1914815), abs=5e-8)


@pytest.mark.parametrize(
    ("weighting", "coefficient", "low", "high"),
    [
        (Weighting.identity, 0.849, 0.764, 0.935),
        (Weighting.linear, 0.900, 0.842, 0.958),
        (Weighting.quadratic, 0.940, 0.905, 0.976),
        (Weighting.ordinal, 0.925, 0.881, 0.969),
    ],
)
def test_two_raters(weighting, coefficient, low, high):
    """irrCAC's figures for contingency tables, whose variance is divided by n² where ours is by n(n - 1)."""
    found = gwet(count(two_raters(), range(3)), weighting)
    assert found.coefficient == pytest.approx(coefficient, abs=5.1e-4)
    reach = (found.high - found.coefficient) * math.sqrt(99 / 100)
    assert (found.coefficient - reach, found.coefficient + reach) == pytest.approx((low, high), abs=5.1e-4)


def test_two_raters_to_seven_digits():
    found = gwet(count(two_raters(), range(3)), Weighting.identity)
    assert found.coefficient == pytest.approx(0.8493305, abs=5e-8)
    assert found.standard_error * math.sqrt(99 / 100) == pytest.approx(0.04321747, abs=5e-9)


def test_weights():
    """irrCAC's vignette on weights, and quadratic ones of five categories from its port's documentation."""
    assert weights(Weighting.identity, 3).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert weights(Weighting.linear, 3).tolist() == [[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]]
    assert weights(Weighting.quadratic, 5)[0].tolist() == [1, 0.9375, 0.75, 0.4375, 0]
    assert weights(Weighting.ordinal, 3)[0] == pytest.approx([1, 0.6666667, 0])
    # 1 - C(d + 1, 2) / C(q, 2) for a distance d
    assert weights(Weighting.ordinal, 4)[0] == pytest.approx([1, 5 / 6, 0.5, 0])


grades = st.integers(1, 4)
pairs = st.lists(st.tuples(grades, grades), min_size=2, max_size=30)
holed = st.lists(st.lists(st.none() | grades, min_size=3, max_size=3), min_size=2, max_size=20)


@given(pairs)
def test_ac1_of_two_raters_by_hand(ratings):
    """AC1 = (p - e) / (1 - e), e = sum of m(1 - m) / (q - 1), m the mean share of a category (Gwet 2008)."""
    n = len(ratings)
    p = sum(a == b for a, b in ratings) / n
    shares = [sum((a == k) + (b == k) for a, b in ratings) / (2 * n) for k in range(1, 5)]
    e = sum(m * (1 - m) for m in shares) / 3
    found = gwet(count(ratings, range(1, 5)), Weighting.identity)
    assert found.coefficient == pytest.approx((p - e) / (1 - e))
    assert found.observed == pytest.approx(p)


@given(holed, st.sampled_from(Weighting))
def test_what_must_hold(ratings, weighting):
    assume(any(sum(r is not None for r in row) > 1 for row in ratings))
    found = gwet(count(ratings, range(1, 5)), weighting)
    assert found.coefficient <= 1
    assert 0 <= found.observed <= 1
    assert 0 <= found.expected < 1
    # The order of raters and items, and items without ratings, change nothing.
    other = gwet(count([[None] * 3, *(row[::-1] for row in ratings[::-1])], range(1, 5)), weighting)
    assert other.coefficient == pytest.approx(found.coefficient)
    if found.standard_error is not None:
        assert found.low <= found.coefficient <= found.high <= 1
        assert other.standard_error == pytest.approx(found.standard_error)
    # Weights can only forgive: identity gives the least agreement before chance.
    assert found.observed >= gwet(count(ratings, range(1, 5)), Weighting.identity).observed - 1e-12


def test_one_item_has_no_error():
    found = gwet(count([(4, 4)], range(1, 5)), Weighting.linear)
    assert found.coefficient == 1
    assert found.standard_error is found.low is found.high is None


@pytest.mark.parametrize("ratings", [[], [(1, None), (None, 2)], [(None, None)]])
def test_nothing_shared(ratings):
    with pytest.raises(ValueError, match="two ratings"):
        gwet(count(ratings, range(1, 5)).reshape(-1, 4), Weighting.identity)
