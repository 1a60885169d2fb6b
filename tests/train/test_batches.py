import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.pairs import Pair
from clip_italian.train import batches

PAIRS = [Pair(str(i), f"{i}.png", (f"it {i} a", f"it {i} b"), "s", captions_original=(f"en {i}",)) for i in range(10)]


def epoch(size=4, original=0.0, views=3, seed=0):
    captions = batches.flatten_captions(PAIRS)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(10)
    return captions, list(batches.draw(rows, captions, rows, views, original, size, generator))


def test_each_text_belongs_to_its_picture():
    captions, drawn = epoch(original=0.5)
    for batch in drawn:
        for image, text in zip(batch.images.tolist(), batch.texts.tolist(), strict=True):
            assert captions.texts[text].split()[1] == str(image)
        assert batch.views.max() < 3


def test_share_of_original_captions():
    assert all(c.startswith("it") for c in texts(original=0.0))
    assert all(c.startswith("en") for c in texts(original=1.0))


def texts(original):
    captions, drawn = epoch(original=original)
    return [captions.texts[text] for batch in drawn for text in batch.texts.tolist()]


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 12), st.integers(0, 1000))
def test_no_picture_twice_an_epoch_and_count_agrees(size, seed):
    _, drawn = epoch(size=size, seed=seed)
    seen = [row for batch in drawn for row in batch.images.tolist()]
    assert len(seen) == len(set(seen))
    assert len(drawn) == batches.count(10, size)


def test_the_seed_decides_everything():
    first, again, other = (epoch(seed=s)[1] for s in (1, 1, 2))
    assert all(
        torch.equal(a.images, b.images) and torch.equal(a.texts, b.texts) for a, b in zip(first, again, strict=True)
    )
    assert any(not torch.equal(a.images, b.images) for a, b in zip(first, other, strict=True))


def test_pictures_that_share_a_caption_have_one_identity():
    pairs = [
        Pair("a", "a.png", ("Un fiore.",), "s"),
        Pair("b", "b.png", ("un cane",), "s"),
        Pair("c", "c.png", ("un fiore",), "s"),
    ]
    numbers = batches.identity_numbers(pairs).tolist()
    assert numbers[0] == numbers[2] != numbers[1]
