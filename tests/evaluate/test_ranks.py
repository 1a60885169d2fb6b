import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.errors import UserError
from clip_italian.evaluate import ranks


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_unit_vectors_stay_where_they_are():
    rows = np.array([[0.6, 0.8], [1, 0]], np.float32)
    assert ranks.unit(rows) is rows


@settings(deadline=None, max_examples=50)
@given(st.sampled_from([np.float16, np.float32, np.float64]), st.floats(-100, 100), st.integers(0, 1000))
def test_lengths_are_one_whatever_they_were(kind, power, seed):
    scale = 10.0 ** np.clip(power, *{np.float16: (-2, 2), np.float32: (-30, 30), np.float64: (-100, 100)}[kind])
    rows = np.random.default_rng(seed).normal(size=(4, 5))
    scaled = ranks.unit((rows * scale).astype(kind))
    assert scaled.dtype == np.float32
    assert scaled == pytest.approx(rows / np.linalg.norm(rows, axis=1, keepdims=True), abs=0.02)


def test_bad_ones_are_named_beyond_the_first_chunk():
    rows = np.ones((10_000, 2), np.float32)
    rows[9_000, 1] = np.inf
    with pytest.raises(UserError, match=r"captions: 1 of 10,000 embeddings are not finite.* number 9001"):
        ranks.unit(rows, "captions")
    with pytest.raises(UserError, match="an array of 3"):
        ranks.unit(np.ones(3))


def test_two_dimensions_are_two_models():
    ranks.same_dimension(np.ones((2, 3)), np.ones((5, 3)), "a", "b")
    with pytest.raises(UserError, match="a have 3 dimensions, b 4: they come from different models"):
        ranks.same_dimension(np.ones((2, 3)), np.ones((2, 4)), "a", "b")


def test_ranks_by_hand():
    # Query (1, 0) against cosines 0.6, 1.0, 0.8: the right answer, row 2, is second.
    gallery = np.array([[0.6, 0.8], [1.0, 0.0], [0.8, 0.6]], dtype=np.float32)
    queries = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    assert ranks.ranks(queries, gallery, [[2], [2]]).tolist() == [2, 2]
    assert ranks.ranks(queries, gallery, [[1], [0]]).tolist() == [1, 1]


def test_several_right_answers_take_the_best_and_do_not_stand_in_each_others_way():
    gallery = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=np.float32)
    query = np.array([[1.0, 0.0]], dtype=np.float32)
    assert ranks.ranks(query, gallery, [[0, 1]]).tolist() == [1]
    assert ranks.ranks(query, gallery, [[1, 2]]).tolist() == [2]


def test_ties_count_against_the_model():
    gallery = np.array([[1.0, 0.0]] * 4, dtype=np.float32)
    query = np.array([[1.0, 0.0]], dtype=np.float32)
    assert ranks.ranks(query, gallery, [[1]]).tolist() == [4]


def test_mrr_and_recall_by_hand():
    found = np.array([1, 2, 5, 11])
    assert ranks.mrr(found, 10) == pytest.approx((1 + 1 / 2 + 1 / 5 + 0) / 4)
    assert ranks.mrr(found, 1) == pytest.approx(1 / 4)
    assert ranks.recall(found, 5) == pytest.approx(3 / 4)
    figures = ranks.summary(found, gallery=20)
    assert figures["median_rank"] == 3.5
    assert figures["mean_rank"] == pytest.approx(19 / 4)
    assert [figures[f"R@{k}"] for k in (1, 5, 10, 50, 100)] == [1 / 4, 3 / 4, 3 / 4, 1, 1]
    assert figures["MRR@5"] == pytest.approx((1 + 1 / 2 + 1 / 5) / 4)
    assert (figures["queries"], figures["gallery"]) == (4, 20)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(2, 40), st.integers(0, 10**6))
def test_ranks_equal_a_full_sort(n_queries, n_gallery, seed):
    rng = np.random.default_rng(seed)
    queries = unit(rng.normal(size=(n_queries, 5))).astype(np.float32)
    gallery = unit(rng.normal(size=(n_gallery, 5))).astype(np.float32)
    right = rng.integers(0, n_gallery, n_queries)
    order = np.argsort(-(queries @ gallery.T), axis=1)
    expected = [int(np.flatnonzero(order[q] == right[q])[0]) + 1 for q in range(n_queries)]
    assert ranks.ranks(queries, gallery, [[r] for r in right]).tolist() == expected


