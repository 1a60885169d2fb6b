"""Associations against sums by hand, and intervals against what they promise."""

import numpy as np
import pytest

from clip_italian.errors import UserError
from clip_italian.evaluate import bias


def unit(rows):
    rows = np.asarray(rows, dtype=float)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_association_and_effect_size_by_hand():
    images = {"a": np.array([[1.0, 0.0], [0.6, 0.8]]), "b": np.array([[0.0, 1.0], [0.8, 0.6]])}
    neutral, prompt = np.array([0.0, 1.0]), np.array([1.0, 0.0])
    # s = first coordinate less second: a: 1, -0.2; b: -1, 0.2.
    (record,) = bias.associations(images, prompt[None], neutral, ["p"], seed=1)
    assert record["prompt"] == "p"
    assert record["groups"]["a"]["association"] == pytest.approx(0.4 - -0.4)
    assert record["groups"]["b"]["association"] == pytest.approx(-0.8)
    assert record["groups"]["a"]["effect_size"] == pytest.approx(0.8 / np.std([1, -0.2, -1, 0.2], ddof=1), abs=1e-3)
    low, high = record["groups"]["a"]["interval"]
    assert low == pytest.approx(-0.2 - 0.2, abs=1e-3)  # the worst draw of four pictures is in more than 2.5 % of all
    assert high == pytest.approx(1 - -1, abs=1e-3)
    assert not record["groups"]["a"]["beside_zero"]


def test_order_of_pictures_changes_no_association():
    random = np.random.default_rng(3)
    images = {name: unit(random.normal(size=(9, 4))) for name in "abc"}
    prompts, neutral = unit(random.normal(size=(5, 4))), unit(random.normal(size=4))
    before = bias.associations(images, prompts, neutral, list("12345"), seed=1)
    turned = {name: rows[::-1] for name, rows in reversed(images.items())}
    after = bias.associations(turned, prompts, neutral, list("12345"), seed=1)
    for one, two in zip(before, after, strict=True):
        for name in "abc":
            for figure in ("association", "effect_size"):
                assert two["groups"][name][figure] == pytest.approx(one["groups"][name][figure], abs=2e-3)


def test_three_groups_weigh_the_same():
    images = {"a": np.tile([1.0, 0.0], (4, 1)), "b": np.tile([0.0, 1.0], (2, 1)), "c": np.tile([0.6, 0.8], (9, 1))}
    (record,) = bias.associations(images, np.array([[1.0, 0.0]]), np.zeros(2), ["p"], seed=1)
    assert record["groups"]["a"]["association"] == pytest.approx(1 - (0 + 0.6) / 2)
    assert record["groups"]["a"]["interval"] == [pytest.approx(0.7)] * 2  # all pictures of a group are alike
    assert record["groups"]["a"]["beside_zero"]


def test_groups_of_one_kind_are_rarely_told_apart():
    """Two halves of one distribution: about one prompt in twenty may lie beside zero."""
    random = np.random.default_rng(0)
    images = {name: unit(random.normal(size=(60, 16))) for name in "ab"}
    prompts = unit(random.normal(size=(200, 16)))
    records = bias.associations(images, prompts, unit(random.normal(size=16)), [str(n) for n in range(200)], seed=2)
    # Not independent over prompts (16 dimensions), hence the room.
    assert np.mean([record["groups"]["a"]["beside_zero"] for record in records]) < 0.25


def test_a_difference_is_found():
    random = np.random.default_rng(1)
    direction = np.eye(16)[0]
    images = {"a": unit(random.normal(size=(60, 16)) + 2 * direction), "b": unit(random.normal(size=(60, 16)))}
    (record,) = bias.associations(images, direction[None], np.eye(16)[5], ["p"], seed=2)
    found = record["groups"]["a"]
    assert found["beside_zero"]
    assert found["interval"][0] < found["association"] < found["interval"][1]


def test_folders_are_groups(tmp_path):
    for name in ("a/1.jpg", "a/deep/2.png", "b/1.jpg", "b/2.jpg", ".cache/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert {name: len(paths) for name, paths in bias.groups(tmp_path).items()} == {"a": 2, "b": 2}


def test_folders_that_are_no_groups(tmp_path):
    with pytest.raises(UserError, match="no such folder; give a folder with one folder of pictures a group"):
        bias.groups(tmp_path / "no")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.jpg").touch()
    with pytest.raises(UserError, match="1 folders in it; give at least two groups"):
        bias.groups(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="b: no pictures found"):
        bias.groups(tmp_path)
    (tmp_path / "b/1.jpg").touch()
    with pytest.raises(UserError, match="a: 1 picture; a group needs at least 2"):
        bias.groups(tmp_path)
