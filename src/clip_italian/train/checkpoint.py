"""What a run needs to resume exactly where it was, in one file per checkpoint.

runs/paper/checkpoints/step-00001200.pt       position, trained weights, optimiser, average, losses of the epoch
runs/paper/checkpoints/best-0-00000900.pt     the best weights of stage 0

Files are written to a temporary name and renamed, so a killed run leaves the one before. They hold no random state:
what a step draws depends on its position alone (`step.seed_of`). They hold no weights that no stage trains: those come
from the recipe's base again. After the model is written the files are removed, except those that `checkpoints.keep`
asks for.

Sharded weights are gathered by the main process alone, one tensor at a time (torch.distributed.checkpoint).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from clip_italian.errors import UserError
from clip_italian.files.atomic import staged

FOLDER = "checkpoints"
_FINISHED = "finished"
KEPT = 2  # during the run, unless the recipe says otherwise
Named = Sequence[tuple[str, torch.Tensor]]
Tensors = dict[str, torch.Tensor]

# Whole tensors in main memory, in the main process; the others get nothing.
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass
class Position:
    """Where a run is: stage, epoch (from 1), steps done in the epoch, in the stage, and in the whole run."""

    stage: int = 0
    epoch: int = 1
    done: int = 0
    in_stage: int = 0
    step: int = 0

    def next_stage(self) -> "Position":
        """The start of the next stage."""
        return Position(self.stage + 1, step=self.step)


@dataclass
class Progress:
    """A position with the losses of its epoch so far, the stage's best evaluation, and the file of those weights."""

    position: Position = field(default_factory=Position)
    losses: list[float] = field(default_factory=list)
    best: dict[str, Any] | None = None
    best_file: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """The content of a file; `identity` names recipe, data, base and processes, which must be those of the run."""

    identity: dict[str, Any]
    progress: Progress
    weights: Tensors
    optimizer: dict[str, dict[str, Any]]
    average: Tensors


class Checkpoints:
    """The checkpoints of one run; only the main process writes. It keeps the last `keep`, and the best weights.

    `keep` None: the last `KEPT` during the run, and none after its end.
    """

    def __init__(self, folder: Path, keep: int | None, writes: bool) -> None:
        self.folder = folder / FOLDER
        self._keep, self._kept_at_end = keep or KEPT, keep or 0
        self._writes = writes

    @property
    def finished(self) -> bool:
        """True once the run is complete."""
        return (self.folder / _FINISHED).exists()

    def files(self) -> list[Path]:
        """All checkpoints, the oldest first."""
        return sorted(self.folder.glob("step-*.pt"))

    def last(self) -> Checkpoint:
        """The newest checkpoint; raises UserError where the file is damaged."""
        content = _load(self.files()[-1])
        progress = content.pop("progress")
        return Checkpoint(progress=Progress(Position(**progress.pop("position")), **progress), **content)

    def clear(self) -> None:
        """Remove all checkpoints, for a run from the start."""
        if self._writes:
            (self.folder / _FINISHED).unlink(missing_ok=True)
            for file in self.folder.glob("*.pt"):
                file.unlink()

    def finish(self) -> None:
        """Mark the run as complete, its model written, and remove what nothing needs any more.

        The last `keep` checkpoints stay where a number was given, with the best weights that they refer to.
        """
        if not self._writes:
            return
        (self.folder / _FINISHED).touch()
        files = self.files()
        old = len(files) - self._kept_at_end
        kept = files[max(old, 0) :]
        best: dict[str, list[Path]] = {}
        for file in sorted(self.folder.glob("best-*.pt")):
            best.setdefault(file.stem.rpartition("-")[0], []).append(file)
        removed = files[: max(old, 0)]
        for of_stage in best.values():
            # A checkpoint refers to the newest best weights that are not newer than itself.
            referred = [at for at, file in enumerate(of_stage) if kept and _step(file) <= _step(kept[0])]
            removed += of_stage[: referred[-1]] if referred else [] if kept else of_stage
        for file in removed:
            file.unlink()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; remove those before the last `keep`, and best weights that none refers to."""
        if not self._writes:
            return
        name = f"step-{checkpoint.progress.position.step:08d}.pt"
        content = asdict(checkpoint.progress)
        _write(self.folder / name, {**checkpoint.__dict__, "progress": content})
        for file in self.files()[: -self._keep]:
            file.unlink()
        stage = checkpoint.progress.position.stage
        for number in range(stage + 1):
            # One more than there are checkpoints: the newest best may be newer than all of them.
            kept = self._keep + 1 if number == stage else 1
            for file in sorted(self.folder.glob(f"best-{number}-*.pt"))[:-kept]:
                file.unlink()

    def save_best(self, position: Position, weights: Tensors) -> str:
        """Write the best weights so far; return the file's name."""
        name = f"best-{position.stage}-{position.step:08d}.pt"
        if self._writes:
            _write(self.folder / name, weights)
        return name

    def best(self, name: str) -> Tensors:
        """The weights that `save_best` wrote."""
        weights: Tensors = _load(self.folder / name)
        return weights


