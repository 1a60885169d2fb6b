import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.evaluate import ranks


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


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
    monkeypatch.setattr(ranks, "_CHUNK", 7)
    assert (ranks.ranks(queries, gallery, relevant) == whole).all()


def test_chance_with_one_right_answer_is_the_harmonic_sum():
    figures = ranks.chance([[0], [3]], gallery=100)
    assert figures["MRR@10"] == pytest.approx(sum(1 / k for k in range(1, 11)) / 100)
    assert figures["R@5"] == pytest.approx(0.05)
    assert figures["median_rank"] == 50


def test_chance_with_several_right_answers_matches_a_simulation():
    rng = np.random.default_rng(0)
    figures = ranks.chance([[0, 1, 2]], gallery=20)
    best = np.array([np.flatnonzero(rng.permutation(20) < 3)[0] + 1 for _ in range(20000)])
    assert figures["MRR@10"] == pytest.approx(ranks.mrr(best, 10), abs=0.01)
    assert figures["R@1"] == pytest.approx(3 / 20)
