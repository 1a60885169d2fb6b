"""One stage of training, from its first evaluation to its best weights."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from clip_italian import config
from clip_italian.errors import UserError
from clip_italian.pictures.decoding import PictureError
from clip_italian.train import checkpoint, optimiser
from clip_italian.train.average import Average
from clip_italian.train.checkpoint import Checkpoint, Checkpoints, Named, Position, Progress
from clip_italian.train.feed import Feed
from clip_italian.train.processes import Processes
from clip_italian.train.step import Batch

# One evaluation as it goes into the history: stage, epoch, step, losses, metrics.
Record = dict[str, Any]


class Watcher(Protocol):
    """Who is told of stages, steps and evaluations (`watch.Watch`)."""

    def stage(self, name: str, steps: int) -> None:
        """A stage begins that takes so many steps at most."""

    def step(self, record: Record) -> None:
        """Loss, learning rate and times of one step."""

    def evaluation(self, record: Record) -> None:
        """Figures of one evaluation."""


@dataclass(frozen=True)
class Surroundings:
    """What all stages of a run share: where checkpoints go, what names the run, who watches, when to stop."""

    checkpoints: Checkpoints
    identity: dict[str, Any]
    every: int
    watch: Watcher
    processes: Processes
    asked_to_stop: Callable[[], bool]


class StoppedError(UserError):
    """The run was asked to stop; its work is in a checkpoint."""


def run_stage(
    stage: config.Stage, moving: Named, touched: Named, optimizer: torch.optim.Optimizer, feed: Feed,
    gradients: Callable[[Batch, Position], torch.Tensor], judge: Callable[[], Record],
    progress: Progress, found: Checkpoint | None, around: Surroundings,
) -> None:  # fmt: skip
    """Train the parameters `moving` in place, from `progress` on; leave them as they were at the best validation loss.

    `touched` are those that this stage or an earlier one moves: what a checkpoint holds. `gradients`
    puts the gradients of a batch into the parameters and returns its loss (0-d).

    `judge` measures the model as it is (with key `validation_loss`); it is asked before the first
    step, after every `evaluate_every` epochs and at the end. `found` is the checkpoint to go on from.
    Raises StoppedError when asked to stop, and UserError for a loss that is no number; either way
    a checkpoint has been written.
    """
    position = progress.position
    schedule = optimiser.cosine_with_warmup(optimizer, stage.epochs * len(feed), stage.warmup)
    average = Average(moving, stage.average)
    if found is not None:
        checkpoint.put_weights(touched, found.weights)
        checkpoint.put_optimizer_state(optimizer, moving, found.optimizer)
        average.load(found.average)
        optimiser.go_to(schedule, position.in_stage)

    def save() -> None:
        weights, state = checkpoint.weights_of(touched), checkpoint.optimizer_state(optimizer, moving)
        around.checkpoints.save(Checkpoint(around.identity, progress, weights, state, average.state()))

    def evaluate(**more: Any) -> Record:
        with average.swapped_in():
            record = judge() | {"stage": stage.name, "epoch": position.epoch, "step": position.in_stage} | more
            around.watch.evaluation(record)
            if progress.best is None or record["validation_loss"] < progress.best["validation_loss"]:
                progress.best = record
                progress.best_file = around.checkpoints.save_best(position, checkpoint.weights_of(touched))
        return record

    if progress.best is None:
        position.epoch = 0
        evaluate()
        position.epoch = 1
        save()
    try:
        while position.epoch <= stage.epochs and not _enough(stage, progress):
            for batch, waited in _timed(feed.epoch(position.epoch, position.done)):
                started = time.perf_counter()
                value = gradients(batch, position).item()
                if not math.isfinite(value):
                    save()
                    raise UserError(_not_a_number(value, stage, batch, feed, position))
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                rate = schedule.get_last_lr()[0]
                schedule.step()
                average.update()
                position.done += 1
                position.in_stage += 1
                position.step += 1
                progress.losses.append(value)
                around.watch.step(
                    {
                        "stage": stage.name, "epoch": position.epoch, "step": position.step, "loss": value,
                        "learning_rate": rate, "samples": len(batch.rows) * around.processes.count,
                        "seconds": waited + time.perf_counter() - started, "data_seconds": waited,
                    }
                )  # fmt: skip
                if around.processes.any(around.asked_to_stop()):
                    save()
                    raise StoppedError("stopped as asked; --resume goes on from here")
                if around.every and position.step % around.every == 0:
                    save()
            if position.epoch % stage.evaluate_every == 0 or position.epoch == stage.epochs:
                losses = progress.losses
                evaluate(train_loss=sum(losses) / len(losses), learning_rate=schedule.get_last_lr()[0])
            position.epoch, position.done, progress.losses = position.epoch + 1, 0, []
            save()
    except PictureError:  # one that was there before training
        if around.processes.count == 1:  # of several, others may be in the middle of a step
            save()
        raise
    assert progress.best_file is not None
    around.processes.wait()
    checkpoint.put_weights(touched, around.checkpoints.best(progress.best_file))


def _enough(stage: config.Stage, progress: Progress) -> bool:
    """Whether so many evaluations have passed without a better one that the stage ends."""
    assert progress.best is not None
    return progress.position.epoch - 1 - progress.best["epoch"] >= stage.patience * stage.evaluate_every


def _timed(batches: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """Each batch with the seconds that it was waited for."""
    with suppress(StopIteration):
        while True:
            started = time.perf_counter()
            batch = next(batches)
            yield batch, time.perf_counter() - started


def _not_a_number(value: float, stage: config.Stage, batch: Batch, feed: Feed, position: Position) -> str:
    ids = feed.examples.ids.take(batch.rows.numpy()).to_pylist()
    return (
        f"stage {stage.name}, step {position.step + 1}: the loss is {value}; lower the learning rate or look at these "
        f"pairs: {', '.join(ids)}"
    )
