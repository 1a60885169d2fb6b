"""Freezing by name patterns: every parameter must be covered, and nothing moves by accident."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from clip_italian.errors import UsageError


def apply(model: nn.Module, trainable: Sequence[str], frozen: Sequence[str]) -> list[tuple[str, nn.Parameter]]:
    """Set `requires_grad` of every parameter; return the trainable ones with their names.

    A parameter that matches both is trainable. Raises UsageError for one that matches neither,
    and for a pattern that matches nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in (*trainable, *frozen):
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"pattern {pattern!r}: no parameter of the model has such a name, e.g. {names[0]}")
    chosen = []
    for name, parameter in model.named_parameters():
        moves = any(fnmatchcase(name, pattern) for pattern in trainable)
        if not moves and not any(fnmatchcase(name, pattern) for pattern in frozen):
            raise UsageError(
                f"parameter {name}: neither trainable nor frozen; add a pattern to the stage that covers it"
            )
        parameter.requires_grad_(moves)
        if moves:
            chosen.append((name, parameter))
    return chosen


def counts(model: nn.Module) -> tuple[int, int]:
    """Numbers of trainable and of frozen weights."""
    sizes = [(p.requires_grad, p.numel()) for p in model.parameters()]
    return sum(n for moves, n in sizes if moves), sum(n for moves, n in sizes if not moves)
