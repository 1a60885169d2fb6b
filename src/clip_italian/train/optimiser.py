"""The paper's optimiser: adaptive gradient clipping, then AdaBelief, under a cosine with warm-up.

The published training script chains optax's `adaptive_grad_clip`, `scale_by_belief` and a
schedule; this is the same chain, held against a trajectory recorded with optax in the tests.
"""

import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from clip_italian import config
from clip_italian.errors import UsageError
from clip_italian.train.adabelief import AdaBelief
from clip_italian.train.clipping import clip_gradients

Named = tuple[str, nn.Parameter]

# vision_model.encoder.layers.3.mlp… → tower "vision_model.encoder", layer 3
_LAYER = re.compile(r"(?P<tower>.+?)\.(?:layers?|blocks|stages)\.(?P<number>\d+)\.")
# What stands below the first layer of a tower.
_BELOW = re.compile(r"\.(?:embeddings?|\w*_embeddings?|pre_?lay\w*norm|conv_stem|\w+_token)(?:\.|$)")
# An embedding table, and not the layer that is called patch_embedding.
_TABLE = re.compile(r"(?<!patch_)embeddings?(?:\.weight)?$")


@dataclass(frozen=True)
class Group:
    """Parameters that move at one rate.

    `tables` says that they are embedding tables (number, …, features), of which adaptive clipping
    takes a feature over all entries for one unit; of other weights (out, in, …) it takes an output.
    """

    parameters: Sequence[nn.Parameter]
    learning_rate: float
    weight_decay: float = 0.0
    tables: bool = False


def parameter_groups(named: Sequence[Named], stage: config.Stage) -> list[Group]:
    """The stage's trainable parameters, each at the stage's rate × its factor in `rates` × its layer's.

    With `layer_decay` the highest numbered layer of a tower, all above it and the projections have
    factor 1, each layer below `layer_decay` of the one above, and the embeddings the least.
    Weights decay; biases, norms and other vectors or single numbers do not. Raises UsageError for
    a pattern in `rates` that matches nothing, and for `layer_decay` where no layer has a number.
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


def build(groups: Sequence[Group], settings: config.Optimizer, stage: config.Stage) -> torch.optim.Optimizer:
    """The optimiser of a stage; its `step` clips the gradients first, as `stage.clipping` says.

    AdaBelief with eps added inside and outside the root, as optax; or torch's AdamW in its fused
    form. Raises UsageError for weights in less than 32 bits, which small steps would not change.
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


def cosine_with_warmup(optimiser: torch.optim.Optimizer, steps: int, warmup: float) -> LambdaLR:
    """Learning rate: straight up from 0 over `warmup * steps`, then half a cosine down to 0 at `steps`.

    optax's `warmup_cosine_decay_schedule`, so the first step of a warm-up only starts the moments.
    """
    rising = round(steps * warmup)

    def factor(step: int) -> float:
        if step < rising:
            return step / rising
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))

    return LambdaLR(optimiser, factor)


def go_to(schedule: LambdaLR, step: int) -> None:
    """Set the learning rate as after so many steps."""
    schedule.last_epoch = step - 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that no step of the optimiser came before this one
        schedule.step()


def _clip(ratio: float, optimizer: torch.optim.Optimizer, *_: object) -> None:
    for group in optimizer.param_groups:
        clip_gradients(group["params"], ratio, group["tables"])


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
        # Embeddings stand beside the encoder that holds the layers: text_model.embeddings, text_model.encoder.layer
        below = [layers[tower] for tower in layers if name.startswith(tower.removesuffix(".encoder") + ".")]
        return stage.layer_decay ** below[0] if below and _BELOW.search(name) else 1.0

    return factor