def weights_of(named: Named) -> Tensors:
    """Copies of whole weights by name, in the main process. The others must call this too, and get nothing."""
    found = get_model_state_dict(_holder(named), options=WHOLE)
    return {named[int(number)][0]: value.clone() for number, value in found.items() if torch.is_tensor(value)}


def put_weights(named: Named, weights: Tensors) -> None:
    """Copy whole weights into parameters, or into this process's parts; raises UserError where a name is missing."""
    with torch.no_grad():
        for name, parameter in named:
            if name not in weights:
                raise UserError(f"checkpoint without weights for {name}; it is of another version, start the run anew")
            parameter.copy_(_like(weights[name], parameter))


def optimizer_state(optimizer: torch.optim.Optimizer, named: Named) -> dict[str, dict[str, Any]]:
    """The optimiser's state by parameter name, gathered as by `weights_of`."""
    if not optimizer.state:  # torch would take a step without gradients first
        return {}
    found: dict[str, Any] = get_optimizer_state_dict(_holder(named), optimizer, options=WHOLE)
    return {
        named[int(number)][0]: {key: value.clone() if torch.is_tensor(value) else value for key, value in state.items()}
        for number, state in found.get("state", {}).items()
    }


def put_optimizer_state(optimizer: torch.optim.Optimizer, named: Named, state: dict[str, dict[str, Any]]) -> None:
    """Set the optimiser's state. torch's helper would count a step for parameters that never had a gradient."""
    for name, parameter in named:
        if name in state:
            optimizer.state[parameter] = {
                key: _like(value, parameter).clone() if torch.is_tensor(value) and value.ndim else value
                for key, value in state[name].items()
            }


def _holder(named: Named) -> nn.ParameterList:
    """A module with these tensors alone: torch's helpers would gather a whole model, frozen towers included."""
    return nn.ParameterList([tensor for _, tensor in named])


def _like(tensor: torch.Tensor, example: torch.Tensor) -> torch.Tensor:
    """A whole tensor on the device of `example`; of a sharded one this process's part, cut without communication."""
    if isinstance(example, DTensor):
        return distribute_tensor(tensor.to(example.device), example.device_mesh, example.placements, src_data_rank=None)
    return tensor.to(example.device)


def _step(file: Path) -> int:
    """The step in a file's name."""
    return int(file.stem.rpartition("-")[2])


def _write(path: Path, content: Any) -> None:
    with staged(path) as temporary:
        torch.save(content, temporary)


def _load(path: Path) -> Any:
    try:
        # Mapped, so that a process that needs a part of each tensor does not read all of it.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # pickle, zip and torch raise nearly anything on a damaged file
        raise UserError(
            f"{path}: damaged ({error}); remove it, and --resume continues from the previous one"
        ) from error
