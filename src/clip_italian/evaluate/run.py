"""From models and pictures to results: choose pairs, embed their pictures, measure, describe.

Several models are measured on the same pictures, which are decoded once for all of them. Each result is computed on
its own, so that it can be written before the next model fails.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clip_italian import console
from clip_italian.errors import UsageError, UserError
from clip_italian.evaluate import ranks, results, retrieval, zeroshot
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.evaluate.labelled import LabelledSet
from clip_italian.evaluate.leaks import Overlap
from clip_italian.languages import Language
from clip_italian.models.encoder import Encoder, encode_files
from clip_italian.models.load import Engine, load_rival
from clip_italian.pairs import Pair, fingerprint, image_path, read

UNCHECKED: Overlap = {"checked": False}


@dataclass(frozen=True)
class NamedModel:
    """A model, its name in reports, and the folder, id or other name it was loaded from."""

    source: str
    name: str
    encoder: Encoder


@dataclass(frozen=True)
class EmbeddedPairs:
    """The pairs whose pictures can be read, and one model's embeddings of these, `images` (n, dim).

    `left_out` lists the unreadable pictures, `facts` describe the data, `overlap` says how many pictures the model was
    trained on.
    """

    model: NamedModel
    pairs: list[Pair]
    paths: list[Path]
    images: np.ndarray
    left_out: list[str]
    facts: dict[str, Any]
    overlap: Overlap


@dataclass(frozen=True)
class EmbeddedClasses:
    """One set of labels, the readable pictures of its classes, and one model's embeddings of these, `images` (n, dim).

    `name` is what reports call the result, `right` (n,) are the pictures' classes; the rest as in `EmbeddedPairs`.
    """

    model: NamedModel
    name: str
    data: LabelledSet
    images: np.ndarray
    right: np.ndarray
    left_out: list[str]
    facts: dict[str, Any]
    overlap: Overlap


@dataclass(frozen=True)
class Measured:
    """A result as its file has it, and the expected figures of a random order."""

    result: dict[str, Any]
    chance: dict[str, Any]


def model_names(sources: Sequence[str], names: Sequence[str]) -> list[str]:
    """Names of the models in reports: `names`, or where there are none, `sources`.

    Raises UsageError for another number of names than of models, and for a duplicate.
    """
    if names and len(names) != len(sources):
        raise UsageError(f"{len(names)} names for {len(sources)} models; give --name once for each --model, or never")
    chosen = list(names or sources)
    duplicate = next((name for name in chosen if chosen.count(name) > 1), None)
    if duplicate is not None:
        raise UsageError(f"two models are called {duplicate!r}; give each another --name")
    return chosen


def load_models(
    sources: Sequence[str], names: Sequence[str], language: Language, device: str, engine: Engine = "torch"
) -> list[NamedModel]:
    """Load models in order, with the names that `model_names` returned. All stay in memory."""
    return [
        NamedModel(source, name, load_rival(source, language, device, engine))
        for source, name in zip(sources, names, strict=True)
    ]


def choose_pairs(pairs_file: Path, split: str | None) -> list[Pair]:
    """Read the pairs of a split; None: of `test` if the file names splits, else all.

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


def picture_ids(pairs: Sequence[Pair], pairs_file: Path) -> dict[Path, str]:
    """Ids of pairs by the paths of their pictures."""
    return {image_path(pair, pairs_file): pair.id for pair in pairs}


def embed_files(
    encoders: Sequence[Encoder], paths: Sequence[Path], place: str
) -> tuple[list[Path], list[np.ndarray], list[str]]:
    """The readable files, each model's embeddings of them (n, dim), and the errors of the other files.

    Files are decoded once. Says on stderr how many are left out. Raises UserError where none can be read.
    """
    with console.progress("pictures", len(paths)) as advance:
        good, images, errors = encode_files(encoders, paths, advance)
    if not good:
        raise UserError(f"{place}: none of its {len(paths)} pictures can be read (first: {errors[0]})")
    if errors:
        console.notice(f"{len(errors)} of {len(paths)} pictures cannot be read and are left out, first: {errors[0]}")
    return good, images, [str(error) for error in errors]


def embed_pairs(
    models: Sequence[NamedModel], pairs: Sequence[Pair], pairs_file: Path, overlaps: Mapping[str, Overlap]
) -> list[EmbeddedPairs]:
    """Embed the pictures of `pairs` with each model; `overlaps` are those that `leaks.check` found.

    Unreadable pictures are left out. Raises UserError where none can be read.
    """
    by_path = {image_path(pair, pairs_file): pair for pair in pairs}
    paths, images, left_out = embed_files([model.encoder for model in models], list(by_path), str(pairs_file))
    readable = [by_path[path] for path in paths]
    splits = sorted({pair.split for pair in readable if pair.split})
    facts = results.data_facts(str(pairs_file), splits, fingerprint(readable), paths, left_out)
    return [
        EmbeddedPairs(model, readable, paths, mine, left_out, facts, overlaps.get(model.name, UNCHECKED))
        for model, mine in zip(models, images, strict=True)
    ]


