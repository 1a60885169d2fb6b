import numpy as np
import pytest

from clip_italian.evaluate import retrieval, zeroshot
from clip_italian.pairs import Pair


def pair(name, *captions):
    return Pair(name, f"{name}.png", captions, "test")


def test_equal_captions_are_one_query_with_several_answers():
    data = retrieval.retrieval_set(
        [pair("a", "Un fiore."), pair("b", "un fiore"), pair("c", "un cane", "un cagnolino")]
    )
    assert data.captions == ("Un fiore.", "un cane", "un cagnolino")
    assert data.images_of == ((0, 1), (2,), (2,))
    assert data.captions_of == ((0,), (0,), (1, 2))


def test_evaluate_by_hand():
    data = retrieval.retrieval_set([pair("a", "uno"), pair("b", "due"), pair("c", "tre")])
    images = np.eye(3, dtype=np.float32)
    # "due" and "tre" are swapped; "uno" is right.
    captions = images[[0, 2, 1]]
    figures = retrieval.evaluate(images, captions, data)
    # The swapped ones tie with the third at 0, and ties count against them: rank 3.
    assert figures["text_to_image"]["MRR@10"] == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    assert figures["image_to_text"]["R@1"] == pytest.approx(1 / 3)
    assert figures["text_to_image"]["gallery"] == 3


def test_zeroshot_accuracy_and_chance():
    images = np.eye(4, dtype=np.float32)
    figures = zeroshot.accuracy(images, images[[0, 1, 3, 2]], [[0], [1], [2], [3]])
    assert figures["accuracy@1"] == pytest.approx(0.5)
    assert figures["labels"] == 4
    assert zeroshot.chance(4, [[0]])["accuracy@1"] == pytest.approx(0.25)
