"""Where training pictures come from: sources and licences, numbered while reading and counted for the model's card."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

Origin = tuple[str, str | None]  # source, and licence where it is told
_MOST_LICENCES = 20  # of a source; the others are counted together
OTHERS = "(others)"


def numbered(rows: pa.Table) -> tuple[list[Origin], torch.Tensor]:
    """The different origins of rows with `source` and `license`, and the number of each row's (n,) int32."""
    source, licence = (
        pc.fill_null(rows[name].cast(pa.large_string()), "").combine_chunks().dictionary_encode()
        for name in ("source", "license")
    )
    both = source.indices.to_numpy().astype(np.int64) * len(licence.dictionary) + licence.indices.to_numpy()
    known, which = np.unique(both, return_inverse=True)
    names, licences = source.dictionary.to_pylist(), licence.dictionary.to_pylist()
    origins = [(names[one // len(licences)], licences[one % len(licences)] or None) for one in known.tolist()]
    return origins, torch.from_numpy(which.astype(np.int32))


def counted(
    origins: list[Origin], which: torch.Tensor, pictures: torch.Tensor, captions: torch.Tensor
) -> list[dict[str, Any]]:
    """For each source its different pictures, its captions, and its pictures by licence ("" where none is told).

    Of n rows: the number of the origin, of the picture, and how many captions there are, (n,) each.
    """
    first = np.zeros(len(pictures), bool)
    first[np.unique(pictures.numpy(), return_index=True)[1]] = True  # a picture counts where it comes first
    by_origin = [np.bincount(which.numpy(), values, len(origins)).astype(int) for values in (first, captions.numpy())]
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    licences: dict[str, Counter[str]] = defaultdict(Counter)
    for (source, licence), images, texts in zip(origins, *by_origin, strict=True):
        if not images and not texts:
            continue
        sums[source][0] += int(images)
        sums[source][1] += int(texts)
        licences[source][licence or ""] += int(images)
    return [
        {"source": source, "pictures": images, "captions": texts, "licenses": _shortened(licences[source])}
        for source, (images, texts) in sums.items()
    ]


def _shortened(counts: Counter[str]) -> dict[str, int]:
    shown = dict(counts.most_common(_MOST_LICENCES))
    rest = counts.total() - sum(shown.values())
    return shown | ({OTHERS: rest} if rest else {})
