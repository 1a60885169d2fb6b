"""What a run needs to go on as if nothing had happened, in one file a checkpoint.

runs/paper/checkpoints/step-00001200.pt       position, moving weights, optimiser, average, losses of the epoch
runs/paper/checkpoints/best-0-00000900.pt     the best weights of stage 0

A file is written under another name and moved into place, so a killed run leaves the one before.
No random state is in it: what a step draws depends on its position alone (`seeds`). Weights that no
stage moves are not in it either: they come from the recipe's base again.
When the run is finished and its model written, the files go, but for those that `checkpoints.keep` asks for.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.train.sharded import like, whole

FOLDER = "checkpoints"
_FINISHED = "finished"
KEPT = 2  # while a run is under way, unless the recipe says otherwise
Named = Sequence[tuple[str, nn.Parameter]]
Tensors = dict[str, torch.Tensor]


@dataclass
class Position:
    """Where a run stands: stage, epoch (from 1), steps done in the epoch, in the stage, and in the whole run."""

    stage: int = 0
    epoch: int = 1
    done: int = 0
    in_stage: int = 0
    step: int = 0

    def next_stage(self) -> "Position":
        """The start of the stage that follows."""
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
    """What a file holds; `identity` names recipe, data, base and processes, which must be those of the run."""

    identity: dict[str, Any]
    progress: Progress
    weights: Tensors
    optimizer: dict[str, dict[str, Any]]
    average: Tensors


class Checkpoints:
    """The checkpoints of one run; only the main process writes, and keeps the last `keep` and the best.

    None: the last `KEPT` while the run is under way, and none after its end.
    """

    def __init__(self, folder: Path, keep: int | None, writes: bool) -> None:
        self.folder = folder / FOLDER
        self._keep, self._kept_at_end = keep or KEPT, keep or 0
        self._writes = writes

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return (self.folder / _FINISHED).exists()

    def files(self) -> list[Path]:
        """All checkpoints, the oldest first."""
        return sorted(self.folder.glob("step-*.pt"))

    def last(self) -> Checkpoint:
        """The newest one; raises UserError where the file is damaged."""
        return _read(self.files()[-1])

    def clear(self) -> None:
        """Remove all, for a run from the start."""
        if self._writes:
            (self.folder / _FINISHED).unlink(missing_ok=True)
            for file in self.folder.glob("*.pt"):
                file.unlink()

    def finish(self) -> None:
        """Remember that the run has come to its end, its model written; remove what nothing needs from now on.

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
        needless = files[: max(old, 0)]
        for some in best.values():
            # A checkpoint refers to the newest best weights that are not newer than itself.
            referred = [at for at, file in enumerate(some) if kept and _step(file) <= _step(kept[0])]
            needless += some[: referred[-1]] if referred else [] if kept else some
        for file in needless:
            file.unlink()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write one; older ones than the last `keep` go, with the best weights that none refers to."""
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
    """Copies of the weights by name, whole where processes hold parts of them (all must ask at once)."""
    return {name: whole(parameter.detach()).cpu().clone() for name, parameter in named}


def put_weights(named: Named, weights: Tensors) -> None:
    """Put weights back; raises UserError where a name is missing."""
    with torch.no_grad():
        for name, parameter in named:
            if name not in weights:
                raise UserError(f"checkpoint without weights for {name}; it is of another version, start the run anew")
            parameter.copy_(like(weights[name], parameter))


def optimizer_state(optimizer: torch.optim.Optimizer, named: Named) -> dict[str, dict[str, Any]]:
    """The optimiser's state by parameter name."""
    return {
        name: {key: whole(v).cpu().clone() if torch.is_tensor(v) else v for key, v in optimizer.state[p].items()}
        for name, p in named
        if p in optimizer.state
    }


def put_optimizer_state(optimizer: torch.optim.Optimizer, named: Named, state: dict[str, dict[str, Any]]) -> None:
    """Put the optimiser's state back."""
    for name, parameter in named:
        if name in state:
            optimizer.state[parameter] = {
                key: like(value, parameter) if torch.is_tensor(value) and value.ndim else value
                for key, value in state[name].items()
            }


def _step(file: Path) -> int:
    """The step that a file's name ends with."""
    return int(file.stem.rpartition("-")[2])


def _write(path: Path, content: Any) -> None:
    with staged(path) as temporary:
        torch.save(content, temporary)


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch raise nearly anything on a damaged file
        raise UserError(f"{path}: damaged ({error}); remove it, and --resume goes on from the one before") from error


def _read(path: Path) -> Checkpoint:
    content = _load(path)
    progress = content.pop("progress")
    return Checkpoint(progress=Progress(Position(**progress.pop("position")), **progress), **content)
