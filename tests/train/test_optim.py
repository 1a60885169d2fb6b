import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_optimizer import AdaBelief as TheirAdaBelief
from torch import nn

from clip_italian.config import Optimizer, Stage
from clip_italian.errors import UsageError
from clip_italian.train import optim
from clip_italian.train.optim import Group
from tests.train import record_optax

RECORDED = json.loads((Path(__file__).parent / "data" / "optax_trajectory.json").read_text())["steps"]
# flax keeps inputs first, torch outputs
FROM_FLAX = {"linear": (1, 0), "column": (1, 0), "convolution": (3, 2, 0, 1)}


def stage(**settings):
    values = {"name": "s", "trainable": ["*"], "frozen": [], "learning_rate": 1.0, "epochs": 1, "patience": 1}
    return Stage(**values | {"warmup": 0.1} | settings)


def to_torch(name, array):
    return torch.from_numpy(np.ascontiguousarray(array.transpose(FROM_FLAX.get(name, range(array.ndim)))))


def to_flax(name, tensor):
    order = FROM_FLAX.get(name, tuple(range(tensor.ndim)))
    return tensor.detach().double().numpy().transpose(np.argsort(order))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_chain_follows_optax_for_fifty_steps(dtype):
    weights = {
        name: nn.Parameter(to_torch(name, record_optax.start(shape)).to(dtype))
        for name, shape in record_optax.SHAPES.items()
    }
    settings = stage(learning_rate=record_optax.RATE)
    tables = [Group([weights["table"]], record_optax.RATE, tables=True)]
    others = [Group([value for name, value in weights.items() if name != "table"], record_optax.RATE)]
    chain = optim.build(tables + others, Optimizer(), settings)
    schedule = optim.cosine_with_warmup(chain, len(RECORDED), record_optax.WARMUP / len(RECORDED))
    clipped = set()
    for step, expected in enumerate(RECORDED):
        assert schedule.get_last_lr() == pytest.approx([expected["rate"]] * 2, abs=1e-12)
        for name, value in weights.items():
            value.grad = to_torch(name, np.asarray(record_optax.gradient(to_flax(name, value), step))).to(dtype)
        before = {name: value.grad.clone() for name, value in weights.items()}
        chain.step()
        schedule.step()
        for name, value in weights.items():
            clipped |= {(name, changed) for changed in (value.grad != before[name]).flatten().tolist()}
            assert np.abs(to_flax(name, value).ravel() - expected["weights"][name]).max() < 1e-6, (name, step)
    # The recording is of use only where it holds units on both sides of the limit.
    assert {("linear", True), ("linear", False), ("table", True), ("table", False), ("bias", True)} <= clipped


def test_large_weights_go_in_pieces_and_small_ones_together(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    shapes = [(40, 7), (3,), (), (129,), (2, 2, 3, 3)]
    start = [torch.randn(shape, generator=rng) for shape in shapes]
    ours, theirs = ([nn.Parameter(value.clone()) for value in start] for _ in range(2))
    monkeypatch.setattr("clip_italian.train.optim._THREAD_NUMBERS", 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    groups = [Group(ours[:2], 1e-2, weight_decay=0.1), Group(ours[2:], 2e-3)]
    chain = optim.build(groups, Optimizer(), stage(clipping=0.0))
    reference = TheirAdaBelief(
        [{"params": theirs[:2], "lr": 1e-2, "weight_decay": 0.1}, {"params": theirs[2:], "lr": 2e-3}]
    )
    for step in range(10):
        for left, right in zip(ours, theirs, strict=True):
            left.grad = torch.randn(left.shape, generator=rng)
            right.grad = left.grad.clone()
        if step == 4:
            ours[1].grad = theirs[1].grad = torch.zeros(3)
        chain.step()
        reference.step()
    for left, right in zip(ours, theirs, strict=True):
        assert torch.allclose(left, right, atol=1e-6)


def test_a_parameter_without_gradient_stays_and_counts_its_own_steps():
    moving, resting = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    chain = optim.build([Group([moving, resting], 1e-2)], Optimizer(), stage())
    for _ in range(3):
        moving.grad = torch.randn(3)
        chain.step()
    assert torch.equal(resting, torch.ones(3))
    assert chain.state[moving]["step"] == 3
    assert not chain.state[resting]


@pytest.mark.parametrize("name", ["adabelief", "adamw"])
def test_a_restored_optimiser_goes_on_as_the_undisturbed_one(name):
    def made():
        parameter = nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4))
        return parameter, optim.build([Group([parameter], 1e-2, 0.1)], Optimizer(name=name), stage())

    def move(parameter, chain, steps):
        for step in steps:
            parameter.grad = torch.sin(torch.arange(12.0).view(3, 4) + step)
            chain.step()

    whole, chain = made()
    move(whole, chain, range(6))
    first, chain = made()
    move(first, chain, range(3))
    second, again = made()
    second.data.copy_(first.data)
    again.load_state_dict(chain.state_dict())
    move(second, again, range(3, 6))
    assert torch.equal(second, whole)


