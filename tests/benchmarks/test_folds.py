import numpy as np
import pytest

from benchmarks import folds
from clip_italian.evaluate import ranks, retrieval
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.evaluate.retrieval import Retrieved
from clip_italian.pairs import Pair

FEW = Resampling(100)


def part(images, captions, counts):
    """Retrieval of pictures with so many captions each, every caption a query."""
    pairs = [Pair(str(i), f"{i}.png", tuple(f"{i} {c}" for c in range(count)), "x") for i, count in enumerate(counts)]
    answers = retrieval.retrieval_set(pairs, merge=False)
    ranked = retrieval.rank(np.array(images, np.float32), np.array(captions, np.float32), answers)
    return Retrieved({"captions": "all", "ties": ranks.TIE_RULE}, ranked, answers)


@pytest.fixture
def parts():
    # Two pictures: captions at ranks 1 and 2. Three pictures: ranks 1, 3, 1 and 2, the first picture with two captions.
    two = part([[1, 0], [0, 1]], [[1, 0.1], [1, 0.2]], [1, 1])
    three = part([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[3, 2, 1], [1, 2, 3], [1, 3, 2], [1, 3, 2]], [2, 1, 1])
    return [two, three]


def test_each_query_is_ranked_in_its_own_gallery(parts):
    result = folds.pooled(parts, 2, FEW)
    assert result["ranks"]["text_to_image"] == [1, 2, 1, 3, 1, 2]
    assert result["text_to_image"]["MRR@10"] == pytest.approx((1 + 1 / 2 + 1 + 1 / 3 + 1 + 1 / 2) / 6, abs=1e-4)
    assert result["text_to_image"]["R@1"] == 0.5
    assert result["text_to_image"]["queries"] == 6
    assert result["image_to_text"]["queries"] == 5
    assert "gallery" not in result["text_to_image"]
    assert result["galleries"] == {"text_to_image": [2, 3], "image_to_text": [2, 4]}
    assert result["captions_of"] == [[0], [1], [2, 3], [4], [5]]
    assert (result["captions"], result["left_out"]) == ("all", 2)


def test_one_fold_is_a_plain_result(parts):
    whole = retrieval.figures(parts[1].ranks, parts[1].answers, FEW)
    for direction in retrieval.DIRECTIONS:
        del whole[direction]["gallery"]
        assert folds.pooled(parts[1:], 0, FEW)[direction] == ranks.rounded(whole)[direction]


def test_intervals_are_by_picture_over_all_folds(parts):
    low, high = folds.pooled(parts, 0, Resampling(500))["text_to_image"]["intervals"]["R@1"]
    assert low < 0.5 < high
    certain = part(np.eye(4), np.eye(4), [1] * 4)
    assert folds.pooled([certain, certain], 0, FEW)["text_to_image"]["intervals"]["R@1"] == [1, 1]


def test_chance_weighs_folds_by_their_queries(parts):
    found = folds.chance([one.answers for one in parts])["text_to_image"]
    # Two queries among two pictures, four among three, one right answer each.
    assert found["R@1"] == pytest.approx((2 / 2 + 4 / 3) / 6)
    assert found["mean_rank"] == pytest.approx((2 * 1.5 + 4 * 2) / 6)
    alone = retrieval.chance(parts[0].answers)["text_to_image"]
    assert folds.chance([parts[0].answers])["text_to_image"]["MRR@5"] == pytest.approx(alone["MRR@5"])
