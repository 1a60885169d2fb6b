import math

import numpy as np
import torch
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from clip_italian.train.loss import contrastive_loss


def reference(images, texts, scale, groups=None):
    """The definition, entry by entry, in float64."""
    images = images / np.linalg.norm(images, axis=1, keepdims=True)
    texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    logits = scale * images @ texts.T
    n, total = len(logits), 0.0
    for i in range(n):
        negatives = [j for j in range(n) if j == i or groups is None or groups[i] != groups[j]]
        total -= logits[i, i] - math.log(sum(math.exp(logits[i, j]) for j in negatives))
        total -= logits[i, i] - math.log(sum(math.exp(logits[j, i]) for j in negatives))
    return total / (2 * n)


def random_rows(seed, n=9, d=6):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)))


def test_loss_equals_the_definition():
    images, texts = random_rows(1), random_rows(2)
    assert abs(contrastive_loss(images, texts, 20.0).item() - reference(images.numpy(), texts.numpy(), 20.0)) < 1e-6


def test_loss_equals_the_one_of_transformers():
    images, texts = (torch.nn.functional.normalize(random_rows(s), dim=1) for s in (3, 4))
    expected = image_text_contrastive_loss(20.0 * texts @ images.T)
    assert torch.allclose(contrastive_loss(images, texts, 20.0), expected)


def test_rows_of_one_identity_are_no_negatives():
    images, texts = random_rows(5), random_rows(6)
    groups = torch.tensor([0, 1, 0, 2, 3, 3, 3, 4, 5])
    expected = reference(images.numpy(), texts.numpy(), 20.0, groups.tolist())
    assert abs(contrastive_loss(images, texts, 20.0, groups).item() - expected) < 1e-6


def test_all_alike_costs_the_logarithm_of_the_batch():
    same = torch.ones(8, 4)
    assert math.isclose(contrastive_loss(same, same, 20.0).item(), math.log(8), rel_tol=1e-5)
