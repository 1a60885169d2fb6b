from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.pictures.near import near_pairs
from clip_italian.pictures.phash import alike

# Few different bits and colours, so that near, equal and flat ones occur.
OUTLINES = st.sets(st.sampled_from([0, 1, 5, 20, 21, 22, 40, 62, 63]), max_size=5).map(
    lambda bits: sum(1 << b for b in bits)
)
COLOURS = st.lists(st.sampled_from([0, 7, 8, 9, 17, 128, 250, 255]), min_size=6, max_size=6)
HASHES = st.builds(lambda outline, colour: f"{outline:016x}-{bytes(colour).hex()}", OUTLINES, COLOURS)
PLAIN = OUTLINES.map(lambda outline: f"{outline:016x}-808080808080")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.one_of(HASHES, PLAIN), max_size=25), st.integers(0, 10))
def test_pairs_equal_a_brute_force_comparison(hashes, distance):
    expected = [(i, j) for i, j in combinations(range(len(hashes)), 2) if alike(hashes[i], hashes[j], distance)]
    assert sorted(near_pairs(hashes, distance)) == expected


def test_random_outlines_with_planted_neighbours():
    numbers = np.random.default_rng(0)
    outlines = [int(v) for v in numbers.integers(1, 2**63, 3000, dtype=np.int64)]
    planted = []
    for i in range(0, 300, 3):
        flips = numbers.choice(64, size=int(numbers.integers(0, 7)), replace=False)
        planted.append((i, len(outlines), len(flips)))
        outlines.append(outlines[i] ^ sum(1 << int(bit) for bit in flips))
    found = set(near_pairs([f"{outline:016x}-101010101010" for outline in outlines], 4))
    assert found == {(i, j) for i, j, bits in planted if bits <= 4}


def test_none_and_one():
    assert list(near_pairs([], 4)) == []
    assert list(near_pairs(["00000000000000ff-808080808080"], 4)) == []


def test_an_invalid_hash_is_an_error():
    with pytest.raises(ValueError, match="not a picture hash"):
        list(near_pairs(["x"], 4))
