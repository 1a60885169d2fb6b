"""Bucketed batches of texts: number of shapes, cost, and unchanged results."""

import random

import numpy as np
import torch

from clip_italian.models_torch import shapes
from clip_italian.models_torch.shapes import SIZES, batches, pad_ids
from tests.conftest import tiny_tokenizer


def test_any_batch_gives_few_shapes():
    draw, seen = random.Random(3), set()
    for _ in range(400):
        lengths = [draw.randint(1, 96) for _ in range(draw.randint(1, 64))]
        found = list(batches(lengths, 96))
        assert sorted(row for batch in found for row in batch.rows) == list(range(len(lengths)))
        for batch in found:
            assert max(lengths[row] for row in batch.rows) <= batch.length
            assert len(batch.rows) <= batch.size
        seen |= {(batch.size, batch.length) for batch in found}
    assert {length for _, length in seen} == set(range(8, 97, 8))
    assert {size for size, _ in seen} <= set(SIZES)
    assert len(SIZES) * 12 < 200


def test_the_tower_gets_those_shapes_within_its_positions(tiny_encoder):
    seen, draw = set(), random.Random(4)
    hook = tiny_encoder.parts.text.register_forward_pre_hook(
        lambda _, __, given: seen.add(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    for _ in range(60):
        tiny_encoder.encode_text(["gatto " * draw.randint(0, 120) for _ in range(draw.randint(1, 64))])
    hook.remove()
    assert {count for count, _ in seen} <= set(SIZES)
    assert {length for _, length in seen} <= {*range(8, 97, 8)}


def test_a_limit_that_is_not_a_multiple_of_eight():
    assert [batch.length for batch in batches([77, 76, 3], 77)] == [77, 8]


def every_division(count):
    """Yield all ways to split a row of `count` items."""
    if count == 0:
        yield []
    for first in range(1, count + 1):
        for rest in every_division(count - first):
            yield [first, *rest]


def test_the_batches_have_minimal_cost():
    draw = random.Random(5)
    for _ in range(30):
        lengths = sorted(draw.randint(1, 96) for _ in range(draw.randint(1, 9)))

        def cost(pieces, lengths=lengths):
            total, end = 0, 0
            for piece in pieces:
                end += piece
                size = min(size for size in SIZES if size >= piece)
                total += shapes._OVERHEAD + size * -(-lengths[end - 1] // 8) * 8
            return total

        mine = sum(shapes._OVERHEAD + batch.size * batch.length for batch in batches(lengths, 96))
        assert mine == min(map(cost, every_division(len(lengths))))


def test_padding_is_what_the_tokenizer_pads():
    tokenizer = tiny_tokenizer()
    ids = tokenizer(["un gatto", "un cane che dorme"])["input_ids"]
    for side in ("left", "right"):
        tokenizer.padding_side = side
        expected = tokenizer.pad({"input_ids": ids}, padding="max_length", max_length=16, return_tensors="pt")
        mine = pad_ids(ids, 16, tokenizer.pad_token_id, side == "left")
        assert all(torch.equal(mine[name], expected[name]) for name in mine)


def test_many_texts_keep_their_order(tiny_encoder, monkeypatch):
    texts = [" ".join(["gatto"] * (1 + 7 * n % 11)) for n in range(100)]
    together = tiny_encoder.encode_text(texts)
    monkeypatch.setattr(shapes, "_TOKENISED", 9)
    assert np.allclose(tiny_encoder.encode_text(texts), together, atol=1e-6)
