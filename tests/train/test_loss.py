import math

import numpy as np
import pytest
import torch
from transformers import SiglipConfig, SiglipModel
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from clip_italian.config import Loss
from clip_italian.errors import UsageError
from clip_italian.train import loss as losses
from clip_italian.train.loss import contrastive_loss, distance_and_gradient, loss_and_gradients

GROUPS = torch.tensor([0, 1, 0, 2, 3, 3, 3, 4, 5])


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def reference(images, texts, scale, groups=None):
    """The definition, entry by entry, in float64."""
    logits = scale * unit(images) @ unit(texts).T
    n, total = len(logits), 0.0
    for i in range(n):
        negatives = [j for j in range(n) if j == i or groups is None or groups[i] != groups[j]]
        total -= logits[i, i] - math.log(sum(math.exp(logits[i, j]) for j in negatives))
        total -= logits[i, i] - math.log(sum(math.exp(logits[j, i]) for j in negatives))
    return total / (2 * n)


def sigmoid_reference(images, texts, scale, bias, groups=None):
    """Algorithm 1 of Zhai et al. 2023, entry by entry."""
    logits = scale * unit(images) @ unit(texts).T + bias
    n, total = len(logits), 0.0
    for i in range(n):
        for j in range(n):
            if i == j or groups is None or groups[i] != groups[j]:
                total += math.log1p(math.exp(-logits[i, j] if i == j else logits[i, j]))
    return total / n


def random_rows(seed, n=9, d=6):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)))


def alone(images, texts, scale, bias, groups, settings):
    scale, bias = torch.tensor(scale), None if bias is None else torch.tensor(bias)
    return loss_and_gradients(images, texts, images, texts, 0, scale, bias, groups, groups, settings)


def test_loss_equals_the_definition():
    images, texts = random_rows(1), random_rows(2)
    assert abs(contrastive_loss(images, texts, 20.0).item() - reference(images.numpy(), texts.numpy(), 20.0)) < 1e-6


def test_loss_equals_the_one_of_transformers():
    images, texts = (torch.nn.functional.normalize(random_rows(s), dim=1) for s in (3, 4))
    expected = image_text_contrastive_loss(20.0 * texts @ images.T)
    assert torch.allclose(contrastive_loss(images, texts, 20.0), expected)


def test_rows_of_one_identity_are_no_negatives():
    images, texts = random_rows(5), random_rows(6)
    expected = reference(images.numpy(), texts.numpy(), 20.0, GROUPS.tolist())
    assert abs(contrastive_loss(images, texts, 20.0, GROUPS).item() - expected) < 1e-6


def test_all_alike_costs_the_logarithm_of_the_batch():
    same = torch.ones(8, 4)
    assert math.isclose(contrastive_loss(same, same, 20.0).item(), math.log(8), rel_tol=1e-5)


@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize("sizes", [(), (4, 2)])
@pytest.mark.parametrize("kind", ["contrastive", "sigmoid"])
def test_blockwise_loss_equals_the_definition(kind, sizes, groups, monkeypatch):
    monkeypatch.setattr(losses, "SCORES", 4 * 9)
    images, texts = random_rows(7).float(), random_rows(8).float()
    found = alone(images, texts, 20.0, -10.0, groups, Loss(kind=kind, sizes=sizes))
    x, y, numbers = images.double().numpy(), texts.double().numpy(), None if groups is None else groups.tolist()
    expected = np.mean(
        [
            reference(x[:, :size], y[:, :size], 20.0, numbers)
            if kind == "contrastive"
            else sigmoid_reference(x[:, :size], y[:, :size], 20.0, -10.0, numbers)
            for size in (6, *sizes)
        ]
    )
    assert found.loss.item() == pytest.approx(expected, abs=1e-6, rel=1e-6)


def joint(images, texts, scale, bias, groups, settings):
    """The loss as autograd can differentiate it, over the whole batch at once."""
    total = 0.0
    for size in (images.shape[1], *settings.sizes):
        if settings.kind == "contrastive":
            total = total + contrastive_loss(images[:, :size], texts[:, :size], scale, groups)
            continue
        normal = [torch.nn.functional.normalize(side[:, :size], dim=1) for side in (images, texts)]
        logits = scale * normal[0] @ normal[1].T + bias
        sign = 2 * torch.eye(len(logits), dtype=logits.dtype) - 1
        terms = -torch.nn.functional.logsigmoid(sign * logits)
        if groups is not None:
            terms = terms * ((groups[:, None] != groups) | (sign > 0))
        total = total + terms.sum() / len(logits)
    return total / (1 + len(settings.sizes))


@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize("sizes", [(), (4, 2)])
@pytest.mark.parametrize("kind", ["contrastive", "sigmoid"])
def test_shares_of_processes_add_up_to_the_gradients_of_the_joint_batch(kind, sizes, groups, monkeypatch):
    monkeypatch.setattr(losses, "SCORES", 2 * 9)
    settings = Loss(kind=kind, sizes=sizes)
    images, texts = (random_rows(seed).requires_grad_() for seed in (9, 10))
    scale, bias = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (15.0, -3.0))
    expected = joint(images, texts, scale, bias, groups, settings)
    expected.backward()

    shares = []
    for own in (slice(0, 3), slice(3, 8), slice(8, 9)):
        parts = None if groups is None else groups[own]
        x, y = images.detach(), texts.detach()
        shares.append(loss_and_gradients(x[own], y[own], x, y, own.start, scale, bias, parts, groups, settings))
    assert torch.allclose(sum(share.loss for share in shares), expected)
    assert torch.allclose(sum(share.images_gradient for share in shares), images.grad)
    assert torch.allclose(sum(share.texts_gradient for share in shares), texts.grad)
    assert torch.allclose(sum(share.scale_gradient for share in shares), scale.grad)
    if kind == "sigmoid":
        assert torch.allclose(sum(share.bias_gradient for share in shares), bias.grad)
    else:
        assert all(share.bias_gradient is None for share in shares)


