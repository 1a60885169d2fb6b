"""The paper's optimiser: adaptive gradient clipping, then AdaBelief, under a cosine with warm-up.

AdaBelief and the clipping are pytorch-optimizer's; the order (clip first) is that of the
published training script.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from pytorch_optimizer import AdaBelief
from pytorch_optimizer.optimizer.agc import agc
from torch import nn
from torch.optim.lr_scheduler import LambdaLR


def build(parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float) -> AdaBelief:
    """AdaBelief with the published script's values (b1 0.9, b2 0.999, eps 1e-16)."""
    return AdaBelief(
        list(parameters), lr=learning_rate, betas=(0.9, 0.999), eps=1e-16, weight_decay=weight_decay, rectify=False
    )


def clip_gradients(parameters: Sequence[nn.Parameter], ratio: float) -> None:
    """Scale each unit's gradient so that its norm is at most `ratio` times the unit's weight norm.

    Adaptive gradient clipping of Brock et al. 2021, in place, eps 1e-3.
    """
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.copy_(agc(parameter, parameter.grad, agc_eps=1e-3, agc_clip_val=ratio))


def cosine_with_warmup(optimiser: torch.optim.Optimizer, steps: int, warmup: float) -> LambdaLR:
    """Learning rate: straight up over `warmup * steps`, then half a cosine down to 0 at `steps`."""
    rising = max(1, round(steps * warmup))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))

    return LambdaLR(optimiser, factor)
