"""One measurement from start to result: load the model, check for training pictures, embed, rank, describe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_italian.evaluate import classification, measure, results, retrieval
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.evaluate.labelled import LabelledSet
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.pairs import fingerprint


@dataclass(frozen=True)
class Subject:
    """The model to measure by folder or id, what reports call it, how intervals are drawn, and whether pictures
    that it was trained on are allowed."""

    source: str
    name: str
    settings: Resampling
    allow_overlap: bool = False


@dataclass(frozen=True)
class Measured:
    """A result as its file has it, and the same figures for a random order."""

    result: dict[str, Any]
    chance: dict[str, Any]


def retrieval_on_pairs(subject: Subject, pairs_file: Path, split: str | None, merge: bool) -> Measured:
    """Retrieval in both directions on a pairs file; `merge`: equal captions are one query."""
    chosen = measure.choose(pairs_file, split)
    encoder = DualEncoder.load(subject.source)
    overlap = measure.overlap(encoder, chosen, pairs_file, subject.allow_overlap)
    data = measure.embed(encoder, chosen, pairs_file)
    measured = measure.measure_retrieval(encoder, data, merge, subject.settings)
    return Measured(
        _head(subject, results.RETRIEVAL, encoder, _pairs_facts(data, pairs_file))
        | measured.figures
        | {"overlap": overlap}
        | results.retrieval_ranks(measured.found, measured.answers),
        measure.retrieval_chance(data, merge),
    )


def zeroshot_on_pairs(subject: Subject, pairs_file: Path, split: str | None, prompts: Sequence[str]) -> Measured:
    """Every picture of a pairs file against all its captions, each set in the prompts."""
    chosen = measure.choose(pairs_file, split)
    encoder = DualEncoder.load(subject.source)
    overlap = measure.overlap(encoder, chosen, pairs_file, subject.allow_overlap)
    data = measure.embed(encoder, chosen, pairs_file)
    answers = retrieval.retrieval_set(data.pairs)
    names = [(caption,) for caption in answers.captions]
    figures, measured = measure.measure_zeroshot(
        encoder, data.images, names, answers.captions_of, prompts, subject.settings
    )
    return Measured(
        _head(subject, results.ZEROSHOT, encoder, _pairs_facts(data, pairs_file))
        | figures
        | {"overlap": overlap, "ranks": {"zeroshot": measured.found.tolist()}},
        measure.zeroshot_chance(data),
    )


def zeroshot_on_classes(subject: Subject, data: LabelledSet, prompts: Sequence[str]) -> Measured:
    """Pictures with classes against the classes' labels, each set in the prompts."""
    encoder = DualEncoder.load(subject.source)
    ids = dict(zip(data.paths, data.ids, strict=True))
    overlap = measure.overlap_of(encoder, ids, data.place, subject.allow_overlap)
    embedded = classification.embed(encoder, data)
    figures, found = classification.figures(encoder, data, embedded, prompts, subject.settings)
    facts = results.data_facts(data.place, [], data.fingerprint(), embedded.paths, embedded.left_out)
    return Measured(
        _head(subject, results.ZEROSHOT, encoder, facts)
        | figures
        | {"overlap": overlap, "names": dict(zip(data.classes, map(list, data.names), strict=True))}
        | {"ranks": {"zeroshot": found.tolist()}},
        classification.chance(data, embedded),
    )


def for_people(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result without what is as long as the data set."""
    return {key: value for key, value in result.items() if key not in results.LONG}


def _head(subject: Subject, kind: str, encoder: DualEncoder, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": results.FORMAT,
        "kind": kind,
        "name": subject.name,
        "model": results.model_facts(encoder, subject.source),
        "data": data,
        "bootstrap": subject.settings.facts(),
        "versions": results.versions(),
    }


def _pairs_facts(data: measure.Embedded, pairs_file: Path) -> dict[str, Any]:
    splits = sorted({pair.split for pair in data.pairs if pair.split})
    return results.data_facts(str(pairs_file), splits, fingerprint(data.pairs), data.paths, data.left_out)