def test_adamw_is_torchs_with_its_own_eps_after_clipping():
    parameter, reference = (nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 2.0]])) for _ in range(2))
    chain = optim.build([Group([parameter], 1e-2, 0.1)], Optimizer(name="adamw", beta2=0.98), stage(clipping=0.01))
    theirs = torch.optim.AdamW([reference], lr=1e-2, betas=(0.9, 0.98), weight_decay=0.1)
    for _ in range(3):
        parameter.grad = torch.tensor([[30.0, 40.0], [0.0, 0.01]])
        lengths = reference.detach().norm(dim=1, keepdim=True)
        reference.grad = torch.tensor([[0.6, 0.8], [0.0, 0.01]]) * torch.cat([0.01 * lengths[:1], torch.ones(1, 1)])
        chain.step()
        theirs.step()
    assert torch.allclose(parameter, reference, atol=1e-6)


def test_half_precision_weights_are_refused():
    with pytest.raises(UsageError, match="bfloat16"):
        optim.build([Group([nn.Parameter(torch.ones(2, dtype=torch.bfloat16))], 1e-3)], Optimizer(), stage())


def test_schedule_rises_then_falls_along_half_a_cosine():
    parameter = nn.Parameter(torch.zeros(1))
    chain = torch.optim.SGD([parameter], lr=1.0)
    schedule = optim.cosine_with_warmup(chain, steps=100, warmup=0.1)
    rates = []
    for _ in range(101):
        rates.append(schedule.get_last_lr()[0])
        chain.step()
        schedule.step()
    assert rates[0] == 0
    assert math.isclose(rates[1], 0.1)
    assert math.isclose(rates[10], 1.0)
    assert math.isclose(rates[55], 0.5, abs_tol=1e-6)
    assert math.isclose(rates[100], 0.0, abs_tol=1e-9)


def test_without_warmup_the_schedule_starts_at_the_top():
    schedule = optim.cosine_with_warmup(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), 3, 0.0)
    assert schedule.get_last_lr() == [1.0]


NAMES = {
    "text_model.embeddings.word_embeddings.weight": (9, 4),
    "text_model.embeddings.LayerNorm.weight": (4,),
    "text_model.encoder.layer.0.output.dense.weight": (4, 4),
    "text_model.encoder.layer.1.output.dense.weight": (4, 4),
    "text_model.encoder.layer.1.output.dense.bias": (4,),
    "text_model.pooler.dense.weight": (4, 4),
    "vision_model.embeddings.class_embedding": (4,),
    "vision_model.embeddings.patch_embedding.weight": (4, 3, 2, 2),
    "vision_model.embeddings.position_embedding.weight": (5, 4),
    "vision_model.pre_layrnorm.weight": (4,),
    "vision_model.encoder.layers.0.mlp.fc1.weight": (4, 4),
    "vision_model.encoder.layers.1.mlp.fc1.weight": (4, 4),
    "vision_model.encoder.layers.2.mlp.fc1.weight": (4, 4),
    "vision_model.post_layernorm.weight": (4,),
    "visual_projection.weight": (2, 4),
    "text_projection.weight": (2, 4),
    "logit_scale": (),
}


def settings_of(**settings):
    named = [(name, nn.Parameter(torch.zeros(shape))) for name, shape in NAMES.items()]
    groups = optim.parameter_groups(named, stage(**settings))
    assert sum(len(group.parameters) for group in groups) == len(NAMES)
    name_of = {id(parameter): name for name, parameter in named}
    return {name_of[id(parameter)]: group for group in groups for parameter in group.parameters}


def test_rates_by_pattern_and_the_first_one_counts():
    found = settings_of(learning_rate=2.0, rates={"*_projection.*": 10.0, "text_*": 0.5})
    rates = {name: group.learning_rate for name, group in found.items()}
    assert rates["text_projection.weight"] == rates["visual_projection.weight"] == 20.0
    assert rates["text_model.pooler.dense.weight"] == 1.0
    assert rates["vision_model.post_layernorm.weight"] == rates["logit_scale"] == 2.0


def test_a_rate_that_matches_nothing_is_an_error():
    with pytest.raises(UsageError, match="'text_modell"):
        settings_of(rates={"text_modell.*": 0.1})


def test_rates_fall_with_depth():
    rates = {name: group.learning_rate for name, group in settings_of(layer_decay=0.5).items()}
    expected = dict.fromkeys(NAMES, 1.0) | {
        "text_model.encoder.layer.0.output.dense.weight": 0.5,
        "text_model.embeddings.word_embeddings.weight": 0.25,
        "text_model.embeddings.LayerNorm.weight": 0.25,
        "vision_model.encoder.layers.1.mlp.fc1.weight": 0.5,
        "vision_model.encoder.layers.0.mlp.fc1.weight": 0.25,
        "vision_model.pre_layrnorm.weight": 0.125,
        "vision_model.embeddings.class_embedding": 0.125,
        "vision_model.embeddings.patch_embedding.weight": 0.125,
        "vision_model.embeddings.position_embedding.weight": 0.125,
    }
    assert rates == expected


def test_depth_without_numbered_layers_is_an_error():
    with pytest.raises(UsageError, match="layer_decay"):
        optim.parameter_groups([("head.weight", nn.Parameter(torch.zeros(2, 2)))], stage(layer_decay=0.5))


def test_only_weights_decay_and_only_tables_are_tables():
    found = settings_of(weight_decay=0.1)
    decaying = {name for name, group in found.items() if group.weight_decay}
    assert decaying == {name for name, shape in NAMES.items() if len(shape) > 1}
    assert {name for name, group in found.items() if group.tables} == {
        "text_model.embeddings.word_embeddings.weight",
        "vision_model.embeddings.position_embedding.weight",
    }
