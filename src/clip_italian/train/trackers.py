"""TensorBoard, Weights & Biases and trackio, where a recipe's `tracking` asks for them."""

import importlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clip_italian import console, privacy
from clip_italian.config import Recipe
from clip_italian.errors import UserError

TENSORBOARD_FOLDER = "tensorboard"
WANDB_ID_FILE = "wandb-run.txt"
_REMOTE = ("wandb", "trackio")  # services; wandb has an offline mode that only writes files
Log = Callable[[Mapping[str, float], int], None]


class Tracker:
    """A destination for figures; a failure is reported once and ends the sending, not the run."""

    def __init__(self, name: str, log: Log, finish: Callable[[], None]) -> None:
        self._name = name
        self._log: Log | None = log
        self._finish = finish

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send figures of one step, counted through all stages."""
        if self._log is None:
            return
        try:
            self._log(values, step)
        except Exception as error:  # whatever a service's client raises must not end a run of days
            self._log = None
            console.notice(f"{self._name}: {_first_line(error)}; nothing more is sent there")

    def finish(self) -> None:
        """Send what is still buffered."""
        try:
            self._finish()
        except Exception as error:
            console.notice(f"{self._name}: {_first_line(error)}")


def open_trackers(recipe: Recipe, folder: Path, resume_at: int | None) -> list[Tracker]:
    """The trackers that the recipe asks for. A resumed run adds to its earlier figures.

    Raises UserError where a package is missing or a service refuses.
    """
    openers = {
        # tensorboardX writes the same files as torch.utils.tensorboard, which needs all of TensorBoard for it.
        "tensorboard": (recipe.tracking.tensorboard, "tensorboardX", _tensorboard),
        "wandb": (recipe.tracking.wandb, "wandb", _wandb),
        "trackio": (recipe.tracking.trackio, "trackio", _trackio),
    }
    opened = []
    for name, (wanted, package, opener) in openers.items():
        if not wanted:
            continue
        if name in _REMOTE and os.environ.get(f"{name.upper()}_MODE") not in ("offline", "disabled"):
            privacy.refuse_offline(f"tracking.{name}", "leave the setting out or use tracking.tensorboard")
        try:
            library = importlib.import_module(package)
        except ImportError as error:
            raise UserError(
                f"tracking.{name}: {error}; pip install 'clip-italian[{name}]', or leave the setting out"
            ) from error
        try:
            opened.append(Tracker(name, *opener(library, recipe, folder, resume_at)))
        except Exception as error:  # each client has its own errors
            raise UserError(f"tracking.{name}: {_first_line(error)}; remove the setting to continue") from error
    return opened


def _tensorboard(library: Any, recipe: Recipe, folder: Path, resume_at: int | None) -> tuple[Log, Callable[[], None]]:
    events = folder / TENSORBOARD_FOLDER
    if resume_at is None and events.is_dir():
        shutil.rmtree(events)  # of an earlier run in the same folder: TensorBoard would draw both as one
    writer = library.SummaryWriter(str(events), purge_step=None if resume_at is None else resume_at + 1)

    def log(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name.replace("@", "_"), value, step)  # @ is not allowed in TensorBoard's names

    return log, writer.close


def _wandb(library: Any, recipe: Recipe, folder: Path, resume_at: int | None) -> tuple[Log, Callable[[], None]]:
    id_file = folder / WANDB_ID_FILE
    known = id_file.read_text(encoding="utf-8").strip() if resume_at is not None and id_file.is_file() else None
    run = library.init(
        project=recipe.tracking.wandb, name=folder.name, dir=str(folder), id=known, resume="allow",
        config=recipe.model_dump(mode="json"),
    )  # fmt: skip
    id_file.write_text(f"{run.id}\n", encoding="utf-8")
    return lambda values, step: run.log(dict(values), step=step), run.finish


def _trackio(library: Any, recipe: Recipe, folder: Path, resume_at: int | None) -> tuple[Log, Callable[[], None]]:
    run = library.init(
        project=recipe.tracking.trackio, name=folder.name, resume="never" if resume_at is None else "allow",
        config=recipe.model_dump(mode="json"),
    )  # fmt: skip
    return lambda values, step: run.log(dict(values), step=step), run.finish


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
