from collections import Counter

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.train.batches import plan_epoch, shape
from clip_italian.train.data import Examples
from clip_italian.train.pictures import FilePictures


def examples(identities, own=2, original=1):
    """Rows with so many own captions each; those with an even number also have original ones."""
    n = len(identities)
    lengths = torch.tensor([original if row % 2 == 0 else 0 for row in range(n)], dtype=torch.long)
    end = own * n + torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    return Examples(
        pictures=FilePictures([f"{i}.png" for i in identities]),
        ids=pa.array([str(i) for i in range(n)]),
        texts=pa.array([f"it {r}" for r in range(n) for _ in range(own)] + [f"en {r}" for r in range(0, n, 2)]),
        own=torch.arange(n + 1) * own,
        original=end,
        groups=torch.tensor(identities),
        identities=torch.tensor(identities),
        splits=torch.zeros(n, dtype=torch.uint8),
        origins=[("test", None)],
        origin=torch.zeros(n, dtype=torch.int32),
    )


@settings(deadline=None, max_examples=200)
@given(
    identities=st.lists(st.integers(0, 12), min_size=2, max_size=80),
    size=st.integers(2, 20),
    seed=st.integers(0, 2**63 - 1),
)
def test_no_batch_shows_a_picture_twice_and_no_epoch_a_row_twice(identities, size, seed):
    data = examples(identities)
    rows = torch.arange(len(identities))
    plan = plan_epoch(rows, data, 3, 0.5, size, seed)
    seen = [row for batch in plan for row in batch.images.tolist()]
    assert len(seen) == len(set(seen))
    for batch in plan:
        shown = data.identities[batch.images].tolist()
        assert len(shown) == len(set(shown))
    form = shape(rows, data, size)
    sizes = [form.size] * form.full + [form.rest] * (form.rest > 0)
    assert [len(batch.images) for batch in plan] == sizes
    assert plan


@settings(deadline=None, max_examples=100)
@given(identities=st.lists(st.integers(0, 12), min_size=2, max_size=80), size=st.integers(2, 20))
def test_there_are_as_many_full_batches_as_can_be(identities, size):
    form = shape(torch.arange(len(identities)), examples(identities), size)
    numbers = Counter(identities).values()
    # T batches of k can be filled exactly if the pictures have k T rows when each counts T times at most.
    possible = [t for t in range(1, len(identities) + 1) if sum(min(n, t) for n in numbers) >= form.size * t]
    assert form.full == max(possible)


@pytest.mark.parametrize(("n", "size", "sizes"), [(10, 4, [4, 4, 2]), (9, 4, [4, 4]), (3, 8, [3]), (12, 4, [4] * 3)])
def test_without_repeated_pictures_only_less_than_half_a_batch_is_left_out(n, size, sizes):
    plan = plan_epoch(torch.arange(n), examples(range(n)), 1, 0.0, size, 0)
    assert [len(batch.images) for batch in plan] == sizes


def test_five_rows_a_picture_as_in_captions_data_are_all_used():
    identities = [row // 5 for row in range(500)]
    plan = plan_epoch(torch.arange(500), examples(identities), 1, 0.0, 64, 3)
    assert sorted(row for batch in plan for row in batch.images.tolist())[:3] == [0, 1, 2]
    assert sum(len(batch.images) for batch in plan) == 500


def test_texts_belong_to_their_pictures_and_views_are_in_range():
    data = examples(range(40))
    plan = plan_epoch(torch.arange(40), data, 3, 0.5, 8, 1)
    for batch in plan:
        for image, text in zip(batch.images.tolist(), batch.texts.tolist(), strict=True):
            assert data.text(text).split()[1] == str(image)
    assert {view for batch in plan for view in batch.views.tolist()} == {0, 1, 2}


def test_share_of_original_captions():
    def languages(share):
        data = examples(range(400))
        plan = plan_epoch(torch.arange(0, 400, 2), data, 1, share, 10, 2)
        return Counter(data.text(text).split()[0] for batch in plan for text in batch.texts.tolist())

    assert languages(0.0) == {"it": 200}
    assert languages(1.0) == {"en": 200}
    assert 20 < languages(0.25)["en"] < 85


def test_every_own_caption_is_drawn():
    data = examples(range(300), own=3)
    plan = plan_epoch(torch.arange(300), data, 1, 0.0, 10, 2)
    drawn = Counter(text % 3 for batch in plan for text in batch.texts.tolist())
    assert all(60 < drawn[which] < 140 for which in range(3))


def test_the_seed_decides_everything():
    data = examples([row // 2 for row in range(60)])

    def flat(seed):
        torch.rand(seed + 1)  # the global generator plays no part
        plan = plan_epoch(torch.arange(60), data, 2, 0.5, 8, seed)
        return [torch.cat([getattr(batch, name) for batch in plan]).tolist() for name in ("images", "views", "texts")]

    assert flat(1) == flat(1)
    assert all(a != b for a, b in zip(flat(1), flat(2), strict=True))


def test_rows_of_a_picture_meet_different_rows_each_epoch():
    data = examples([row // 4 for row in range(400)])
    neighbours = Counter()
    for seed in range(20):
        for batch in plan_epoch(torch.arange(400), data, 1, 0.0, 20, seed):
            shown = batch.images.tolist()
            if 0 in shown:
                neighbours.update(shown)
    assert len(neighbours) > 200
    assert neighbours.most_common(2)[1][1] <= 8
