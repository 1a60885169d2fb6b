"""Measure a model on the pictures and captions of a pairs file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clip_italian import console, leaks
from clip_italian.errors import UserError
from clip_italian.evaluate import ranks, retrieval, zeroshot
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.pairs import Pair, image_path, read

_LISTED = 100  # pictures named one by one


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


def overlap(encoder: DualEncoder, pairs: Sequence[Pair], pairs_file: Path, allow: bool = False) -> dict[str, Any]:
    """How many of the pictures the model was trained on; `checked` is false for models that do not tell.

    Raises UserError where there are any, unless `allow`; which ones is said on stderr.
    """
    kept = encoder.info.get(leaks.INFO_KEY)
    if kept is None:
        console.notice("the model does not tell its training pictures: nobody knows whether these are among them")
        return {"checked": False}
    by_path = {image_path(pair, pairs_file): pair for pair in pairs}
    with console.progress("overlap", len(by_path)) as advance:
        paths, mine = leaks.fingerprints(list(by_path), advance)
    found = [
        (by_path[path].id, reason)
        for path, reason in zip(paths, mine.found_in(leaks.Fingerprints.from_json(kept)), strict=True)
        if reason is not None
    ]
    for id_, reason in found[:_LISTED]:
        console.notice(f"{id_}: {reason} as one that the model was trained on")
    if len(found) > _LISTED:
        console.notice(f"… and {len(found) - _LISTED:,} more")
    if found and not allow:
        raise UserError(
            f"{pairs_file}: {len(found):,} of {len(by_path):,} pictures are among the model's training pictures; "
            "leave them out (clip-italian split), or give --allow-overlap to measure all the same"
        )
    return {"checked": True, "pictures": len(found)}


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
