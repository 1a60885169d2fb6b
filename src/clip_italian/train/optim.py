"""Which parameters move, and how: freezing, clipping, AdaBelief, the learning rate, and the average of the weights.

The published training script chains optax's `adaptive_grad_clip`, `scale_by_belief` and a cosine schedule with warm-up.
This is the same chain; the tests compare it with a trajectory recorded with optax.
"""

import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor, Shard
from torch.optim.lr_scheduler import LambdaLR

from clip_italian import config
from clip_italian.errors import UsageError
from clip_italian.train.checkpoint import Tensors, put_weights, weights_of
from clip_italian.train.parallel import own_part

Named = Sequence[tuple[str, nn.Parameter]]

# vision_model.encoder.layers.3.mlp… → tower "vision_model.encoder", layer 3
_LAYER = re.compile(r"(?P<tower>.+?)\.(?:layers?|blocks|stages)\.(?P<number>\d+)\.")
# What lies below the first layer of a tower.
_BELOW = re.compile(r"\.(?:embeddings?|\w*_embeddings?|pre_?lay\w*norm|conv_stem|\w+_token)(?:\.|$)")
# An embedding table, but not the layer called patch_embedding.
_TABLE = re.compile(r"(?<!patch_)embeddings?(?:\.weight)?$")

LEAST_NORM = 1e-3  # so that weights that start at 0 can move
_ROWS = 256  # of a table, summed at a time

# Numbers that go through all operations of AdaBelief together: per thread of a processor, in whose cache they stay
# meanwhile; on an accelerator this only bounds the memory of intermediate results.
_THREAD_NUMBERS = 1 << 17
_ACCELERATOR_NUMBERS = 1 << 26

_STEPS = "steps"  # no parameter's name is a single word


# Freezing by name patterns: every parameter must be covered, so nothing moves by accident.