def embed_classes(
    models: Sequence[NamedModel], sets: Sequence[LabelledSet], overlaps: Mapping[str, Overlap]
) -> list[EmbeddedClasses]:
    """Embed pictures with classes with each model; all `sets` hold the same pictures with other labels.

    One entry for each model and set, in the order of `result_names`. Unreadable pictures are left out. Raises
    UserError where no picture of a class can be read.
    """
    paths, images, left_out = embed_files([model.encoder for model in models], sets[0].paths, sets[0].place)
    facts = results.data_facts(sets[0].place, [], "", paths, left_out)
    names = iter(result_names([model.name for model in models], [data.labels for data in sets]))
    return [
        EmbeddedClasses(
            model, next(names), data, mine, _classes_of(paths, data), left_out,
            facts | {"fingerprint": data.fingerprint()}, overlaps.get(model.name, UNCHECKED),
        )
        for model, mine in zip(models, images, strict=True)
        for data in sets
    ]  # fmt: skip


def result_names(names: Sequence[str], label_sets: Sequence[str]) -> list[str]:
    """Names of the results in reports: the models' names, with the set of labels where there are several."""
    if len(label_sets) == 1:
        return list(names)
    return [f"{name} ({labels})" for name in names for labels in label_sets]


def retrieval_result(embedded: EmbeddedPairs, merge: bool, resampling: Resampling) -> Measured:
    """Retrieval in both directions; `merge`: equal captions are one query."""
    with _errors_of(embedded.model):
        found = retrieval.measure(embedded.model.encoder, embedded.images, embedded.pairs, merge, resampling)
    return Measured(
        _head(embedded, embedded.model.name, results.RETRIEVAL, resampling)
        | found.figures
        | {"left_out": len(embedded.left_out), "overlap": embedded.overlap}
        | results.retrieval_ranks(found.ranks, found.answers),
        ranks.rounded(retrieval.chance(found.answers)),
    )


def zeroshot_result(embedded: EmbeddedPairs, prompts: Sequence[str], resampling: Resampling) -> Measured:
    """Zero-shot classification of each picture among all captions of the pairs, each set in the prompts."""
    answers = retrieval.retrieval_set(embedded.pairs)
    names, right = [(caption,) for caption in answers.captions], answers.captions_of
    with _errors_of(embedded.model):
        figures, found = zeroshot.measure(embedded.model.encoder, embedded.images, names, right, prompts, resampling)
    return Measured(
        _head(embedded, embedded.model.name, results.ZEROSHOT, resampling)
        | figures
        | {"overlap": embedded.overlap, "ranks": {"zeroshot": found.rank.tolist()}},
        ranks.rounded(zeroshot.chance(len(names), right)),
    )


def classes_result(embedded: EmbeddedClasses, prompts: Sequence[str], resampling: Resampling) -> Measured:
    """Zero-shot classification among the labels of classes, each set in the prompts, also class by class."""
    data, right = embedded.data, [(int(number),) for number in embedded.right]
    with _errors_of(embedded.model):
        figures, found = zeroshot.measure(
            embedded.model.encoder, embedded.images, data.names, right, prompts, resampling
        )
    classes = zeroshot.per_class(found.rank, embedded.right, data.classes)
    by_class = {
        "mean_class_accuracy@1": float(np.mean([part["accuracy@1"] for part in classes.values()])),
        "left_out": len(embedded.left_out),
        "per_class": classes,
        "confusions": zeroshot.confusions(found, embedded.right, data.classes),
    }
    return Measured(
        _head(embedded, embedded.name, results.ZEROSHOT, resampling)
        | figures
        | ranks.rounded(by_class)
        | {"overlap": embedded.overlap, "label_set": data.labels}
        | {"names": dict(zip(data.classes, map(list, data.names), strict=True))}
        | {"ranks": {"zeroshot": found.rank.tolist()}},
        ranks.rounded(zeroshot.chance(len(data.classes), right)),
    )


def _classes_of(paths: Sequence[Path], data: LabelledSet) -> np.ndarray:
    """Class of each readable picture (n,); raises UserError for a class that has none left."""
    numbers = dict(zip(data.paths, data.right, strict=True))
    right = np.array([numbers[path] for path in paths])
    lost = Counter(data.right).keys() - set(right.tolist())
    if lost:
        name = data.classes[min(lost)]
        raise UserError(f"{data.place}: no picture of class {name!r} can be read; replace them or remove the class")
    return right


@contextmanager
def _errors_of(model: NamedModel) -> Iterator[None]:
    """Put the model's name before errors."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{model.name}: {error}") from error


def _head(embedded: EmbeddedPairs | EmbeddedClasses, name: str, kind: str, resampling: Resampling) -> dict[str, Any]:
    return {
        "format": results.FORMAT,
        "kind": kind,
        "name": name,
        "model": results.model_facts(embedded.model.encoder, embedded.model.source),
        "data": embedded.facts,
        "bootstrap": resampling.facts(),
        "versions": results.versions(),
    }
