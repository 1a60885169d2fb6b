"""Measure a model on the pictures and captions of a pairs file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.evaluate import ranks, retrieval, zeroshot
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.pairs import Pair, image_path, read


@dataclass(frozen=True)
class Embedded:
    """Pairs whose pictures could be read, with their paths and embeddings (n, dim)."""

    pairs: list[Pair]
    paths: list[Path]
    images: np.ndarray
    left_out: list[str]


def choose(pairs_file: Path, split: str | None) -> list[Pair]:
    """The pairs to measure on: those of `split`; by default `test` where the file names splits, else all.

    Raises UserError where there are none.
    """
    pairs = read(pairs_file)
    if split is None:
        split = "test" if any(pair.split for pair in pairs) else "all"
    chosen = pairs if split == "all" else [pair for pair in pairs if pair.split == split]
    if not chosen:
        names = sorted({str(pair.split) for pair in pairs})
        raise UserError(f"{pairs_file}: no pairs in split {split!r}; it has {', '.join(names)}, or give --split all")
    return chosen


def embed(encoder: DualEncoder, pairs: Sequence[Pair], pairs_file: Path) -> Embedded:
    """Embed the pictures of `pairs`; unreadable ones are left out and listed.

    Raises UserError where no picture can be read.
    """
    by_path = {image_path(pair, pairs_file): pair for pair in pairs}
    with console.progress("pictures", len(by_path)) as advance:
        paths, images, errors = encoder.encode_files(list(by_path), advance)
    if not paths:
        raise UserError(f"{pairs_file}: none of its {len(pairs)} pictures can be read (first: {errors[0]})")
    if errors:
        console.notice(f"{len(errors)} of {len(pairs)} pictures cannot be read and are left out, first: {errors[0]}")
    return Embedded([by_path[path] for path in paths], paths, images, [str(error) for error in errors])


def retrieval_figures(encoder: DualEncoder, data: Embedded) -> dict[str, Any]:
    """Both directions, each with queries and gallery, the tie rule, and what was left out."""
    answers = retrieval.retrieval_set(data.pairs)
    figures = retrieval.evaluate(data.images, encoder.encode_text(answers.captions), answers)
    return {name: ranks.rounded(part) for name, part in figures.items()} | {
        "ties": ranks.TIE_RULE,
        "left_out": len(data.left_out),
    }


def retrieval_chance(data: Embedded) -> dict[str, Any]:
    """The same figures for a random order."""
    figures = retrieval.chance(retrieval.retrieval_set(data.pairs))
    return {name: ranks.rounded(part) for name, part in figures.items()}


def zeroshot_figures(encoder: DualEncoder, data: Embedded, prompt: str) -> dict[str, Any]:
    """Every picture against all captions of the set, each set in `prompt` (with one {})."""
    answers = retrieval.retrieval_set(data.pairs)
    labels = encoder.encode_text([prompt.format(caption) for caption in answers.captions])
    return ranks.rounded(zeroshot.accuracy(data.images, labels, answers.captions_of)) | {"prompt": prompt}


def zeroshot_chance(data: Embedded) -> dict[str, Any]:
    """Accuracy of a random order of the labels."""
    answers = retrieval.retrieval_set(data.pairs)
    return ranks.rounded(zeroshot.chance(len(answers.captions), answers.captions_of))