def choose(model: nn.Module, trainable: Sequence[str], frozen: Sequence[str]) -> list[tuple[str, nn.Parameter]]:
    """Parameters whose names match a pattern in `trainable`, with their names.

    A parameter that matches both lists is trainable. Raises UsageError for one that matches neither, and for a pattern
    that matches nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in (*trainable, *frozen):
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"pattern {pattern!r}: no parameter of the model has such a name, e.g. {names[0]}")
    chosen = []
    for name, parameter in model.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in trainable):
            chosen.append((name, parameter))
        elif not any(fnmatchcase(name, pattern) for pattern in frozen):
            raise UsageError(
                f"parameter {name}: neither trainable nor frozen; add a pattern to the stage that covers it"
            )
    return chosen


def names_within(module: nn.Module, chosen: Named) -> set[str]:
    """Names, within a module of the model, of those parameters that are among `chosen`."""
    identities = {id(parameter) for _, parameter in chosen}
    return {name for name, parameter in module.named_parameters() if id(parameter) in identities}


def freeze(model: nn.Module, trainable: Sequence[str], frozen: Sequence[str]) -> list[tuple[str, nn.Parameter]]:
    """Set `requires_grad` of every parameter; return the trainable ones. Raises UsageError as `choose` does."""
    chosen = choose(model, trainable, frozen)
    model.requires_grad_(False)
    for _, parameter in chosen:
        parameter.requires_grad_(True)
    return chosen


# Groups of parameters, the optimiser, the learning rate.


@dataclass(frozen=True)
class Group:
    """Parameters with one learning rate.

    `tables` marks embedding tables (number, …, features): for adaptive clipping a unit of them is a feature over all
    entries. A unit of other weights (out, in, …) is an output.
    """

    parameters: Sequence[nn.Parameter]
    learning_rate: float
    weight_decay: float = 0.0
    tables: bool = False


def parameter_groups(named: Named, stage: config.Stage) -> list[Group]:
    """The stage's trainable parameters, each at the stage's rate × its factor in `rates` × its layer's.

    With `layer_decay` the highest numbered layer of a tower, all above it and the projections have factor 1, each layer
    below `layer_decay` of the one above, and the embeddings the least. Weights decay; biases, norms and other vectors
    or single numbers do not. Raises UsageError for a pattern in `rates` that matches nothing, and for `layer_decay`
    where no layer has a number.
    """
    for pattern in stage.rates:
        if not any(fnmatchcase(name, pattern) for name, _ in named):
            raise UsageError(f"stage {stage.name}: pattern {pattern!r} of rates matches no trainable parameter")
    factor_of_layer = _layer_factors([name for name, _ in named], stage)
    found: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in named:
        factor = next((factor for pattern, factor in stage.rates.items() if fnmatchcase(name, pattern)), 1.0)
        rate = stage.learning_rate * factor * factor_of_layer(name)
        matrix = sum(size > 1 for size in parameter.shape) > 1
        decay = stage.weight_decay if matrix else 0.0
        tables = matrix and _TABLE.search(name) is not None
        found.setdefault((rate, decay, tables), []).append(parameter)
    return [Group(parameters, *values) for values, parameters in found.items()]


def _layer_factors(names: Iterable[str], stage: config.Stage) -> Callable[[str], float]:
    """Factor of the learning rate by parameter name."""
    layers: dict[str, int] = {}  # of each tower
    if stage.layer_decay < 1:
        for match in filter(None, map(_LAYER.match, names)):
            layers[match["tower"]] = max(layers.get(match["tower"], 0), int(match["number"]) + 1)
        if not layers:
            raise UsageError(
                f"stage {stage.name}: layer_decay, but no trainable layer has a number in its name; drop it"
            )

    def factor(name: str) -> float:
        match = _LAYER.match(name)
        if match and match["tower"] in layers:
            return stage.layer_decay ** (layers[match["tower"]] - 1 - int(match["number"]))
        # Embeddings are siblings of the encoder that holds the layers: text_model.embeddings, text_model.encoder.layer
        below = [layers[tower] for tower in layers if name.startswith(tower.removesuffix(".encoder") + ".")]
        return stage.layer_decay ** below[0] if below and _BELOW.search(name) else 1.0

    return factor


def build(groups: Sequence[Group], settings: config.Optimizer, stage: config.Stage) -> torch.optim.Optimizer:
    """The optimiser of a stage; its `step` clips the gradients first, as `stage.clipping` says.

    AdaBelief with eps added inside and outside the root, as optax has it; or torch's AdamW in its fused form. Raises
    UsageError for weights in less than 32 bits, which small steps would not change.
    """
    given: list[dict[str, Any]] = [
        {
            "params": list(group.parameters),
            "lr": group.learning_rate,
            "weight_decay": group.weight_decay,
            "tables": group.tables,
        }
        for group in groups
    ]
    for parameter in (parameter for group in groups for parameter in group.parameters):
        if parameter.dtype not in (torch.float32, torch.float64):
            raise UsageError(
                f"weights are {parameter.dtype}: train them in float32 and let precision = 'bf16' cast them"
            )
    betas, eps = (settings.beta1, settings.beta2), settings.eps
    optimizer: torch.optim.Optimizer
    if settings.name == "adabelief":
        optimizer = AdaBelief(given, lr=stage.learning_rate, betas=betas, eps=eps or 1e-16)
    else:
        optimizer = torch.optim.AdamW(given, lr=stage.learning_rate, betas=betas, eps=eps or 1e-8, fused=True)
    if stage.clipping:
        optimizer.register_step_pre_hook(partial(_clip, stage.clipping))
    return optimizer


def _clip(ratio: float, optimizer: torch.optim.Optimizer, *_: object) -> None:
    for group in optimizer.param_groups:
        clip_gradients(group["params"], ratio, group["tables"])


def cosine_with_warmup(optimizer: torch.optim.Optimizer, steps: int, warmup: float) -> LambdaLR:
    """Learning rate: linear from 0 over `warmup * steps`, then half a cosine down to 0 at `steps`.

    optax's `warmup_cosine_decay_schedule`: the first step of a warm-up has rate 0 and only starts the moments.
    """
    rising = round(steps * warmup)

    def factor(step: int) -> float:
        if step < rising:
            return step / rising
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))

    return LambdaLR(optimizer, factor)


def go_to(schedule: LambdaLR, step: int) -> None:
    """Set the learning rate as after so many steps."""
    schedule.last_epoch = step - 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that no step of the optimiser came before this one
        schedule.step()


# Adaptive gradient clipping (Brock et al. 2021), unit by unit as optax's `adaptive_grad_clip`.
#
# A unit of a linear layer or convolution makes one output: a row of torch's (out, in, …), a column of flax's (…, in,
# out). Of an embedding table, which both libraries hold as (number, features), optax takes the columns all the same,
# and so do we. A bias, any other vector and a matrix of one row or column is one unit. pytorch-optimizer's `agc` takes
# rows of tables too and single numbers of such a matrix, and does not know sharded weights; hence our own.


@torch.no_grad()
def clip_gradients(parameters: Sequence[nn.Parameter], ratio: float, tables: bool = False) -> None:
    """Scale each unit's gradient, in place, so that its norm is at most `ratio` times the unit's weight norm.

    Parameters may be sharded (FSDP2); `tables` marks embedding tables. Parameters without a gradient are skipped.
    """
    moving = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    if not moving:
        return
    dims = [unit_dims(parameter.shape, tables) for parameter, _ in moving]
    norms = _norms([tensor for pair in moving for tensor in pair], [unit for unit in dims for _ in range(2)])
    limits, lengths = norms[::2], norms[1::2]
    torch._foreach_clamp_min_(limits, LEAST_NORM)
    torch._foreach_mul_(limits, ratio)
    torch._foreach_div_(limits, lengths)  # infinite where there is no gradient
    torch._foreach_clamp_max_(limits, 1.0)
    torch._foreach_mul_([own_part(gradient) for _, gradient in moving], limits)


def unit_dims(shape: Sequence[int], tables: bool) -> tuple[int, ...]:
    """The dimensions of a weight that one unit spans."""
    every = tuple(range(len(shape)))
    if sum(size > 1 for size in shape) <= 1:
        return every
    return every[:-1] if tables else every[1:]


def _norms(tensors: Sequence[torch.Tensor], dims: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
    """Norm of each tensor over some dimensions, which stay with size 1; over all shards where units span them."""
    norms = [_norm(own_part(tensor), unit) for tensor, unit in zip(tensors, dims, strict=True)]
    spanning: dict[dist.ProcessGroup, list[torch.Tensor]] = {}
    for tensor, unit, norm in zip(tensors, dims, norms, strict=True):
        if isinstance(tensor, DTensor):
            for axis, placement in enumerate(tensor.placements):
                if isinstance(placement, Shard) and placement.dim in unit:
                    spanning.setdefault(tensor.device_mesh.get_group(axis), []).append(norm)
    for group, parts in spanning.items():
        squares = torch.cat([part.flatten() for part in parts]).square_()
        dist.all_reduce(squares, group=group)
        whole = squares.sqrt_().split([part.numel() for part in parts])
        for part, values in zip(parts, whole, strict=True):
            part.copy_(values.view_as(part))
    return norms


def _norm(tensor: torch.Tensor, unit: tuple[int, ...]) -> torch.Tensor:
    if not unit:
        return tensor.abs()
    if tensor.device.type == "cpu" and 0 < len(unit) < tensor.ndim and unit[0] == 0:
        # Down the columns of a table torch takes ten times as long as by a few rows at a time.
        squares = torch.zeros(tensor.shape[-1], dtype=tensor.dtype)
        for rows in tensor.flatten(end_dim=-2).split(_ROWS):
            squares += rows.square().sum(dim=0)
        return squares.sqrt_().view([1] * len(unit) + [-1])
    return torch.linalg.vector_norm(tensor, dim=unit, keepdim=True)


_Row = tuple[Any, Any, Any, Any, float]  # weight, gradient, mean, variance; steps with this one


class AdaBelief(torch.optim.Optimizer):
    """AdaBelief (Zhuang et al. 2020): steps by the mean gradient over how far gradients deviate from that mean.

    optax's `scale_by_belief`, in as few passes over memory as torch allows. Equal to pytorch-optimizer's class of this
    name without rectification; that one walks over all weights once an operation, which takes more than twice the time
    on a processor and memory for two more copies of the weights (benchmarks/optimiser_step.py). `eps` is added to the
    running variance, and outside the root. Weight decay is decoupled: a share `lr * weight_decay` a step. State:
    `step`, `mean` and `variance` of each parameter.
    """

    def __init__(
        self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-16,
        weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient. Takes no closure."""
        if closure is not None:
            raise TypeError("AdaBelief.step takes no closure: compute the loss and its gradients before")
        for group in self.param_groups:
            rows = [self._row(parameter) for parameter in group["params"] if parameter.grad is not None]
            for batch in _batches(rows):
                _update(batch, group)

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


