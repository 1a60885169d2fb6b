"""The paper's recipe at its full size, with random towers: a few real steps (9 GB, some minutes on 2 cores)."""

import json
import math

import numpy as np
import pytest

from clip_italian.config import load_recipe
from clip_italian.models_torch.base import load_base
from clip_italian.train import loop, optim
from clip_italian.train.optim import parameter_groups
from clip_italian.train.run import train


@pytest.mark.slow
def test_the_paper_recipe_runs(shapes, tmp_path, cache, monkeypatch):
    """54 pictures, 43 of them to train on: two batches of 20 an epoch, one epoch a stage."""
    more = [
        "model.init=random",
        "data.validation=0.1",
        "batch.effective=20",
        "batch.chunk=10",
        "stage.0.epochs=3",
        "stage.1.epochs=1",
    ]
    recipe = load_recipe("paper", [f"data.pairs={shapes}", f"output={tmp_path / 'run'}", *more])
    seen = []
    original = loop.compute_gradients

    def remembered(embedder, batch, logit_scale, *rest):
        embedder.eval()
        images, texts = (side.detach().numpy() for side in embedder(batch.images, batch.texts))
        embedder.train()
        loss = original(embedder, batch, logit_scale, *rest)
        moving = {name for name, value in embedder.named_parameters() if value.requires_grad}
        seen.append((images, texts, batch.groups.numpy(), loss.item(), moving))
        return loss

    monkeypatch.setattr(loop, "compute_gradients", remembered)
    train(recipe)
    images, texts, groups, loss, moving = seen[0]
    assert moving == {"visual_projection.weight", "text_projection.weight"}
    assert loss == pytest.approx(by_numpy(images, texts, groups, scale=20.0), rel=1e-4)
    assert any(name.startswith("vision.") for name in seen[-1][4])
    assert any(name.startswith("text.") for name in seen[-1][4])

    steps = [json.loads(line) for line in (tmp_path / "run/steps.jsonl").read_text().splitlines()]
    first = [step["learning_rate"] for step in steps if step["stage"] == "frozen"]
    assert len(first) == 6
    rising = round(0.1 * len(first))
    expected = [
        1e-5 * (n / rising if n < rising else (1 + math.cos(math.pi * (n - rising) / (len(first) - rising))) / 2)
        for n in range(len(first))
    ]
    np.testing.assert_allclose(first, expected, rtol=1e-6, atol=1e-12)


def by_numpy(images, texts, groups, scale):
    """The loss of a batch, rows of one identity left out as negatives."""
    images, texts = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (images, texts))
    logits = scale * images @ texts.T
    same = (groups[:, None] == groups) & ~np.eye(len(groups), dtype=bool)
    logits = np.where(same, -np.inf, logits)
    rows = np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)
    columns = np.log(np.exp(logits).sum(axis=0)) - np.diag(logits)
    return (rows.mean() + columns.mean()) / 2


def test_parameter_groups_of_both_stages():
    """Numbers of weights counted from the papers' shapes: ViT-B/32, BERT-base with 32,102 pieces, 512 dimensions."""
    recipe = load_recipe("paper", ["model.init=random"])
    model = load_base(recipe.model).model
    layer = 4 * (768 * 768 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
    vision = 768 + 3 * 32 * 32 * 768 + 50 * 768 + 4 * 768 + 12 * layer
    text = (32102 + 512 + 2 + 2) * 768 + 12 * layer + 768 * 768 + 768
    projections = 2 * 768 * 512
    for stage, weights in zip(recipe.stage, (projections, projections + vision + text), strict=True):
        groups = parameter_groups(optim.freeze(model, stage.trainable, stage.frozen), stage)
        assert sum(parameter.numel() for group in groups for parameter in group.parameters) == weights
        assert {(group.learning_rate, group.weight_decay) for group in groups} == {(1e-5, 0.0)}
        assert not model.logit_scale.requires_grad
    tables = [tuple(parameter.shape) for group in groups if group.tables for parameter in group.parameters]
    assert sorted(tables) == [(2, 768), (50, 768), (512, 768), (32102, 768)]
    assert model.logit_scale.exp().item() == pytest.approx(20)
