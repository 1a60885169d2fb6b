"""AdaBelief (Zhuang et al. 2020) as optax's `scale_by_belief`, in as few passes over memory as torch allows."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from clip_italian.train.sharded import own_part

# Numbers that go through all operations together: for each thread of a processor, in whose cache they stay
# meanwhile; on an accelerator, where this only bounds the memory of what lies between the operations.
_THREAD_NUMBERS = 1 << 17
_ACCELERATOR_NUMBERS = 1 << 26

_Row = tuple[Any, Any, Any, Any, float]  # weight, gradient, mean, variance; steps with this one


class AdaBelief(torch.optim.Optimizer):
    """Steps by the mean gradient over how far gradients stray from that mean.

    Equal to pytorch-optimizer's class of this name without rectification; that one walks over all
    weights once an operation, which takes more than twice the time on a processor and memory for
    two more copies of the weights (benchmarks/optimiser_step.py). `eps` is added to the variance
    that is carried on, and outside the root. Weight decay is decoupled: a share `lr * weight_decay` a step.
    State: `step`, `mean` and `variance` of each parameter.
    """

    def __init__(
        self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-16,
        weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient. A closure is not taken."""
        if closure is not None:
            raise TypeError("AdaBelief.step takes no closure: compute the loss and its gradients before")
        for group in self.param_groups:
            rows = [self._row(parameter) for parameter in group["params"] if parameter.grad is not None]
            for batch in _batches(rows):
                _move(batch, group)

    def _row(self, parameter: torch.Tensor) -> _Row:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["mean"] = torch.zeros_like(parameter)
            state["variance"] = torch.zeros_like(parameter)
        state["step"] += 1
        tensors = (parameter, parameter.grad, state["mean"], state["variance"])
        weight, gradient, mean, variance = map(own_part, tensors)
        return weight, gradient, mean, variance, state["step"].item()


def _batches(rows: list[_Row]) -> Iterator[list[_Row]]:
    """Rows, large ones in pieces, small ones together, so that each batch has about the same count of numbers."""
    batch: list[_Row] = []
    size = 0
    for *tensors, step in rows:
        on_cpu = tensors[0].device.type == "cpu"
        limit = _THREAD_NUMBERS * torch.get_num_threads() if on_cpu else _ACCELERATOR_NUMBERS
        whole = tensors[0].numel() <= limit or not all(tensor.is_contiguous() for tensor in tensors)
        parts = [(tensor,) for tensor in tensors] if whole else [tensor.view(-1).split(limit) for tensor in tensors]
        for weight, gradient, mean, variance in zip(*parts, strict=True):
            if batch and size + weight.numel() > limit:
                yield batch
                batch, size = [], 0
            batch.append((weight, gradient, mean, variance, step))
            size += weight.numel()
    if batch:
        yield batch


def _move(batch: list[_Row], group: dict[str, Any]) -> None:
    weights, gradients, means, variances, steps = (list(column) for column in zip(*batch, strict=True))
    (beta1, beta2), rate, eps = group["betas"], group["lr"], group["eps"]
    if group["weight_decay"]:
        torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
    torch._foreach_lerp_(means, gradients, 1 - beta1)
    strays = torch._foreach_sub(gradients, means)
    torch._foreach_mul_(variances, beta2)
    torch._foreach_addcmul_(variances, strays, strays, 1 - beta2)
    torch._foreach_add_(variances, eps)
    # mean / (1 - β1ᵗ) over √(variance / (1 - β2ᵗ)) + ε, the fraction widened by √(1 - β2ᵗ): one pass less.
    widths = [math.sqrt(1 - beta2**step) for step in steps]
    roots = torch._foreach_sqrt(variances)
    torch._foreach_add_(roots, [eps * width for width in widths])
    factors = [-rate * width / (1 - beta1**step) for width, step in zip(widths, steps, strict=True)]
    torch._foreach_addcdiv_(weights, means, roots, factors)