def _update(batch: list[_Row], group: dict[str, Any]) -> None:
    weights, gradients, means, variances, steps = (list(column) for column in zip(*batch, strict=True))
    (beta1, beta2), rate, eps = group["betas"], group["lr"], group["eps"]
    if group["weight_decay"]:
        torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
    torch._foreach_lerp_(means, gradients, 1 - beta1)
    deviations = torch._foreach_sub(gradients, means)
    torch._foreach_mul_(variances, beta2)
    torch._foreach_addcmul_(variances, deviations, deviations, 1 - beta2)
    torch._foreach_add_(variances, eps)
    # mean / (1 - β1ᵗ) over √(variance / (1 - β2ᵗ)) + ε, the fraction expanded by √(1 - β2ᵗ): one pass less.
    widths = [math.sqrt(1 - beta2**step) for step in steps]
    roots = torch._foreach_sqrt(variances)
    torch._foreach_add_(roots, [eps * width for width in widths])
    factors = [-rate * width / (1 - beta1**step) for width, step in zip(widths, steps, strict=True)]
    torch._foreach_addcdiv_(weights, means, roots, factors)


class Average:
    """A moving average of the parameters `named`: each step keeps the share `decay` of it; 0 keeps no average.

    Steadier than the last weights at no cost for a search (Polyak and Juditsky 1992). In the first steps the share is
    less, (1 + steps) / (10 + steps), so that the random start is soon forgotten.
    """

    def __init__(self, named: Named, decay: float) -> None:
        self._named = list(named) if decay else []
        self._decay = decay
        self._values = [(name, parameter.detach().clone()) for name, parameter in self._named]
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Include the parameters' present values."""
        if self._named:
            decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
            values = [own_part(value) for _, value in self._values]
            torch._foreach_lerp_(values, [own_part(parameter.detach()) for _, parameter in self._named], 1 - decay)
            self._steps += 1

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """A context in which the parameters are the average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> Tensors:
        """The average by name with the number of its steps, for a checkpoint; see `checkpoint.weights_of`."""
        return weights_of(self._values) | {_STEPS: torch.tensor(self._steps)} if self._named else {}

    def load(self, state: Tensors) -> None:
        """Resume from a `state`."""
        put_weights(self._values, state)
        self._steps = int(state.get(_STEPS, torch.tensor(0)))

    @torch.no_grad()
    def _swap(self) -> None:
        for (_, parameter), (_, value) in zip(self._named, self._values, strict=True):
            own = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(own)
