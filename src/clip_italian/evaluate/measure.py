"""Measure models on the pictures and captions of a pairs file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.evaluate import bootstrap, ranks, retrieval, zeroshot
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.models.encoder import Encoder, encode_files
from clip_italian.pairs import Pair, image_path, read


@dataclass(frozen=True)
class Embedded:
    """Pairs whose pictures could be read, with their paths and one model's embeddings (n, dim)."""

    pairs: list[Pair]
    paths: list[Path]
    images: np.ndarray
    left_out: list[str]


@dataclass(frozen=True)
class Retrieved:
    """Retrieval figures of both directions as they are published, and what they were computed from."""

    figures: dict[str, Any]
    found: retrieval.RetrievalRanks
    answers: retrieval.RetrievalSet


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


def ids(pairs: Sequence[Pair], pairs_file: Path) -> dict[Path, str]:
    """Ids of the pairs by the paths of their pictures."""
    return {image_path(pair, pairs_file): pair.id for pair in pairs}


def embed(encoders: Sequence[Encoder], pairs: Sequence[Pair], pairs_file: Path) -> list[Embedded]:
    """Embed the pictures of `pairs` by each model, decoding them once; unreadable ones are left out and listed.

    Raises UserError where no picture can be read.
    """
    by_path = {image_path(pair, pairs_file): pair for pair in pairs}
    paths, images, left_out = embed_files(encoders, list(by_path), str(pairs_file))
    readable = [by_path[path] for path in paths]
    return [Embedded(readable, paths, mine, left_out) for mine in images]


def embed_files(
    encoders: Sequence[Encoder], paths: Sequence[Path], place: str
) -> tuple[list[Path], list[np.ndarray], list[str]]:
    """The files that can be read, each model's embeddings (n, dim), and what is wrong with the others, which is said.

    Raises UserError where none can be read.
    """
    with console.progress("pictures", len(paths)) as advance:
        good, images, errors = encode_files(encoders, paths, advance)
    if not good:
        raise UserError(f"{place}: none of its {len(paths)} pictures can be read (first: {errors[0]})")
    if errors:
        console.notice(f"{len(errors)} of {len(paths)} pictures cannot be read and are left out, first: {errors[0]}")
    return good, images, [str(error) for error in errors]


def measure_retrieval(
    encoder: Encoder, data: Embedded, merge: bool = True, settings: Resampling | None = None
) -> Retrieved:
    """Both directions, each with queries and gallery, the tie rule, and what was left out.

    `merge`: equal captions are one query; `settings`: with intervals by picture.
    """
    answers = retrieval.retrieval_set(data.pairs, merge)
    found = retrieval.rank(data.images, encoder.encode_text(answers.captions), answers)
    figures = retrieval.figures(found, answers, settings)
    rest = {"captions": "distinct" if merge else "all", "ties": ranks.TIE_RULE, "left_out": len(data.left_out)}
    return Retrieved(ranks.rounded(figures) | rest, found, answers)


def retrieval_figures(encoder: Encoder, data: Embedded) -> dict[str, Any]:
    """The figures of `measure_retrieval` with equal captions as one query, without intervals."""
    return measure_retrieval(encoder, data).figures


def retrieval_chance(data: Embedded, merge: bool = True) -> dict[str, Any]:
    """The same figures for a random order."""
    return ranks.rounded(retrieval.chance(retrieval.retrieval_set(data.pairs, merge)))


def measure_zeroshot(
    encoder: Encoder, images: np.ndarray, names: Sequence[Sequence[str]], right: Sequence[Sequence[int]],
    prompts: Sequence[str], settings: Resampling | None = None,
) -> tuple[dict[str, Any], zeroshot.Classified]:  # fmt: skip
    """Pictures (n, dim) against labels, each the mean of its `names[c]` in all `prompts` (with one {} each).

    `right[i]` are picture i's labels.
    """
    labels = zeroshot.label_embeddings(encoder.encode_text, names, prompts)
    result = zeroshot.classify(images, labels, right)
    figures: dict[str, Any] = dict(zeroshot.summary(result.found, len(labels)))
    if settings is not None:
        values = zeroshot.by_picture(result.found)
        figures["intervals"] = bootstrap.intervals(values, None, bootstrap.own(len(images)), settings)
    rest = {"prompt": prompts[0], "prompts": list(prompts), "ties": ranks.TIE_RULE}
    return ranks.rounded(figures) | rest, result


def zeroshot_figures(encoder: Encoder, data: Embedded, prompt: str) -> dict[str, Any]:
    """Every picture against all captions of the set, each set in `prompt` (with one {}), without intervals."""
    answers = retrieval.retrieval_set(data.pairs)
    names = [(caption,) for caption in answers.captions]
    return measure_zeroshot(encoder, data.images, names, answers.captions_of, [prompt])[0]


def zeroshot_chance(data: Embedded) -> dict[str, Any]:
    """Accuracy of a random order of the labels."""
    answers = retrieval.retrieval_set(data.pairs)
    return ranks.rounded(zeroshot.chance(len(answers.captions), answers.captions_of))
