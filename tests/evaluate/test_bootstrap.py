import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clip_italian.evaluate import bootstrap, ranks
from clip_italian.evaluate.bootstrap import Resampling


def test_intervals_are_those_of_scipy():
    found = np.random.default_rng(0).integers(1, 40, 300)
    values = ranks.by_query(found)
    mine = bootstrap.intervals(values, found, bootstrap.own(300), Resampling(4000))
    for name, figure in (("MRR@10", values["MRR@10"]), ("R@5", values["R@5"])):
        theirs = stats.bootstrap((figure,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
        assert mine[name] == pytest.approx([theirs.low, theirs.high], abs=0.006)
    theirs = stats.bootstrap((found,), np.median, n_resamples=4000, method="percentile", rng=1).confidence_interval
    assert mine["median_rank"] == pytest.approx([theirs.low, theirs.high], abs=1)


def test_one_picture_drawn_again_and_again_by_hand():
    # Two pictures: 1/4 of the resamples draw the first twice, 1/4 the second twice, 1/2 both.
    drawn = bootstrap._resampled({"x": np.array([1.0, 3.0])}, np.array([1, 3]), bootstrap.own(2), Resampling(4000))
    for name, both in (("x", 2.0), ("median_rank", 2.0)):
        values, counts = np.unique(drawn[name], return_counts=True)
        assert values.tolist() == [1.0, both, 3.0]
        assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_captions_of_one_picture_are_drawn_together():
    # Five captions a picture that are all right or all wrong: as uncertain as one caption a picture.
    right = np.random.default_rng(1).random(100) < 0.5
    alone = bootstrap.intervals({"x": right * 1.0}, None, bootstrap.own(100), Resampling(500))
    five = bootstrap.owners([[i // 5] for i in range(500)], 100)
    together = bootstrap.intervals({"x": np.repeat(right, 5) * 1.0}, None, five, Resampling(500))
    assert together["x"] == pytest.approx(alone["x"])


def test_95_of_100_intervals_hold_the_truth():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(300):
        # 60 pictures with 1 to 4 captions; a picture's captions are found with a chance of its own, 0.4 on average.
        counts = rng.integers(1, 5, 60)
        chances = np.repeat(rng.beta(2, 3, 60), counts)
        owner = np.repeat(np.arange(60), counts)
        values = (rng.random(len(owner)) < chances) * 1.0
        owners = bootstrap.owners([[row] for row in owner], 60)
        low, high = bootstrap.intervals({"x": values}, None, owners, Resampling(200))["x"]
        held += low <= 0.4 <= high
    assert 0.90 <= held / 300 <= 0.985


def test_paired_differences_by_hand():
    first, second = np.array([1, 2, 1, 4]), np.array([1, 1, 2, 1])
    found = bootstrap.paired(first, second, ranks.by_query, bootstrap.own(4), Resampling(500))
    assert found["R@1"]["difference"] == pytest.approx(3 / 4 - 2 / 4)
    assert found["mean_rank"]["difference"] == pytest.approx(5 / 4 - 8 / 4)
    assert found["median_rank"]["difference"] == pytest.approx(1 - 1.5)
    low, high = found["R@1"]["interval"]
    assert low <= 1 / 4 <= high
    assert found["R@1"]["p"] > 0.05


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=2, max_size=20))
def test_the_other_way_round_a_difference_has_the_other_sign(both):
    first, second = np.array(both).T
    there, back = (
        bootstrap.paired(*ranks_, ranks.by_query, bootstrap.own(len(both)), Resampling(50))
        for ranks_ in ((first, second), (second, first))
    )
    for name, entry in there.items():
        assert back[name]["difference"] == pytest.approx(-entry["difference"])
        assert back[name]["interval"] == pytest.approx([-edge for edge in reversed(entry["interval"])])
        assert back[name]["p"] == entry["p"]


def test_a_small_but_steady_difference_is_seen_only_in_pairs():
    rng = np.random.default_rng(5)
    first = rng.integers(2, 60, 400)
    second = np.where(rng.random(400) < 0.05, 1, first)
    found = bootstrap.paired(first, second, ranks.by_query, bootstrap.own(400), Resampling(500))["mean_rank"]
    assert found["interval"][1] < 0
    assert found["p"] < 0.01
    alone = [bootstrap.intervals(ranks.by_query(x), x, bootstrap.own(400), Resampling(500)) for x in (first, second)]
    assert alone[1]["mean_rank"][1] > alone[0]["mean_rank"][0]  # the intervals themselves overlap


def test_equal_models_do_not_differ():
    found = np.array([1, 5, 3])
    for entry in bootstrap.paired(found, found, ranks.by_query, bootstrap.own(3), Resampling(50)).values():
        assert entry == {"difference": 0.0, "interval": [0.0, 0.0], "p": 1.0}


def test_chunks_do_not_change_intervals(monkeypatch):
    found = np.random.default_rng(4).integers(1, 9, 30)
    arguments = (ranks.by_query(found), found, bootstrap.own(30), Resampling(40, seed=7))
    whole = bootstrap.intervals(*arguments)
    monkeypatch.setattr(bootstrap, "_CHUNK", 100)
    for name, interval in bootstrap.intervals(*arguments).items():
        assert interval == pytest.approx(whole[name], rel=1e-12)  # sums of other shapes, rounded otherwise
    assert bootstrap.intervals(*arguments[:3], Resampling(40, seed=8)) != whole


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True), min_size=1, max_size=20))
def test_every_picture_once_gives_the_figure_itself(pictures_of):
    owners = bootstrap.owners(pictures_of, 6)
    found = np.arange(1, len(pictures_of) + 1)
    sums = bootstrap._by_picture(found.astype(float), owners).sum()
    assert sums / bootstrap._by_picture(np.ones(len(found)), owners).sum() == pytest.approx(found.mean())
    order = np.argsort(found[owners.queries], kind="stable")
    median = bootstrap._medians(found[owners.queries][order], owners.shares[order][None])
    assert median[0] == pytest.approx(np.median(found))