def test_chunks_do_not_change_ranks(monkeypatch):
    rng = np.random.default_rng(1)
    queries, gallery = (unit(rng.normal(size=(50, 8))).astype(np.float32) for _ in range(2))
    relevant = [[i] for i in range(50)]
    whole = ranks.ranks(queries, gallery, relevant)
    both = ranks.ranks_both_ways(queries, gallery, relevant)
    monkeypatch.setattr(ranks, "_ROWS", 7)
    monkeypatch.setattr(ranks, "_COLUMNS", 6)
    assert (ranks.ranks(queries, gallery, relevant) == whole).all()
    for mine, before in zip(ranks.ranks_both_ways(queries, gallery, relevant), both, strict=True):
        assert (mine == before).all()


def test_chance_with_one_right_answer_is_the_harmonic_sum():
    figures = ranks.chance([[0], [3]], gallery=100)
    assert figures["MRR@10"] == pytest.approx(sum(1 / k for k in range(1, 11)) / 100)
    assert figures["R@5"] == pytest.approx(0.05)
    assert figures["median_rank"] == 50
    assert figures["mean_rank"] == pytest.approx(50.5)


def test_chance_with_several_right_answers_matches_a_simulation():
    rng = np.random.default_rng(0)
    figures = ranks.chance([[0, 1, 2]], gallery=20)
    best = np.array([np.flatnonzero(rng.permutation(20) < 3)[0] + 1 for _ in range(20000)])
    assert figures["MRR@10"] == pytest.approx(ranks.mrr(best, 10), abs=0.01)
    assert figures["R@1"] == pytest.approx(3 / 20)
    assert figures["mean_rank"] == pytest.approx(best.mean(), abs=0.1)


def copies(many, dim, count, seed=0):
    """`count` equal rows, and queries near them; in some shapes a matrix product gives equal rows other last digits."""
    rng = np.random.default_rng(seed)
    row = unit(np.abs(rng.normal(size=(1, dim))))
    queries = unit(row + 0.1 * rng.normal(size=(many, dim)))
    return queries.astype(np.float32), np.repeat(row, count, 0).astype(np.float32)


@pytest.mark.parametrize(
    ("many", "dim", "count"),
    [(37, 512, 4099), (1, 513, 4099), (1, 768, 1025), (3, 384, 130), (37, 384, 5), (600, 2048, 130), (9, 3, 5000)],
)
def test_equal_embeddings_tie_in_spite_of_float_rounding(many, dim, count):
    queries, gallery = copies(many, dim, count)
    for right in (0, count // 2, count - 1):
        assert set(ranks.ranks(queries, gallery, [[right]] * len(queries)).tolist()) == {count}


def test_a_difference_beyond_rounding_is_no_tie():
    queries = np.array([[1.0, 0.0]], dtype=np.float32)
    angles = np.array([0.1, 0.1 - 1e-4])
    gallery = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    assert ranks.ranks(queries, gallery, [[1]]).tolist() == [1]
    assert ranks.ranks(queries, gallery, [[0]]).tolist() == [2]


def test_both_ways_is_one_way_twice():
    rng = np.random.default_rng(3)
    images, captions = rng.normal(size=(1100, 8)), rng.normal(size=(2600, 8))
    owner = np.concatenate([np.arange(1100), rng.integers(0, 1100, 1500)])
    captions_of = [np.flatnonzero(owner == image).tolist() for image in range(1100)]
    first, second = ranks.ranks_both_ways(images, captions, captions_of)
    assert (first == ranks.ranks(images, captions, captions_of)).all()
    assert (second == ranks.ranks(captions, images, [[image] for image in owner])).all()


def test_what_cannot_be_ranked_is_refused():
    good = np.eye(3, dtype=np.float32)
    bad = good.copy()
    bad[1, 1] = np.nan
    zero = good.copy()
    zero[2] = 0
    for queries, gallery, words in (
        (bad, good, "queries: 1 of 3 embeddings are not finite"),
        (good, good - np.inf, "gallery: 3 of 3 embeddings are not finite"),
        (good, zero, "gallery: 1 of 3 embeddings are zero, the first is number 3"),
        (good, good[:, :2] + 1, "queries have 3 dimensions, gallery rows 2"),
        (good[:0], good, "no embeddings to compare"),
    ):
        with pytest.raises(UserError, match=words):
            ranks.ranks(queries, gallery, [[0]] * len(queries))
    with pytest.raises(UserError, match="query 2 has no right answer"):
        ranks.ranks(good, good, [[0], [], [2]])
    with pytest.raises(UserError, match="gallery row 3 has no right answer"):
        ranks.ranks_both_ways(good, good, [[0], [0], [1]])
