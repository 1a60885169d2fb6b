"""Measurements from start to results: check for training pictures, embed, rank, describe.

Several models are measured on the same pictures, which are decoded once for all of them. Results come one by one, so
that what is measured can be written before the next model fails.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_italian.errors import UserError
from clip_italian.evaluate import classification, measure, overlap, results, retrieval
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.evaluate.labelled import LabelledSet
from clip_italian.evaluate.subjects import Subject
from clip_italian.pairs import Pair, fingerprint


@dataclass(frozen=True)
class Rules:
    """How intervals are drawn, and whether pictures that a model was trained on are allowed."""

    resampling: Resampling
    allow_overlap: bool = False


@dataclass(frozen=True)
class Measured:
    """A result as its file has it, and the same figures for a random order."""

    result: dict[str, Any]
    chance: dict[str, Any]


def retrieval_on_pairs(
    subjects: Sequence[Subject], chosen: Sequence[Pair], pairs_file: Path, merge: bool, rules: Rules
) -> Iterator[Measured]:
    """Each model's retrieval in both directions on pairs of a file; `merge`: equal captions are one query."""
    for subject, data, facts, overlapping in _embedded(subjects, chosen, pairs_file, rules):
        with _of(subject):
            measured = measure.measure_retrieval(subject.encoder, data, merge, rules.resampling)
        yield Measured(
            _head(subject, subject.name, results.RETRIEVAL, facts, rules)
            | measured.figures
            | {"overlap": overlapping}
            | results.retrieval_ranks(measured.found, measured.answers),
            measure.retrieval_chance(data, merge),
        )


def zeroshot_on_pairs(
    subjects: Sequence[Subject], chosen: Sequence[Pair], pairs_file: Path, prompts: Sequence[str], rules: Rules
) -> Iterator[Measured]:
    """For each model every picture of some pairs against all their captions, each set in the prompts."""
    for subject, data, facts, overlapping in _embedded(subjects, chosen, pairs_file, rules):
        answers = retrieval.retrieval_set(data.pairs)
        names = [(caption,) for caption in answers.captions]
        with _of(subject):
            figures, measured = measure.measure_zeroshot(
                subject.encoder, data.images, names, answers.captions_of, prompts, rules.resampling
            )
        yield Measured(
            _head(subject, subject.name, results.ZEROSHOT, facts, rules)
            | figures
            | {"overlap": overlapping, "ranks": {"zeroshot": measured.found.tolist()}},
            measure.zeroshot_chance(data),
        )


def zeroshot_on_classes(
    subjects: Sequence[Subject], sets: Sequence[LabelledSet], prompts: Sequence[str], rules: Rules
) -> Iterator[Measured]:
    """Pictures with classes against the classes' labels, each set in the prompts: each model with each set of labels.

    `sets` hold the same pictures; results come in the order of `result_names`.
    """
    encoders = {subject.name: subject.encoder for subject in subjects}
    ids = dict(zip(sets[0].paths, sets[0].ids, strict=True))
    overlaps = overlap.check(encoders, ids, sets[0].place, rules.allow_overlap)
    embedded = classification.embed(list(encoders.values()), sets)
    names = iter(result_names(list(encoders), [data.labels for data in sets]))
    seen = embedded[0][0]
    facts = results.data_facts(sets[0].place, [], "", seen.paths, seen.left_out)
    for number, subject in enumerate(subjects):
        for data, by_model in zip(sets, embedded, strict=True):
            mine = by_model[number]
            with _of(subject):
                figures, found = classification.figures(subject.encoder, data, mine, prompts, rules.resampling)
            yield Measured(
                _head(subject, next(names), results.ZEROSHOT, facts | {"fingerprint": data.fingerprint()}, rules)
                | figures
                | {"overlap": overlaps[subject.name], "label_set": data.labels}
                | {"names": dict(zip(data.classes, map(list, data.names), strict=True))}
                | {"ranks": {"zeroshot": found.tolist()}},
                classification.chance(data, mine),
            )


def result_names(names: Sequence[str], label_sets: Sequence[str]) -> list[str]:
    """What reports call the results: models by name, with the set of labels where there are several."""
    if len(label_sets) == 1:
        return list(names)
    return [f"{name} ({labels})" for name in names for labels in label_sets]


def for_people(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result without what is as long as the data set."""
    return {key: value for key, value in result.items() if key not in results.LONG}


def _embedded(
    subjects: Sequence[Subject], chosen: Sequence[Pair], pairs_file: Path, rules: Rules
) -> Iterator[tuple[Subject, measure.Embedded, dict[str, Any], dict[str, Any]]]:
    """Each model with its embeddings of the pictures, the facts of the data, and its overlap with them."""
    encoders = {subject.name: subject.encoder for subject in subjects}
    ids = measure.ids(chosen, pairs_file)
    overlaps = overlap.check(encoders, ids, str(pairs_file), rules.allow_overlap)
    embedded = measure.embed(list(encoders.values()), chosen, pairs_file)
    used = embedded[0]
    splits = sorted({pair.split for pair in used.pairs if pair.split})
    facts = results.data_facts(str(pairs_file), splits, fingerprint(used.pairs), used.paths, used.left_out)
    for subject, data in zip(subjects, embedded, strict=True):
        yield subject, data, facts, overlaps[subject.name]


@contextmanager
def _of(subject: Subject) -> Iterator[None]:
    """Says which model it was that could not be measured."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{subject.name}: {error}") from error


def _head(subject: Subject, name: str, kind: str, data: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    return {
        "format": results.FORMAT,
        "kind": kind,
        "name": name,
        "model": results.model_facts(subject.encoder, subject.source),
        "data": data,
        "bootstrap": rules.resampling.facts(),
        "versions": results.versions(),
    }
