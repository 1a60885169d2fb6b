import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.errors import UserError
from clip_italian.evaluate import zeroshot


def test_accuracy_and_chance():
    images = np.eye(4, dtype=np.float32)
    figures = zeroshot.accuracy(images, images[[0, 1, 3, 2]], [[0], [1], [2], [3]])
    assert figures["accuracy@1"] == pytest.approx(0.5)
    assert figures["accuracy@5"] == figures["accuracy@100"] == 1
    assert figures["labels"] == 4
    chance = zeroshot.chance(4, [[0]])
    assert chance["accuracy@1"] == pytest.approx(0.25)
    assert set(chance) == set(figures)


def test_classes_and_confusions_by_hand():
    labels = np.eye(3, dtype=np.float32)
    # cane: right, taken for gatto twice; gatto: right; sedia: taken for cane.
    images = np.array([[9, 1, 0], [1, 9, 0], [2, 9, 1], [1, 9, 0], [9, 1, 2]], np.float32)
    right = np.array([0, 0, 0, 1, 2])
    result = zeroshot.classify(images, labels, [[r] for r in right])
    assert result.rank.tolist() == [1, 2, 2, 1, 2]
    assert result.predicted.tolist() == [0, 1, 1, 1, 0]
    classes = zeroshot.per_class(result.rank, right, ["cane", "gatto", "sedia"])
    assert classes["cane"]["accuracy@1"] == pytest.approx(1 / 3)
    assert classes["cane"]["accuracy@5"] == 1
    assert classes["cane"]["pictures"] == 3
    assert classes["sedia"]["accuracy@1"] == 0
    assert zeroshot.confusions(result, right, ["cane", "gatto", "sedia"]) == [
        {"class": "cane", "taken_for": "gatto", "count": 2, "share": pytest.approx(2 / 3)},
        {"class": "sedia", "taken_for": "cane", "count": 1, "share": 1.0},
    ]
    assert len(zeroshot.confusions(result, right, ["cane", "gatto", "sedia"], most=1)) == 1


def test_equal_labels_are_taken_for_each_other():
    result = zeroshot.classify(np.ones((1, 3)), np.array([[1, 0, 0], [1, 1, 1], [1, 1, 1]]), [[1]])
    assert (result.rank.tolist(), result.predicted.tolist()) == ([2], [2])


VECTORS = {
    "una foto di un cane": [1, 0], "un disegno di un cane": [0, 2],
    "una foto di un gatto": [0, 5], "un disegno di un gatto": [0, 1],
    "una foto di un micio": [5, 0], "un disegno di un micio": [0, 7],
}  # fmt: skip


def test_prompts_and_names_are_averaged_by_direction():
    asked = []

    def encode(texts):
        asked.extend(texts)
        return np.array([VECTORS[text] for text in texts], np.float32)

    embedded = zeroshot.label_embeddings(
        encode, [("un cane",), ("un gatto", "un micio")], ["una foto di {}", "un disegno di {}"]
    )
    # cane: (1, 0) and (0, 1); gatto: three times (0, 1), once (1, 0), whatever their lengths.
    assert embedded == pytest.approx(np.array([[1, 1] / np.sqrt(2), [1, 3] / np.sqrt(10)]))
    assert sorted(asked) == sorted(VECTORS)


def test_labels_that_cancel_out_or_are_of_another_model_are_refused():
    with pytest.raises(UserError, match="labels: 1 of 1 embeddings are zero"):
        zeroshot.label_embeddings(lambda texts: np.array([[1, 0], [-1, 0]]), [("a",)], ["una {}", "un {}"])
    with pytest.raises(UserError, match="pictures have 2 dimensions, labels 3"):
        zeroshot.classify(np.ones((1, 2)), np.ones((2, 3)), [[0]])
    with pytest.raises(UserError, match="pictures: 1 of 1 embeddings are not finite"):
        zeroshot.classify(np.full((1, 2), np.nan), np.ones((2, 2)), [[0]])


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(2, 12), st.integers(0, 10**6))
def test_order_of_pictures_and_labels_and_length_of_vectors_change_nothing(pictures, count, seed):
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(-2, 3, (pictures, 3)) + 0.5, rng.integers(-2, 3, (count, 3)) + 0.5
    right = rng.integers(0, count, pictures)
    names = [f"c{number}" for number in range(count)]
    before = zeroshot.classify(images, labels, [[r] for r in right])
    order, relabel = rng.permutation(pictures), rng.permutation(count)
    place = np.argsort(relabel)
    after = zeroshot.classify(
        images[order] * rng.uniform(0.01, 100, (pictures, 1)), labels[relabel] * 3, [[place[r]] for r in right[order]]
    )
    assert after.rank.tolist() == before.rank[order].tolist()
    assert zeroshot.summary(after.rank, count) == zeroshot.summary(before.rank, count)
    one = zeroshot.per_class(before.rank, right, names)
    two = zeroshot.per_class(after.rank, place[right[order]], [names[old] for old in relabel])
    assert two == one


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(2, 9), st.integers(0, 10**6))
def test_pictures_that_come_twice_change_no_share(pictures, count, seed):
    rng = np.random.default_rng(seed)
    images, labels = rng.normal(size=(pictures, 3)), rng.normal(size=(count, 3))
    right = rng.integers(0, count, pictures)
    once = zeroshot.accuracy(images, labels, [[r] for r in right])
    twice = zeroshot.accuracy(np.repeat(images, 2, 0), labels, [[r] for r in np.repeat(right, 2)])
    assert twice == pytest.approx(once | {"pictures": 2 * pictures})
    # The mistakes of a class and its right answers are all of it.
    result = zeroshot.classify(images, labels, [[r] for r in right])
    names = [str(number) for number in range(count)]
    for name, part in zeroshot.per_class(result.rank, right, names).items():
        wrong = sum(m["share"] for m in zeroshot.confusions(result, right, names, most=1000) if m["class"] == name)
        assert part["accuracy@1"] + wrong == pytest.approx(1)
