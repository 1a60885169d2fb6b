"""Several results side by side: the tables of a report as values, whatever they are written as."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clip_italian.errors import UserError
from clip_italian.evaluate import bootstrap, published, ranks, results, zeroshot
from clip_italian.evaluate.bootstrap import Owners, Resampling
from clip_italian.evaluate.published import PublishedTable
from clip_italian.evaluate.results import Result

MRR = tuple(f"MRR@{k}" for k in ranks.CUTOFFS)
RECALL = tuple(f"R@{k}" for k in ranks.RECALL_CUTOFFS)
RANKS = ("median_rank", "mean_rank")  # less is better
ACCURACY = tuple(f"accuracy@{k}" for k in zeroshot.CUTOFFS)
PUBLISHED = ", published"  # ends the name of a reference column
_WORST = 10


@dataclass(frozen=True)
class Cell:
    """A figure with its interval where it has one; `best` of its row among the measured ones; `p` of a difference."""

    value: float
    interval: tuple[float, float] | None = None
    best: bool = False
    p: float | None = None


@dataclass(frozen=True)
class Table:
    """Figures as rows, models as columns; cells may lack. `percent`: shares are shown in percent, as the paper's."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    percent: bool = False


@dataclass(frozen=True)
class ComparedSet:
    """All models that were measured on one set: facts, tables as published, more tables, differences, mistakes."""

    kind: str
    title: str
    facts: Mapping[str, str]
    models: Mapping[str, Mapping[str, Any]]
    tables: tuple[Table, ...]
    differences: tuple[Table, ...]
    confusions: Mapping[str, Sequence[Mapping[str, Any]]]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For `--json`: the set and the differences between its models."""
        return {
            "kind": self.kind,
            "data": self.facts["data"],
            "models": list(self.models),
            "differences": {table.caption: _differences_json(table) for table in self.differences},
        }


def compare(read: Sequence[tuple[Path, Result]], settings: Resampling) -> list[ComparedSet]:
    """One `ComparedSet` for each set of queries among the results, in order of appearance.

    Models of one set are compared by paired bootstrap with the first. Raises UserError where a file
    is given twice.
    """
    files = [file.resolve() for file, _ in read]
    if len(set(files)) < len(files):
        raise UserError("a result file is given twice; give each once")
    groups: dict[tuple, list[tuple[Path, Result]]] = {}
    for file, result in read:
        groups.setdefault(_set_of(result), []).append((file, result))
    return [_compared(_named(some), settings) for some in groups.values()]


def _set_of(result: Result) -> tuple:
    """What two results have in common that were measured on the same queries."""
    counts = tuple(sorted((name, len(found)) for name, found in result.ranks.items()))
    left_out = len(result.data.get("left_out", []))
    galleries = str(result.values.get("galleries"))
    return result.kind, result.data.get("fingerprint"), result.values.get("captions"), counts, left_out, galleries


def _named(some: Sequence[tuple[Path, Result]]) -> dict[str, Result]:
    """Results by their models' names, with the file's name where two models have the same."""
    names = [result.name for _, result in some]
    wanted = [
        name if names.count(name) == 1 else f"{name} ({file.stem})" for name, (file, _) in zip(names, some, strict=True)
    ]
    numbered = [name if wanted.count(name) == 1 else f"{name} {place}" for place, name in enumerate(wanted, start=1)]
    return dict(zip(numbered, (result for _, result in some), strict=True))


def _compared(models: Mapping[str, Result], settings: Resampling) -> ComparedSet:
    first = next(iter(models.values()))
    make = _retrieval if first.kind == results.RETRIEVAL else _zeroshot
    title, tables, differences, notes = make(models, settings)
    facts = {
        "data": str(first.data.get("source", "")),
        "split": ", ".join(first.data.get("splits", [])),
        "fingerprint": str(first.data.get("fingerprint", "")),
        "ties": str(first.values.get("ties", "")),
        "intervals": _interval_facts(first.values.get("bootstrap", {})),
        "differences": f"paired by picture, {settings.resamples:,} resamples, seed {settings.seed}",
    }
    overlapping = [name for name, result in models.items() if result.values.get("overlap", {}).get("pictures")]
    unknown = [name for name, result in models.items() if not result.values.get("overlap", {}).get("checked")]
    if overlapping:
        notes.append(f"Trained on some of these pictures: {', '.join(overlapping)}.")
    if unknown:
        notes.append(f"Nobody knows whether these were trained on the pictures: {', '.join(unknown)}.")
    mistakes = {
        name: result.values["confusions"][:_WORST] for name, result in models.items() if "confusions" in result.values
    }
    described = {name: result.values.get("model", {}) | _versions(result) for name, result in models.items()}
    return ComparedSet(first.kind, title, facts, described, tables, differences, mistakes, tuple(notes))


def _retrieval(
    models: Mapping[str, Result], settings: Resampling
) -> tuple[str, tuple[Table, ...], tuple[Table, ...], list[str]]:
    first = next(iter(models.values()))
    captions, pictures = len(first.ranks["text_to_image"]), len(first.ranks["image_to_text"])
    rule = "every caption is a query" if first.values.get("captions") == "all" else "equal captions are one query"
    parts = {direction: _figures(models, direction) for direction in ("text_to_image", "image_to_text")}
    galleries = first.values.get("galleries", {"text_to_image": [pictures], "image_to_text": [captions]})
    counts = {
        "text_to_image": f"{captions:,} captions as queries, {_sizes('pictures', galleries['text_to_image'])}",
        "image_to_text": f"{pictures:,} pictures as queries, {_sizes('captions', galleries['image_to_text'])}",
    }
    tables = (
        _table(f"Text to image, MRR (the paper's Table 3): {counts['text_to_image']}", MRR, parts["text_to_image"],
               published.RETRIEVAL),
        _table(f"Text to image: {counts['text_to_image']}", RECALL + RANKS, parts["text_to_image"]),
        _table(f"Image to text: {counts['image_to_text']}", MRR + RECALL + RANKS, parts["image_to_text"]),
    )  # fmt: skip
    images_of: list[list[int]] = [[] for _ in range(captions)]
    for picture, mine in enumerate(first.captions_of):
        for caption in mine:
            images_of[caption].append(picture)
    owners = {"text_to_image": bootstrap.owners(images_of, pictures), "image_to_text": bootstrap.own(pictures)}
    differences = [
        _differences(models, direction, words, ranks.by_query, MRR + RECALL + RANKS, owners[direction], settings)
        for direction, words in (("text_to_image", "Text to image"), ("image_to_text", "Image to text"))
    ]
    whole = first.values.get("captions") == "all" and len(galleries["text_to_image"]) == 1
    same = whole and _same_counts(published.RETRIEVAL, captions, pictures)
    notes = [_reference_note(published.RETRIEVAL, same)]
    return f"Retrieval, {rule}", tables, tuple(filter(None, differences)), notes


def _zeroshot(
    models: Mapping[str, Result], settings: Resampling
) -> tuple[str, tuple[Table, ...], tuple[Table, ...], list[str]]:
    first = next(iter(models.values()))
    pictures, labels = len(first.ranks["zeroshot"]), int(first.values.get("labels", 0))
    caption = f"Zero-shot accuracy in % (the paper's Table 4): {pictures:,} pictures, {labels:,} labels"
    figures = {name: result.values for name, result in models.items()}
    tables = (_table(caption, ACCURACY, figures, published.ZEROSHOT, percent=True),)
    differences = _differences(
        models, "zeroshot", "Zero-shot", zeroshot.by_picture, ACCURACY, bootstrap.own(pictures), settings, percent=True
    )
    notes = [_reference_note(published.ZEROSHOT, _same_counts(published.ZEROSHOT, pictures, labels))]
    prompts = {name: " + ".join(result.values.get("prompts", [])) for name, result in models.items()}
    for text in dict.fromkeys(prompts.values()):
        mine = [name for name, other in prompts.items() if other == text]
        short = text if len(text) <= 200 else f"{text[:199]}…"
        notes.append(f"Prompts{'' if len(mine) == len(prompts) else ' of ' + ', '.join(mine)}: {short}")
    if len({str(result.values.get("names")) for result in models.values()}) > 1:
        notes.append("The models were given different labels for the same classes.")
    return "Zero-shot classification", tables, (differences,) if differences else (), notes


def _sizes(what: str, galleries: Sequence[int]) -> str:
    """How many there are to choose from, in one gallery or in those of several folds."""
    if len(galleries) == 1:
        return f"{galleries[0]:,} {what} in the gallery"
    few, many = min(galleries), max(galleries)
    size = f"{few:,}" if few == many else f"{few:,} to {many:,}"
    return f"each in its fold's gallery of {size} {what} ({len(galleries)} folds)"


def _figures(models: Mapping[str, Result], direction: str) -> dict[str, Mapping[str, Any]]:
    return {name: result.values.get(direction, {}) for name, result in models.items()}


def _table(
    caption: str, names: Iterable[str], figures: Mapping[str, Mapping[str, Any]],
    reference: PublishedTable | None = None, percent: bool = False,
) -> Table:  # fmt: skip
    columns = list(figures) + [f"{column.model}{PUBLISHED}" for column in (reference.columns if reference else ())]
    rows = []
    for name in names:
        values = [part.get(name) for part in figures.values()]
        known = [value for value in values if value is not None]
        top = (min if name in RANKS else max)(known) if len(known) > 1 else None
        cells: list[Cell | None] = [
            None if value is None else Cell(value, part.get("intervals", {}).get(name), value == top)
            for value, part in zip(values, figures.values(), strict=True)
        ]
        for column in reference.columns if reference else ():
            figure = column.figures.get(name)
            cells += [None if figure is None else Cell(figure)]
        rows.append((name, tuple(cells)))
    return Table(caption, tuple(columns), tuple(rows), percent)


def _differences(
    models: Mapping[str, Result], direction: str, words: str,
    by_query: Callable[[np.ndarray], Mapping[str, np.ndarray]], names: Iterable[str],
    owners: Owners, settings: Resampling, percent: bool = False,
) -> Table | None:  # fmt: skip
    base, *others = models
    if not others:
        return None
    first = models[base].found(direction)
    found = {
        name: bootstrap.paired(first, models[name].found(direction), by_query, owners, settings) for name in others
    }
    rows = []
    for figure in names:
        parts = [found[name][figure] for name in others]
        cells = tuple(Cell(part["difference"], tuple(part["interval"]), p=part["p"]) for part in parts)
        rows.append((figure, cells))
    return Table(f"{words}: difference from {base}", tuple(others), tuple(rows), percent)


def _differences_json(table: Table) -> dict[str, dict[str, Any]]:
    return {
        column: {
            name: {"difference": cell.value, "interval": list(cell.interval or ()), "p": cell.p}
            for name, cells in table.rows
            if (cell := cells[place]) is not None
        }
        for place, column in enumerate(table.columns)
    }


def _same_counts(table: PublishedTable, queries: int, gallery: int) -> bool:
    return (table.queries, table.gallery) == (queries, gallery)


def _reference_note(table: PublishedTable, same: bool) -> str:
    where = "as many pictures and texts as here" if same else "other pictures than these: no direct comparison"
    return f"Published figures: {published.SOURCE}, on {table.test_set} ({where})."


def _interval_facts(facts: Mapping[str, Any]) -> str:
    if not facts:
        return ""
    return f"95 %, {facts['kind']} bootstrap by {facts['by']}, {facts['resamples']:,} resamples, seed {facts['seed']}"


def _versions(result: Result) -> dict[str, str]:
    versions = result.values.get("versions", {})
    return {"versions": ", ".join(f"{name} {number}" for name, number in versions.items())}