@pytest.mark.parametrize("kind", ["contrastive", "sigmoid"])
def test_local_negatives_are_the_mean_of_processes_by_themselves(kind):
    settings = Loss(kind=kind, negatives="local")
    images, texts = random_rows(11, n=8), random_rows(12, n=8)
    scale, bias = torch.tensor(20.0), torch.tensor(-5.0)
    halves = [slice(0, 4), slice(4, 8)]
    for own in halves:
        share = loss_and_gradients(images[own], texts[own], images, texts, own.start, scale, bias, None, None, settings)
        by_itself = alone(images[own], texts[own], 20.0, -5.0, None, settings)
        assert torch.allclose(share.loss, by_itself.loss / 2)
        assert torch.allclose(share.images_gradient[own], by_itself.images_gradient / 2)
        assert share.texts_gradient[halves[own.start == 0]].abs().max() == 0


def test_sigmoid_loss_equals_the_one_of_transformers():
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = SiglipModel(
        SiglipConfig(
            text_config=tower | {"vocab_size": 20, "max_position_embeddings": 4, "projection_size": 16},
            vision_config=tower | {"image_size": 8, "patch_size": 4},
        )
    ).eval()
    model.logit_scale.data.fill_(math.log(10.0))
    model.logit_bias.data.fill_(-10.0)
    with torch.no_grad():
        out = model(torch.randint(3, 20, (5, 4)), torch.randn(5, 3, 8, 8), return_loss=True)
    found = alone(3 * out.image_embeds, out.text_embeds, 10.0, -10.0, None, Loss(kind="sigmoid"))
    assert found.loss.item() == pytest.approx(out.loss.item(), rel=1e-6)


def test_all_in_float32_whatever_autocast_is_around():
    images, texts = random_rows(13).float(), random_rows(14).float()
    plain = alone(images, texts, 20.0, None, GROUPS, Loss())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        around = alone(images, texts, 20.0, None, GROUPS, Loss())
    halves = alone(images.bfloat16(), texts.bfloat16(), 20.0, None, GROUPS, Loss())
    assert torch.equal(around.loss, plain.loss)
    assert torch.equal(around.images_gradient, plain.images_gradient)
    assert halves.loss.dtype == halves.texts_gradient.dtype == torch.float32


def test_no_block_has_more_scores_than_said(monkeypatch):
    monkeypatch.setattr(losses, "SCORES", 8 * 200)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            nonlocal largest
            result = function(*arguments, **(keywords or {}))
            for tensor in result if isinstance(result, tuple | list) else [result]:
                largest = max(largest, tensor.numel() if isinstance(tensor, torch.Tensor) else 0)
            return result

    images, texts, numbers = random_rows(15, n=200, d=4), random_rows(16, n=200, d=4), torch.arange(200) // 2
    with Watch():
        alone(images, texts, 20.0, None, numbers, Loss())
    assert largest == 8 * 200  # as large as the gradient of both sides, 2 * 200 * 4


def test_wrong_settings_are_clear_lines():
    rows = random_rows(17)
    with pytest.raises(UsageError, match="6 numbers"):
        alone(rows, rows, 20.0, None, None, Loss(sizes=(7,)))
    with pytest.raises(UsageError, match="bias"):
        alone(rows, rows, 20.0, None, None, Loss(kind="sigmoid"))


@pytest.mark.parametrize("sizes", [(), (3, 2)])
def test_the_distance_to_a_teacher_is_that_of_unit_vectors(sizes):
    texts, targets = random_rows(21), random_rows(22)
    found, gradient = distance_and_gradient(texts, targets, 9, sizes)
    parts = [(unit(texts.numpy()[:, :d]), unit(targets.numpy()[:, :d])) for d in (6, *sizes)]
    assert found.item() == pytest.approx(np.mean([np.square(a - b).sum(axis=1).mean() for a, b in parts]))
    # The definition by cosines, with the gradient by autograd.
    moving = texts.clone().requires_grad_()
    cosines = [torch.cosine_similarity(moving[:, :d], targets[:, :d], dim=1) for d in (6, *sizes)]
    expected = torch.stack([2 - 2 * one for one in cosines]).mean()
    expected.backward()
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close(gradient, moving.grad)


def test_shares_of_the_distance_add_up():
    texts, targets = random_rows(23), random_rows(24)
    whole, gradient = distance_and_gradient(texts, targets, 9, ())
    shares = [distance_and_gradient(texts[some], targets[some], 9, ()) for some in (slice(0, 4), slice(4, 9))]
    torch.testing.assert_close(sum(share for share, _ in shares), whole)
    torch.testing.assert_close(torch.cat([part for _, part in shares]), gradient)


def test_a_size_beyond_the_teachers_embeddings_is_an_error():
    with pytest.raises(UsageError, match=r"loss.sizes = \[7\]: an embedding has 6 numbers"):
        distance_and_gradient(random_rows(1), random_rows(2), 9, (7,))
