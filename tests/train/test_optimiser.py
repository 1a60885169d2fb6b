import math

import numpy as np
import torch
from torch import nn

from clip_italian.train import optimiser


def test_clipping_limits_each_unit_to_a_share_of_its_weight_norm():
    parameter = nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    parameter.grad = torch.tensor([[30.0, 40.0], [0.0, 0.01]])
    optimiser.clip_gradients([parameter], 0.01)
    # First unit: weight norm 5, gradient norm 50 → scaled to 0.05. Second: 0.01 < 0.02, untouched.
    assert torch.allclose(parameter.grad, torch.tensor([[0.03, 0.04], [0.0, 0.01]]))


def adabelief(start, gradients, lr, b1=0.9, b2=0.999, eps=1e-16):
    """The algorithm of Zhuang et al. 2020, in float64."""
    weight, mean, spread = start.astype(np.float64), 0.0, 0.0
    for t, gradient in enumerate(gradients, start=1):
        mean = b1 * mean + (1 - b1) * gradient
        spread = b2 * spread + (1 - b2) * (gradient - mean) ** 2 + eps
        weight = weight - lr * (mean / (1 - b1**t)) / (np.sqrt(spread / (1 - b2**t)) + eps)
    return weight


def test_adabelief_follows_the_paper():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(4, 3)), rng.normal(size=(20, 4, 3))
    parameter = nn.Parameter(torch.from_numpy(start.copy()))
    chain = optimiser.build([parameter], 1e-2, 0.0)
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient.copy())
        chain.step()
    assert np.allclose(parameter.detach().numpy(), adabelief(start, gradients, 1e-2), atol=1e-6)


def test_schedule_rises_then_falls_along_half_a_cosine():
    parameter = nn.Parameter(torch.zeros(1))
    chain = torch.optim.SGD([parameter], lr=1.0)
    schedule = optimiser.cosine_with_warmup(chain, steps=100, warmup=0.1)
    rates = []
    for _ in range(101):
        rates.append(schedule.get_last_lr()[0])
        chain.step()
        schedule.step()
    assert math.isclose(rates[0], 0.1)
    assert math.isclose(rates[9], 1.0)
    assert math.isclose(rates[10], 1.0)
    assert math.isclose(rates[55], 0.5, abs_tol=1e-6)
    assert math.isclose(rates[100], 0.0, abs_tol=1e-9)
