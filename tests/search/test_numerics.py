import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage, special

from clip_italian.search.numerics import connected, expit, smooth, softmax

VALUES = st.floats(-1e4, 1e4)
SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=70)


@given(arrays.arrays(np.float64, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=VALUES))
@settings(max_examples=50, deadline=None)
def test_softmax_is_that_of_scipy(values):
    assert softmax(values) == pytest.approx(special.softmax(values, axis=1), rel=1e-12, abs=1e-300)


@given(arrays.arrays(np.float64, arrays.array_shapes(min_dims=0, max_dims=3, max_side=5), elements=VALUES))
@settings(max_examples=50, deadline=None)
def test_expit_is_that_of_scipy(values):
    found = expit(values)
    assert found.shape == values.shape
    assert found == pytest.approx(special.expit(values), rel=1e-12, abs=1e-300)


def test_expit_of_extremes_without_a_warning():
    with np.errstate(all="raise", under="ignore"):
        assert expit(np.array([-np.inf, -800.0, -0.0, 0.0, 800.0, np.inf])).tolist() == [0, 0, 0.5, 0.5, 1, 1]


@pytest.mark.parametrize("shape", [(64, 48), (48, 64), (1, 64), (64, 1), (1, 1), (2, 3), (64, 64)])
@pytest.mark.parametrize("sigma", [1e-9, 0.4, 1.0, 2.5])
def test_smoothing_is_that_of_scipy(shape, sigma):
    grid = np.random.default_rng(0).normal(size=shape)
    before = grid.copy()
    expected = ndimage.gaussian_filter(grid, sigma, mode="nearest", truncate=4)
    assert smooth(grid, sigma) == pytest.approx(expected, rel=1e-13, abs=1e-15)
    assert (grid == before).all()


def test_smoothing_keeps_symmetry():
    grid = np.random.default_rng(0).random((20, 15))
    grid = grid + grid[::-1]
    found = smooth(grid, 1.0)
    assert (found == found[::-1]).all()


@given(SHAPES, st.integers(0, 1000), st.floats(0.2, 1))
@settings(max_examples=60, deadline=None)
def test_the_connected_part_is_that_of_scipy(shape, seed, share):
    numbers = np.random.default_rng(seed).random(shape)
    mask = numbers <= share
    row, column = np.unravel_index(numbers.argmin(), shape)
    mask[row, column] = True
    parts, _ = ndimage.label(mask)
    assert (connected(mask, row, column) == (parts == parts[row, column])).all()


def test_a_spiral_is_one_part_and_corners_do_not_connect():
    spiral = np.array([[1, 1, 1, 1], [0, 0, 0, 1], [1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]], bool)
    assert (connected(spiral, 0, 0) == spiral).all()
    assert connected(np.eye(3, dtype=bool), 1, 1).sum() == 1
