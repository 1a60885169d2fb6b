import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.errors import UserError
from clip_italian.evaluate import retrieval
from clip_italian.evaluate.bootstrap import Resampling
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


def test_every_caption_is_a_query_where_the_paper_is_followed():
    data = retrieval.retrieval_set([pair("a", "Un fiore.", "un fiore"), pair("b", "un fiore")], merge=False)
    assert data.captions == ("Un fiore.", "un fiore", "un fiore")
    assert data.images_of == ((0,), (0,), (1,))
    assert data.captions_of == ((0, 1), (2,))


def test_evaluate_by_hand():
    data = retrieval.retrieval_set([pair("a", "uno"), pair("b", "due"), pair("c", "tre")])
    images = np.eye(3, dtype=np.float32)
    # "due" and "tre" are swapped; "uno" is right.
    captions = images[[0, 2, 1]]
    figures = retrieval.evaluate(images, captions, data)
    # The swapped ones tie with the third at 0, and ties count against them: rank 3.
    assert figures["text_to_image"]["MRR@10"] == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    assert figures["text_to_image"]["mean_rank"] == pytest.approx(7 / 3)
    assert figures["text_to_image"]["median_rank"] == 3
    assert figures["image_to_text"]["R@1"] == pytest.approx(1 / 3)
    assert figures["text_to_image"]["gallery"] == 3


def test_intervals_hold_the_figures():
    rng = np.random.default_rng(0)
    pairs = [pair(str(i), f"{i} uno", f"{i} due", "un cane") for i in range(40)]
    data = retrieval.retrieval_set(pairs)
    images, captions = rng.normal(size=(40, 4)), rng.normal(size=(len(data.captions), 4))
    figures = retrieval.figures(retrieval.rank(images, captions, data), data, Resampling(200))
    for direction in retrieval.DIRECTIONS:
        intervals = figures[direction].pop("intervals")
        assert set(intervals) == set(figures[direction]) - {"queries", "gallery"}
        for name, (low, high) in intervals.items():
            assert low <= figures[direction][name] <= high, name


def test_damaged_models_get_a_line():
    data = retrieval.retrieval_set([pair("a", "uno"), pair("b", "due")])
    good = np.eye(2, dtype=np.float32)
    for images, captions, words in (
        (good * np.nan, good, "pictures: 2 of 2 embeddings are not finite"),
        (good, good * 0, "captions: 2 of 2 embeddings are zero"),
        (good, np.eye(3, dtype=np.float32)[:2], "pictures have 2 dimensions, captions 3"),
    ):
        with pytest.raises(UserError, match=words):
            retrieval.evaluate(images, captions, data)


@st.composite
def worlds(draw):
    """Pictures with some captions each, among them equal ones, with embeddings that tie now and then."""
    count = draw(st.integers(2, 12))
    words = st.sampled_from(["un cane", "un gatto", "un fiore", "una mela", "il mare", "due case", "tre pere"])
    captions = [draw(st.lists(words, min_size=1, max_size=3)) for _ in range(count)]
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    return [pair(str(i), *some) for i, some in enumerate(captions)], rng.integers(-2, 3, (count, 3)) + 0.5, rng


@settings(deadline=None, max_examples=60)
@given(worlds(), st.booleans())
def test_order_of_pictures_and_length_of_vectors_change_nothing(made, merge):
    pairs, images, rng = made
    by_text = {text: rng.integers(-2, 3, 3) + 0.5 for p in pairs for text in p.captions}
    data = retrieval.retrieval_set(pairs, merge)
    before = retrieval.evaluate(images, np.stack([by_text[text] for text in data.captions]), data)

    order = rng.permutation(len(pairs))
    shuffled = retrieval.retrieval_set([pairs[i] for i in order], merge)
    texts = np.stack([by_text[text] for text in shuffled.captions])
    lengths = rng.uniform(1e-3, 1e3, (len(images), 1))
    after = retrieval.evaluate(images[order] * lengths, texts * rng.uniform(1e-3, 1e3, (len(texts), 1)), shuffled)
    for direction in retrieval.DIRECTIONS:
        assert after[direction] == pytest.approx(before[direction])


@settings(deadline=None, max_examples=60)
@given(worlds())
def test_doubled_captions_change_nothing_where_equal_ones_are_one(made):
    pairs, images, rng = made
    doubled = [pair(p.id, *p.captions, p.captions[0].upper() + "!") for p in pairs]
    by_text = {text: rng.integers(-2, 3, 3) + 0.5 for p in pairs for text in p.captions}
    data, again = retrieval.retrieval_set(pairs), retrieval.retrieval_set(doubled)
    captions = np.stack([by_text[text] for text in data.captions])
    assert retrieval.evaluate(images, captions, again) == retrieval.evaluate(images, captions, data)


@settings(deadline=None, max_examples=60)
@given(worlds())
def test_doubling_all_captions_changes_no_search_where_each_is_a_query(made):
    pairs, images, rng = made
    by_text = {text: rng.integers(-2, 3, 3) + 0.5 for p in pairs for text in p.captions}
    doubled = [pair(p.id, *(2 * p.captions)) for p in pairs]
    found = []
    for some in (pairs, doubled):
        data = retrieval.retrieval_set(some, merge=False)
        captions = np.stack([by_text[text] for text in data.captions])
        found.append(retrieval.evaluate(images, captions, data))
    counts = [part["text_to_image"].pop("queries") for part in found]
    assert counts[1] == 2 * counts[0]
    assert found[1]["text_to_image"] == pytest.approx(found[0]["text_to_image"])
    # The other way every wrong caption stands in the way twice.
    better = [part["image_to_text"]["mean_rank"] - 1 for part in found]
    assert better[1] == pytest.approx(2 * better[0])
