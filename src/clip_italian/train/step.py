"""One training step, whatever the size of the batch and the number of processes.

Every process embeds its part of the batch, chunk by chunk. The loss is computed on the
embeddings alone, with those of all processes as negatives, and gives a gradient for each
embedding; each chunk then carries its part of that back into the towers. With several chunks a
first pass embeds without a graph and the second repeats it with one (gradient caching, Gao et
al. 2021): memory depends on the chunk, and the gradients are those of the whole batch.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from clip_italian import config
from clip_italian.models_torch.cut import Inputs
from clip_italian.train.loss import loss_and_gradients
from clip_italian.train.processes import Processes
from clip_italian.train.seeds import seed_everything


def as_they_are(images: Inputs, number: int) -> Inputs:
    """What is ready already."""
    return images


@dataclass(frozen=True)
class Batch:
    """This process's part of a batch: rows of the examples (b,), pictures, inputs of the texts, identities (b,).

    `ready(images, number)` makes the vision tower's inputs of the pictures of chunk `number`, the same each time.
    """

    rows: torch.Tensor
    images: Inputs
    texts: Inputs
    groups: torch.Tensor
    ready: Callable[[Inputs, int], Inputs] = as_they_are

    def chunks(self, size: int | None) -> "Iterator[tuple[Inputs, Inputs]]":
        """Pictures and the texts' inputs, at most `size` pictures at a time."""
        size = size or len(self.rows)
        for start in range(0, len(self.rows), size):
            part = slice(start, start + size)
            yield {k: v[part] for k, v in self.images.items()}, {k: v[part] for k, v in self.texts.items()}


def compute_gradients(
    embedder: nn.Module, batch: Batch, logit_scale: nn.Parameter, logit_bias: nn.Parameter | None,
    settings: config.Loss, chunk: int | None, processes: Processes, position: tuple[int, ...],
) -> torch.Tensor:  # fmt: skip
    """Put the gradients of the joint batch's loss into the parameters; return the loss (0-d, the same everywhere).

    `embedder(images, texts)` gives embeddings (b, dim) each; wrapped for several processes, it must
    average gradients over them, as DistributedDataParallel and FSDP2 do. `position` names the step,
    for what is drawn at random in it.
    """
    parts = list(batch.chunks(chunk))
    at_once = len(parts) == 1

    def embed(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        pictures, texts = parts[number]
        ready = batch.ready(pictures, number)
        seed_everything(*position, processes.rank, number)
        images, texts = embedder(ready, texts)
        return images.float(), texts.float()

    with torch.set_grad_enabled(at_once):
        outputs = [embed(number) for number in range(len(parts))]
    images = torch.cat([image.detach() for image, _ in outputs])
    texts = torch.cat([text.detach() for _, text in outputs])
    if not at_once:
        outputs.clear()  # the second pass makes them anew
    found = _on_embeddings(images, texts, batch.groups, logit_scale, logit_bias, settings, processes)
    del images, texts

    size = chunk or len(batch.rows)
    gradients = zip(found.images.split(size), found.texts.split(size), strict=True)
    for number, wanted in enumerate(gradients):
        with _without_exchange(embedder) if number < len(parts) - 1 else nullcontext():
            embeddings = outputs[number] if at_once else embed(number)
            moving = [(e, g) for e, g in zip(embeddings, wanted, strict=True) if e.requires_grad]
            if moving:
                torch.autograd.backward([e for e, _ in moving], [g for _, g in moving])
    if logit_scale.requires_grad:
        logit_scale.grad = (found.scale * logit_scale.detach().exp()).reshape_as(logit_scale)
    if logit_bias is not None and logit_bias.requires_grad and found.bias is not None:
        logit_bias.grad = found.bias.reshape_as(logit_bias)
    return found.loss


@dataclass(frozen=True)
class _Found:
    """The joint loss, gradients of this process's embeddings (b, dim), and of scale and bias."""

    loss: torch.Tensor
    images: torch.Tensor
    texts: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None


def _on_embeddings(
    images: torch.Tensor, texts: torch.Tensor, groups: torch.Tensor, logit_scale: nn.Parameter,
    logit_bias: nn.Parameter | None, settings: config.Loss, processes: Processes,
) -> _Found:  # fmt: skip
    all_images, all_texts, all_groups = map(processes.gather, (images, texts, groups))
    first = processes.rank * len(images)
    bias = None if logit_bias is None else logit_bias.detach().squeeze()
    share = loss_and_gradients(
        images, texts, all_images, all_texts, first, logit_scale.detach().exp().squeeze(), bias, groups, all_groups,
        settings,
    )  # fmt: skip
    own = slice(first, first + len(images))
    # Wrapped towers average over processes what must be added up.
    return _Found(
        processes.sum(share.loss),
        processes.sum(share.images_gradient)[own] * processes.count,
        processes.sum(share.texts_gradient)[own] * processes.count,
        processes.sum(share.scale_gradient),
        None if share.bias_gradient is None else processes.sum(share.bias_gradient),
    )


def _without_exchange(embedder: nn.Module) -> AbstractContextManager[None]:
    """Leave the gradients of a chunk in this process: the last chunk's exchange takes them along."""
    return embedder.no_sync() if isinstance(embedder, DistributedDataParallel) else nullcontext()
