"""One stage of training, from its first evaluation to its best weights."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import dropout
from transformers import VisionTextDualEncoderModel

from clip_italian.config import Stage
from clip_italian.train import batches, optimiser
from clip_italian.train.loss import contrastive_loss
from clip_italian.train.towers import Towers

# One evaluation as it goes into the history: stage, epoch, step, losses, metrics.
Record = dict[str, Any]
Named = tuple[str, nn.Parameter]


@dataclass(frozen=True)
class Examples:
    """What a stage trains on and is judged by: row numbers of pairs, captions, identities."""

    train: torch.Tensor
    captions: batches.Captions
    groups: torch.Tensor
    original_share: float


def run_stage(
    stage: Stage, model: VisionTextDualEncoderModel, moving: list[Named], towers: Towers, examples: Examples,
    generator: torch.Generator, judge: Callable[[], Record], report: Callable[[Record], None],
) -> None:  # fmt: skip
    """Train the parameters `moving` in place; leave them as they were at the best validation loss.

    `judge` measures the model as it is (with key `validation_loss`); it is asked before the
    first step, after every `evaluate_every` epochs and at the end. `report` gets each record.
    """
    parameters = [parameter for _, parameter in moving]
    optimizer = optimiser.build(parameters, stage.learning_rate, stage.weight_decay)
    steps_an_epoch = batches.count(len(examples.train), stage.batch_size)
    schedule = optimiser.cosine_with_warmup(optimizer, stage.epochs * steps_an_epoch, stage.warmup)
    scale = model.logit_scale.detach().exp()

    best = judge() | {"stage": stage.name, "epoch": 0, "step": 0}
    best_weights = _copy(model, moving)
    report(best)
    step = 0
    for epoch in range(1, stage.epochs + 1):
        losses = []
        drawn = batches.draw(
            examples.train, examples.captions, examples.groups, towers.views, examples.original_share,
            stage.batch_size, generator,
        )  # fmt: skip
        for batch in drawn:
            images = model.visual_projection(dropout(towers.images(batch.images, batch.views), stage.image_dropout))
            texts = model.text_projection(dropout(towers.texts(batch.texts), stage.text_dropout))
            loss = contrastive_loss(images, texts, scale, batch.groups)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.clip_gradients(parameters, stage.clipping)
            optimizer.step()
            schedule.step()
            step += 1
            losses.append(loss.item())
        if epoch % stage.evaluate_every and epoch != stage.epochs:
            continue
        record = judge() | {
            "stage": stage.name,
            "epoch": epoch,
            "step": step,
            "train_loss": sum(losses) / len(losses),
            "learning_rate": schedule.get_last_lr()[0],
        }
        report(record)
        if record["validation_loss"] < best["validation_loss"]:
            best, best_weights = record, _copy(model, moving)
        elif epoch - best["epoch"] >= stage.patience * stage.evaluate_every:
            break
    model.load_state_dict(best_weights, strict=False)


def _copy(model: nn.Module, moving: list[Named]) -> dict[str, torch.Tensor]:
    return {name: copy.deepcopy(parameter.detach()) for name, parameter in moving}
