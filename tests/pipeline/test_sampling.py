"""Seeded samples of a stream."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from clip_italian.pipeline.sampling import Sample


def drawn(keys, size, seed):
    sample = Sample(size, seed)
    for key in keys:
        sample.add(key, key.upper())
    return list(sample)


@given(st.lists(st.text(max_size=3)), st.integers(0, 8), st.integers(-(10**40), 10**40), st.randoms())
def test_only_keys_and_seed_decide(keys, size, seed, random):
    first = drawn(keys, size, seed)
    assert len(first) == min(size, len(set(keys)))
    assert Counter(first) <= Counter(key.upper() for key in set(keys))
    random.shuffle(keys)
    assert drawn(keys, size, seed) == first


def test_each_value_is_as_likely():
    keys = list("abcdefghij")
    often = Counter(key for seed in range(3_000) for key in drawn(keys, 3, seed))
    # 900 expected, standard deviation 25
    assert all(800 < often[key.upper()] < 1_000 for key in keys)
    first = Counter(drawn(keys, 3, seed)[0] for seed in range(3_000))
    assert all(220 < first[key.upper()] < 380 for key in keys)


def test_a_larger_sample_holds_the_smaller():
    keys = [str(number) for number in range(500)]
    assert drawn(keys, 50, 7)[:20] == drawn(keys, 20, 7)
    assert drawn(keys, 20, 8) != drawn(keys, 20, 7)
