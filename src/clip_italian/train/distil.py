"""Learning from a teacher: a text tower learns the text space of a joint model from captions and their originals.

The teacher embeds the originals once, and its features are kept on disk as those of frozen layers are. The student
embeds the captions (or the originals too, see `data.original_captions`), and its loss is the distance to the teacher's
embedding of the original (multilingual knowledge distillation, Reimers and Gurevych 2020; for CLIP Carlsson et al.
2022). Distances are between unit vectors, since everything that uses a model compares cosines.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import nn
from torch.nn.functional import normalize

from clip_italian.errors import UsageError
from clip_italian.models_torch.cut import POOLED, cut
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.pairs import Pair
from clip_italian.train.data import Examples
from clip_italian.train.features import Store, keep_texts

START_TEXTS = 20_000  # the most captions that the start of the projection is computed from
_RIDGE = 0.01  # added to every feature's second moment, as a share of their mean


@dataclass(frozen=True)
class Targets:
    """The teacher's embeddings of n originals: kept features, and the projection from them to the space."""

    store: Store
    projection: nn.Module
    device: torch.device

    @torch.no_grad()
    def of(self, texts: torch.Tensor) -> torch.Tensor:
        """Embeddings (b, dim), unit length, for texts by their numbers in `Examples`.

        Text i is a caption and text n + i its original: both have the embedding of the original.
        """
        pooled = self.store.take(texts % len(self.store))[POOLED].to(self.device).float()
        return normalize(self.projection(pooled), dim=1)


def keep_targets(
    teacher: DualEncoder, originals: pa.Array, dtype: torch.dtype, progress: Callable[[int], None]
) -> Targets:
    """Embed the originals (n,), or find their features in the cache; towers run in `dtype`.

    `progress` is called with the number of texts done since the last call. The result does not refer to the teacher's
    towers.
    """
    store = keep_texts(cut(teacher.parts.text, ()), teacher, originals, dtype, progress)
    return Targets(store, teacher.parts.text_projection, teacher.device)


def original_pairs(examples: Examples, rows: torch.Tensor) -> list[Pair]:
    """The distinct originals of some rows as the `image` of a pair each, with their translations as captions.

    Figures of retrieval then measure how translations find their originals. `id` is the number of a translation.
    """
    numbers, _ = examples.captions(rows)
    originals = examples.texts_of(numbers + len(examples.originals()))
    translations: dict[str, list[int]] = {}
    for number, original in zip(numbers.tolist(), originals, strict=True):
        translations.setdefault(original, []).append(number)
    return [
        Pair(str(some[0]), original, tuple(examples.text(number) for number in some), source="")
        for original, some in translations.items()
    ]


@torch.no_grad()
def set_text_projection(encoder: DualEncoder, pooled: torch.Tensor, targets: torch.Tensor) -> None:
    """Set the projection of texts to the ridge regression from `pooled` (n, hidden) to `targets` (n, dim).

    Raises UsageError for a projection with a hidden layer.
    """
    projection = encoder.parts.text_projection
    if not isinstance(projection, nn.Linear):
        raise UsageError("model.start: 'ridge' is for linear projections; set it to 'random'")
    pooled, targets = pooled.double(), targets.double()
    moment = pooled.T @ pooled
    penalty = _RIDGE * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype)
    weights = torch.linalg.solve(moment + penalty, pooled.T @ targets)
    projection.weight.copy_(weights.T)
