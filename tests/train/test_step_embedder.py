"""Texts of like length go through a tower together; what comes out is what the whole batch at once gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clip_italian.models_torch.cut import Cut, cut, whole
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.train import step as module
from clip_italian.train.step import Embedder
from tests.models_torch import kinds

WORDS = ["un", "gatto", "che", "dorme", "una", "foto", "di"]


def make(parts, vision=None, text=None):
    return Embedder(parts, vision or whole(parts.vision), text or whole(parts.text), 0.0, 0.0, False, torch.float32)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(module, "_CPU_TEXTS", 3)


def sentences(count):
    return [" ".join(WORDS[: 1 + number * 5 % 7]) for number in range(count)]


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_gives_what_the_library_gives_of_the_padded_batch(kind, tmp_path, few):
    encoder = DualEncoder.load(kinds.folder(kind, tmp_path / kind))
    tokens = encoder.tokenize(sentences(10))
    with torch.no_grad():
        expected = encoder.parts.text_projection(encoder.parts.text(**tokens).pooler_output)
        found = make(encoder.parts).texts(tokens)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_whole_batch(tiny_encoder, few):
    tokens, parts = tiny_encoder.tokenize(sentences(8)), tiny_encoder.parts
    weights = torch.randn(8, tiny_encoder.dim, generator=torch.Generator().manual_seed(1))
    (parts.text_projection(parts.text(**tokens).pooler_output) * weights).sum().backward()
    expected = {name: parameter.grad for name, parameter in parts.text.named_parameters()}
    parts.text.zero_grad(set_to_none=True)
    (make(parts).texts(tokens) * weights).sum().backward()
    for name, parameter in parts.text.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6, msg=name)


def test_kept_token_states_are_cut_to_the_longest_text_of_a_few(few):
    seen = []

    def tail(inputs):
        seen.append(tuple(inputs["states"].shape))
        return (inputs["states"] * inputs["mask"].unsqueeze(2)).sum(dim=1)

    lengths = torch.tensor([2, 7, 1, 3, 5])
    mask = (torch.arange(7) < lengths[:, None]).long()
    states = torch.randn(5, 7, 4, generator=torch.Generator().manual_seed(2))
    towers = make(_Nothing(), Cut("inputs", None, tail), Cut("layer 1", None, tail))
    expected = tail({"states": states, "mask": mask})
    torch.testing.assert_close(towers.pooled(1, {"states": states, "mask": mask}), expected)
    assert seen[1:] == [(3, 3, 4), (2, 7, 4)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 5), st.booleans())
def test_every_token_that_counts_stays_in_its_place(lengths, size, left):
    width = max(lengths) + 2
    mask = torch.zeros(len(lengths), width, dtype=torch.long)
    for row, length in zip(mask, lengths, strict=True):
        row[-length if left else 0 : None if left else length] = 1
    ids = torch.arange(mask.numel()).view_as(mask) + 1
    order, parts = module._by_length({"input_ids": ids, "attention_mask": mask}, size)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    again = torch.zeros_like(ids)
    start = 0
    for part in parts:
        rows = order[start : start + len(part["input_ids"])]
        again[rows, : part["input_ids"].shape[1]] = part["input_ids"] * part["attention_mask"]
        start += len(rows)
    assert torch.equal(again, ids * mask)


def test_pictures_stay_in_one_piece(tiny_encoder, few):
    pixels = {"pixel_values": torch.randn(7, 3, 32, 32)}
    assert module._by_length(pixels, 3)[1] == [pixels]
    with torch.no_grad():
        found = make(tiny_encoder.parts, cut(tiny_encoder.parts.vision, ["embeddings.cls_token"])).images(pixels)
    assert found.shape == (7, tiny_encoder.dim)


class _Nothing:
    vision = text = visual_projection = text_projection = torch.nn.Identity()
