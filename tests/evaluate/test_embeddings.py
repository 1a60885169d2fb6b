import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.errors import UserError
from clip_italian.evaluate.embeddings import same_dimension, unit


def test_unit_vectors_stay_where_they_are():
    rows = np.array([[0.6, 0.8], [1, 0]], np.float32)
    assert unit(rows) is rows


@settings(deadline=None, max_examples=50)
@given(st.sampled_from([np.float16, np.float32, np.float64]), st.floats(-100, 100), st.integers(0, 1000))
def test_lengths_are_one_whatever_they_were(kind, power, seed):
    scale = 10.0 ** np.clip(power, *{np.float16: (-2, 2), np.float32: (-30, 30), np.float64: (-100, 100)}[kind])
    rows = np.random.default_rng(seed).normal(size=(4, 5))
    scaled = unit((rows * scale).astype(kind))
    assert scaled.dtype == np.float32
    assert scaled == pytest.approx(rows / np.linalg.norm(rows, axis=1, keepdims=True), abs=0.02)


def test_bad_ones_are_named_beyond_the_first_chunk():
    rows = np.ones((10_000, 2), np.float32)
    rows[9_000, 1] = np.inf
    with pytest.raises(UserError, match=r"captions: 1 of 10,000 embeddings are not finite.* number 9001"):
        unit(rows, "captions")
    with pytest.raises(UserError, match="an array of 3"):
        unit(np.ones(3))


def test_two_dimensions_are_two_models():
    same_dimension(np.ones((2, 3)), np.ones((5, 3)), "a", "b")
    with pytest.raises(UserError, match="a have 3 dimensions, b 4: they come from different models"):
        same_dimension(np.ones((2, 3)), np.ones((2, 4)), "a", "b")
