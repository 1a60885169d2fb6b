"""One training step: both towers as one module, and the gradients of a batch of any size over any number of processes.

Every process embeds its part of the batch, chunk by chunk. The loss is computed on the embeddings alone, with those of
all processes as negatives, and gives a gradient for each embedding. Each chunk then carries its part of that gradient
back into the towers. With several chunks a first pass embeds without a graph and a second pass repeats it with one
(gradient caching, Gao et al. 2021): memory depends on the chunk, and the gradients are those of the whole batch.

Random draws are seeded by position: what a step draws depends on its place in the run and on nothing before it. A
resumed run therefore needs no saved random state, and the second pass repeats the dropout of the first.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import dropout
from torch.nn.parallel import DistributedDataParallel

from clip_italian import config
from clip_italian.errors import UsageError
from clip_italian.models_torch.cut import MASK, Cut, Inputs
from clip_italian.models_torch.towers import Parts
from clip_italian.train.loss import LossParts, distance_and_gradient, loss_and_gradients
from clip_italian.train.parallel import Processes

# Texts that go through a tower together, grouped by length. A processor is as fast with few of them and computes less
# padding: 20 instead of 35 tokens a caption of Flickr8k's in batches of 64. A GPU wants many.
_CPU_TEXTS, _TEXTS = 16, 512


def seed_of(*numbers: int) -> int:
    """A seed of 63 bits from a position such as (recipe's seed, stage, epoch, step, process, chunk)."""
    digest = hashlib.sha256(",".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(*numbers: int) -> None:
    """Seed torch's generators, of all devices, by a position."""
    torch.manual_seed(seed_of(*numbers))


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of a recipe's `precision`; `auto` is bf16 where the device is faster in it.

    A processor is faster in bf16 only with matrix units (AMX). With AVX-512 alone it takes 1.2 to 1.6 times as long as
    in float32, and without either ten times.
    """
    if name == "auto":
        return torch.bfloat16 if _is_faster_in_bf16(device) else torch.float32
    if name == "bf16" and not _is_faster_in_bf16(device) and device.type != "cpu":
        raise UsageError(f"precision = 'bf16': {device.type} has no such instructions here; use float32 or auto")
    return {"bf16": torch.bfloat16, "float32": torch.float32}[name]


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast | nullcontext:
    """A context in which matrix products run in `dtype`; no change for float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def _is_faster_in_bf16(device: torch.device) -> bool:
    if device.type == "cpu":
        return torch.cpu._is_amx_tile_supported()
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


class Embedder(nn.Module):
    """Both towers of a stage as one module: `forward(images, texts)` gives unnormalised embeddings (b, dim), float32.

    Inputs are pixels or token ids, or the kept outputs of a frozen trunk. Towers run under bf16 autocast where
    `precision` says so; projections run in float32, since they cost nothing. The logit scale is not part of the module:
    its gradient comes from the loss.
    """

    def __init__(
        self, parts: Parts, vision: Cut, text: Cut, image_dropout: float, text_dropout: float,
        tower_dropout: bool, precision: torch.dtype,
    ) -> None:  # fmt: skip
        super().__init__()
        self.vision, self.text = parts.vision, parts.text
        self.visual_projection, self.text_projection = parts.visual_projection, parts.text_projection
        self._tails = (vision.tail, text.tail)
        self._dropout = (image_dropout, text_dropout)
        self._tower_dropout = tower_dropout
        self._precision = precision

    def forward(self, images: Inputs, texts: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings of a batch of pairs; without pictures (`images` is {}) an empty tensor (b, 0) stands for them."""
        seen = self.images(images) if images else None
        read = self.texts(texts)
        return read.new_zeros(len(read), 0) if seen is None else seen, read

    def images(self, inputs: Inputs) -> torch.Tensor:
        """Embeddings of pictures."""
        pooled = dropout(self.pooled(0, inputs), self._dropout[0], self.training)
        projected: torch.Tensor = self.visual_projection(pooled)
        return projected

    def texts(self, inputs: Inputs) -> torch.Tensor:
        """Embeddings of texts."""
        pooled = dropout(self.pooled(1, inputs), self._dropout[1], self.training)
        projected: torch.Tensor = self.text_projection(pooled)
        return projected

    def pooled(self, tower: int, inputs: Inputs) -> torch.Tensor:
        """Pooled features (b, hidden) of tower 0 (pictures) or 1 (texts)."""
        device = next(iter(inputs.values())).device
        with autocast(device, self._precision):
            order, parts = _by_length(inputs, _CPU_TEXTS if device.type == "cpu" else _TEXTS)
            pooled = [self._tails[tower](part).float() for part in parts]
            return pooled[0] if len(pooled) == 1 else torch.cat(pooled)[order.argsort()]

    def train(self, mode: bool = True) -> "Embedder":
        """Switch dropout on or off; the towers' own dropout only where the stage asks for it.

        Batch norm always uses its running statistics: batches on small devices are too small.
        """
        super().train(mode)
        for tower in (self.vision, self.text):
            tower.train(mode and self._tower_dropout)
            for module in tower.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


def _by_length(inputs: Inputs, size: int) -> tuple[torch.Tensor, list[Inputs]]:
    """Rows (b,) from the shortest text to the longest, and their inputs, `size` at a time without needless padding.

    Padding on the left stays, since a token's position counts from there. Inputs without a mask, such as pictures, stay
    in one piece.
    """
    mask = inputs.get("attention_mask", inputs.get(MASK))
    if mask is None or len(mask) <= size:
        return torch.arange(len(next(iter(inputs.values())))), [inputs]
    lengths, order = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(dim=1).sort(stable=True)
    longest = [int(part[-1]) for part in lengths.cpu().split(size)]
    parts = [
        {key: value[rows, :length] for key, value in inputs.items()}
        for rows, length in zip(order.split(size), longest, strict=True)
    ]
    return order, parts


def _unchanged(images: Inputs, number: int) -> Inputs:
    return images


@dataclass(frozen=True)
class Batch:
    """This process's part of a batch: rows of the examples (b,), pictures, inputs of the texts, identities (b,).

    `prepare(images, number)` makes the vision tower's inputs from the pictures of chunk `number`, the same each time.
    `targets` (b, dim) are a teacher's embeddings for the texts, if there is one; then `images` may be {}.
    """

    rows: torch.Tensor
    images: Inputs
    texts: Inputs
    groups: torch.Tensor
    prepare: Callable[[Inputs, int], Inputs] = _unchanged
    targets: torch.Tensor | None = None

    def chunks(self, size: int | None) -> Iterator[tuple[Inputs, Inputs]]:
        """Pictures and the texts' inputs, at most `size` pictures at a time."""
        size = size or len(self.rows)
        for start in range(0, len(self.rows), size):
            part = slice(start, start + size)
            yield {k: v[part] for k, v in self.images.items()}, {k: v[part] for k, v in self.texts.items()}


def compute_gradients(
    embedder: nn.Module, batch: Batch, logit_scale: nn.Parameter, logit_bias: nn.Parameter | None,
    settings: config.Loss, chunk: int | None, processes: Processes, position: tuple[int, ...],
) -> torch.Tensor:  # fmt: skip
    """Set the gradients of the joint batch's loss; return the loss (0-d, the same in every process).

    `embedder(images, texts)` gives embeddings (b, dim) each. Wrapped for several processes, it must average gradients
    over them, as DistributedDataParallel and FSDP2 do. `position` names the step and seeds its random draws.
    """
    chunks = list(batch.chunks(chunk))
    one_pass = len(chunks) == 1

    def embed(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        pictures, texts = chunks[number]
        prepared = batch.prepare(pictures, number)
        seed_everything(*position, processes.rank, number)
        images, texts = embedder(prepared, texts)
        return images.float(), texts.float()

    with torch.set_grad_enabled(one_pass):
        outputs = [embed(number) for number in range(len(chunks))]
    images = torch.cat([image.detach() for image, _ in outputs])
    texts = torch.cat([text.detach() for _, text in outputs])
    if not one_pass:
        outputs.clear()  # the second pass makes them again
    joint = _joint_loss(images, texts, batch, logit_scale, logit_bias, settings, processes)
    del images, texts

    size = chunk or len(batch.rows)
    gradients = zip(joint.images_gradient.split(size), joint.texts_gradient.split(size), strict=True)
    for number, wanted in enumerate(gradients):
        # Gradients of all chunks but the last stay in this process: the last chunk's exchange includes them.
        alone = isinstance(embedder, DistributedDataParallel) and number < len(chunks) - 1
        with embedder.no_sync() if alone else nullcontext():  # type: ignore[operator]
            embeddings = outputs[number] if one_pass else embed(number)
            trained = [(e, g) for e, g in zip(embeddings, wanted, strict=True) if e.requires_grad]
            if trained:
                torch.autograd.backward([e for e, _ in trained], [g for _, g in trained])
    if logit_scale.requires_grad:
        logit_scale.grad = (joint.scale_gradient * logit_scale.detach().exp()).reshape_as(logit_scale)
    if logit_bias is not None and logit_bias.requires_grad and joint.bias_gradient is not None:
        logit_bias.grad = joint.bias_gradient.reshape_as(logit_bias)
    return joint.loss


def _joint_loss(
    images: torch.Tensor, texts: torch.Tensor, batch: Batch, logit_scale: nn.Parameter,
    logit_bias: nn.Parameter | None, settings: config.Loss, processes: Processes,
) -> LossParts:  # fmt: skip
    """The loss of all processes' embeddings; gradients of this process's embeddings (b, dim), and of scale and bias.

    With a teacher it is the distance to the teacher's embeddings, plus `settings.pictures` times the loss of pictures
    and texts.
    """
    if batch.targets is None:
        return _loss_of_pairs(images, texts, batch.groups, logit_scale, logit_bias, settings, processes)
    total = len(texts) * processes.count
    share, gradient = distance_and_gradient(texts, batch.targets, total, settings.sizes)
    distance = processes.sum(share)
    gradient *= processes.count  # wrapped towers average over the processes what must be summed
    weight = settings.pictures
    if not weight:
        return LossParts(distance, torch.zeros_like(images), gradient, torch.zeros_like(distance), None)
    pairs = _loss_of_pairs(images, texts, batch.groups, logit_scale, logit_bias, settings, processes)
    return LossParts(
        distance + weight * pairs.loss,
        weight * pairs.images_gradient,
        gradient + weight * pairs.texts_gradient,
        weight * pairs.scale_gradient,
        None if pairs.bias_gradient is None else weight * pairs.bias_gradient,
    )


def _loss_of_pairs(
    images: torch.Tensor, texts: torch.Tensor, groups: torch.Tensor, logit_scale: nn.Parameter,
    logit_bias: nn.Parameter | None, settings: config.Loss, processes: Processes,
) -> LossParts:  # fmt: skip
    """The loss of pictures and texts, as `_joint_loss`."""
    all_images, all_texts, all_groups = map(processes.gather, (images, texts, groups))
    first = processes.rank * len(images)
    bias = None if logit_bias is None else logit_bias.detach().squeeze()
    share = loss_and_gradients(
        images, texts, all_images, all_texts, first, logit_scale.detach().exp().squeeze(), bias, groups, all_groups,
        settings,
    )  # fmt: skip
    own = slice(first, first + len(images))
    # Wrapped towers average over the processes what must be summed.
    return LossParts(
        processes.sum(share.loss),
        processes.sum(share.images_gradient)[own] * processes.count,
        processes.sum(share.texts_gradient)[own] * processes.count,
        processes.sum(share.scale_gradient),
        None if share.bias_gradient is None else processes.sum(share.bias_gradient),
    )
