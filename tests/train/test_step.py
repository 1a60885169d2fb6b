"""Gradients of a step: in chunks, with dropout, masked, local, against autograd on the whole batch in one graph."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout, normalize

from clip_italian.config import Loss
from clip_italian.train.parallel import Processes
from clip_italian.train.step import Batch, compute_gradients, seed_everything, seed_of

POSITION = (1, 0, 3, 7)


class Towers(nn.Module):
    """Two small networks with dropout inside, in the shape of an embedder."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.image = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(0.4), nn.Linear(16, 5))
        self.text = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 5))
        self.calls = 0

    def forward(self, images, texts):
        self.calls += 1
        seen = self.image(images["x"]) if images else torch.zeros(len(texts["x"]), 0)
        return seen, dropout(self.text(texts["x"]), 0.3, self.training)


def batch(size, groups=None):
    generator = torch.Generator().manual_seed(3)
    images, texts = torch.randn(size, 6, generator=generator), torch.randn(size, 4, generator=generator)
    groups = torch.arange(size) if groups is None else torch.tensor(groups)
    return Batch(torch.arange(size), {"x": images}, {"x": texts}, groups)


def by_autograd(towers, given, chunk, scale):
    """The loss of the joint batch in one graph, with the dropout masks that the step's chunks draw."""
    images, texts = [], []
    for number, part in enumerate(given.chunks(chunk)):
        seed_everything(*POSITION, 0, number)
        image, text = towers(*part)
        images.append(image)
        texts.append(text)
    logits = scale.exp() * normalize(torch.cat(images), dim=1) @ normalize(torch.cat(texts), dim=1).T
    same = (given.groups[:, None] == given.groups) & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(same, float("-inf"))
    right = torch.arange(len(logits), device=logits.device)
    loss = (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2
    loss.backward()
    return loss


def check_gradients(given, chunk, device="cpu"):
    """Loss and gradients of the step are those of the whole batch in one graph."""
    ours, reference = Towers().to(device), Towers().to(device)
    scale, other_scale = (nn.Parameter(torch.tensor(2.5, device=device)) for _ in range(2))
    loss = compute_gradients(ours, given, scale, None, Loss(), chunk, Processes(), POSITION)
    expected = by_autograd(reference, given, chunk, other_scale)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=1e-6)
    for (name, one), other in zip(ours.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6, msg=name)
    torch.testing.assert_close(scale.grad, other_scale.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chunk", [None, 12, 5, 1])
@pytest.mark.parametrize("groups", [None, [0, 1, 2, 1, 4, 5, 5, 5, 8, 9, 10, 11]])
def test_gradients_are_those_of_the_whole_batch(chunk, groups):
    check_gradients(batch(12, groups), chunk)


def test_one_chunk_is_embedded_once_and_several_twice():
    for chunk, calls in ((None, 1), (12, 1), (4, 6)):
        towers = Towers()
        scale = nn.Parameter(torch.tensor(2.5))
        compute_gradients(towers, batch(12), scale, None, Loss(), chunk, Processes(), POSITION)
        assert towers.calls == calls


def test_what_is_frozen_gets_no_gradient():
    towers = Towers()
    towers.image.requires_grad_(False)
    scale = nn.Parameter(torch.tensor(2.5), requires_grad=False)
    compute_gradients(towers, batch(6), scale, None, Loss(), 2, Processes(), POSITION)
    assert all(parameter.grad is None for parameter in (*towers.image.parameters(), scale))
    assert all(parameter.grad is not None for parameter in towers.text.parameters())


def test_the_sigmoid_losss_bias_learns():
    towers = Towers()
    scale, bias = nn.Parameter(torch.tensor([2.5])), nn.Parameter(torch.tensor([-4.0]))
    loss = compute_gradients(towers, batch(8), scale, bias, Loss(kind="sigmoid"), 3, Processes(), POSITION)
    again = Towers()
    images, texts = [], []
    for number, part in enumerate(batch(8).chunks(3)):
        seed_everything(*POSITION, 0, number)
        image, text = again(*part)
        images.append(image)
        texts.append(text)
    other = nn.Parameter(bias.detach().clone())
    logits = scale.detach().exp() * normalize(torch.cat(images), dim=1) @ normalize(torch.cat(texts), dim=1).T + other
    signs = 2 * torch.eye(8) - 1
    expected = -nn.functional.logsigmoid(signs * logits).sum() / 8
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(bias.grad, other.grad)
    assert bias.grad.shape == bias.shape
    assert scale.grad.shape == scale.shape


def test_seeds_of_different_places_differ_and_of_one_place_do_not():
    places = [(1, 2, 3), (1, 2, 4), (12, 3), (1, 23), (3, 2, 1)]
    assert len({seed_of(*place) for place in places}) == len(places)
    assert seed_of(1, 2, 3) == seed_of(1, 2, 3)
    assert all(0 <= seed_of(*place) < 2**63 for place in places)


def test_pictures_are_made_ready_chunk_by_chunk_and_the_same_twice():
    seen = []

    def doubled(images, number):
        seen.append((number, len(images["x"])))
        return {"x": 2 * images["x"]}

    given = batch(7)
    double = replace(given, images={"x": given.images["x"] / 2}, prepare=doubled)
    found = []
    for one in (given, double):
        towers, scale = Towers(), nn.Parameter(torch.tensor(1.0))
        compute_gradients(towers, one, scale, None, Loss(), 3, Processes(), POSITION)
        found.append([parameter.grad for parameter in towers.parameters()])
    assert seen == [(0, 3), (1, 3), (2, 1)] * 2
    # Not to the last bit: some processors' products depend on where in memory a matrix lies.
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("pictures", [None, 0.7])
@pytest.mark.parametrize("chunk", [None, 5])
def test_gradients_beside_a_teacher_are_those_of_the_whole_batch(pictures, chunk):
    targets = torch.randn(12, 5, generator=torch.Generator().manual_seed(8))
    given = replace(batch(12), targets=targets) if pictures else replace(batch(12), images={}, targets=targets)
    ours, reference = Towers(), Towers()
    scale, other_scale = (nn.Parameter(torch.tensor(2.5)) for _ in range(2))
    loss = compute_gradients(ours, given, scale, None, Loss(pictures=pictures), chunk, Processes(), POSITION)
    expected = 0.0
    if pictures:
        expected = pictures * by_autograd(reference, given, chunk, other_scale).detach()
        for parameter in (*reference.parameters(), other_scale):
            parameter.grad *= pictures
    texts = []
    for number, part in enumerate(given.chunks(chunk)):
        seed_everything(*POSITION, 0, number)
        texts.append(reference(*part)[1])
    distance = 2 - 2 * torch.cosine_similarity(torch.cat(texts), targets, dim=1).mean()
    distance.backward()
    torch.testing.assert_close(loss, expected + distance.detach(), rtol=1e-5, atol=1e-6)
    for (name, one), other in zip(ours.named_parameters(), reference.named_parameters(), strict=True):
        if name.startswith("image") and not pictures:
            assert one.grad is None
        else:
            torch.testing.assert_close(one.grad, other[1].grad, rtol=1e-4, atol=1e-6, msg=name)
    if pictures:
        torch.testing.assert_close(scale.grad, other_scale.grad, rtol=1e-4, atol=1e-6)
