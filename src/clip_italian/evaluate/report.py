"""The report of several results: comparison, tables as the paper has them, plots; as Markdown, LaTeX and HTML.

Published figures are those of Bianchi et al. 2021 (arXiv:2108.08688), as the README of
github.com/clip-italian/clip-italian and the card of clip-italian/clip-italian print them: accuracy in percent with two
decimals. mCLIP is sentence-transformers' clip-ViT-B-32-multilingual-v1.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clip_italian import charts, tables
from clip_italian.errors import UserError
from clip_italian.evaluate import bootstrap, ranks, results, zeroshot
from clip_italian.evaluate.bootstrap import Owners, Resampling
from clip_italian.evaluate.results import Result
from clip_italian.files.atomic import staged
from clip_italian.pages import write_page
from clip_italian.tables import Cell, Table, escape_markdown, figure_table

MRR = tuple(f"MRR@{k}" for k in ranks.CUTOFFS)
RECALL = tuple(f"R@{k}" for k in ranks.RECALL_CUTOFFS)
RANKS = ("median_rank", "mean_rank")
ACCURACY = tuple(f"accuracy@{k}" for k in zeroshot.CUTOFFS)
_MAX_CONFUSIONS = 10
_MAX_PROMPT = 200  # letters shown


@dataclass(frozen=True)
class PublishedTable:
    """A published table, by model and figure in the units of result files, and the test set it was measured on."""

    models: Mapping[str, Mapping[str, float]]
    test_set: str
    queries: int
    gallery: int

    def columns(self) -> dict[str, Mapping[str, float]]:
        """The figures by name of their column."""
        return {f"{model}{_PUBLISHED}": figures for model, figures in self.models.items()}


_PUBLISHED = ", published"
PUBLISHED_SOURCE = "Bianchi et al. 2021, arXiv:2108.08688"
PUBLISHED_RETRIEVAL = PublishedTable(
    {
        "CLIP-Italian": {"MRR@1": 0.3797, "MRR@5": 0.5039, "MRR@10": 0.5204},
        "mCLIP": {"MRR@1": 0.2874, "MRR@5": 0.3957, "MRR@10": 0.4129},
    },
    # The history of clip-italian's demo shows 8,486 captions; the pictures are those of the set's published file.
    "MSCOCO-IT's validation set, every caption a query",
    queries=8486,
    gallery=1696,
)
PUBLISHED_ZEROSHOT = PublishedTable(
    {
        "CLIP-Italian": {"accuracy@1": 0.2211, "accuracy@5": 0.4369, "accuracy@10": 0.5255, "accuracy@100": 0.8108},
        "mCLIP": {"accuracy@1": 0.2015, "accuracy@5": 0.3657, "accuracy@10": 0.4291, "accuracy@100": 0.6711},
    },
    "ImageNet-1k's validation pictures with labels translated by machine",
    queries=50_000,
    gallery=1000,
)


@dataclass(frozen=True)
class ComparedSet:
    """All models that were measured on one set: tables of figures and differences, most frequent mistakes, plots."""

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


def compare(read: Sequence[tuple[Path, Result]], resampling: Resampling) -> list[ComparedSet]:
    """One `ComparedSet` for each set of queries among the results, in order of appearance.

    Models of one set are compared with the first by paired bootstrap. Raises UserError for a duplicate file.
    """
    files = [file.resolve() for file, _ in read]
    if len(set(files)) < len(files):
        raise UserError("a result file is given twice; give each once")
    groups: dict[tuple, list[tuple[Path, Result]]] = {}
    for file, result in read:
        groups.setdefault(_query_set(result), []).append((file, result))
    return [_compared(_by_name(some), resampling) for some in groups.values()]


def write(compared: Sequence[ComparedSet], title: str, folder: Path) -> list[str]:
    """Write report.md, report.tex, report.html and the plots atomically into `folder`; return the files' names."""
    panels = [_panels(part) for part in compared]
    images = [f"plot-{number}.png" for number in range(1, len(compared) + 1)]
    texts = {"report.md": markdown(compared, title, images), "report.tex": latex(compared, title)}
    for name, text in texts.items():
        with staged(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    for image, some in zip(images, panels, strict=True):
        chart = charts.interval_chart(some)
        with staged(folder / image) as temporary:
            charts.write_png(chart, temporary)
        with staged((folder / image).with_suffix(".svg")) as temporary:
            temporary.write_text(charts.svg(chart, background="white"), encoding="utf-8")
    svgs = [[charts.svg(charts.interval_chart([panel])) for panel in some] for some in panels]
    write_page(
        folder / "report.html", "comparison.html", title=title, sets=list(zip(compared, svgs, strict=True)),
        parts=tables.cell_texts, heading=tables.heading,
    )  # fmt: skip
    return [*texts, *images, *(Path(image).with_suffix(".svg").name for image in images), "report.html"]


def markdown(compared: Sequence[ComparedSet], title: str, images: Sequence[str]) -> str:
    """The report as Markdown; `images` are the file names of the plots."""
    lines = [f"# {title}", ""]
    for part, image in zip(compared, images, strict=True):
        lines += [f"## {part.title}", ""]
        lines += [f"- {name}: {escape_markdown(value)}" for name, value in part.facts.items() if value]
        lines += [*(f"- {escape_markdown(note)}" for note in part.notes), ""]
        for table in part.tables:
            lines += tables.markdown(table)
        lines += [f"![Figures with their intervals]({image})", ""]
        for table in part.differences:
            lines += tables.markdown(table)
        for model, mistakes in part.confusions.items():
            lines += [f"Most frequent mistakes of {escape_markdown(model)}:", ""]
            lines += ["| class | taken for | pictures | share of the class |", "|---|---|---:|---:|"]
            for one in mistakes:
                names = f"{escape_markdown(one['class'])} | {escape_markdown(one['taken_for'])}"
                lines.append(f"| {names} | {one['count']} | {one['share']:.0%} |")
            lines.append("")
        lines += ["Models:", ""]
        for model, facts in part.models.items():
            known = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if value is not None)
            lines.append(f"- {escape_markdown(model)}: {escape_markdown(known)}")
        lines.append("")
    return "\n".join(lines)


def latex(compared: Sequence[ComparedSet], title: str) -> str:
    """The report's tables as LaTeX, for a paper that loads booktabs."""
    lines = [f"% {title}; needs \\usepackage{{booktabs}}"]
    for part in compared:
        lines += ["", f"% {part.title}: {part.facts['data']}, fingerprint {part.facts['fingerprint']}"]
        for table in (*part.tables, *part.differences):
            reference = any(column.endswith(_PUBLISHED) for column in table.columns)
            lines += tables.latex(table, part.notes[0] if reference else "")
    return "\n".join(lines) + "\n"


def _query_set(result: Result) -> tuple:
    """A key that is equal for results on the same queries."""
    counts = tuple(sorted((name, len(rank)) for name, rank in result.ranks.items()))
    left_out = len(result.data.get("left_out", []))
    galleries = str(result.values.get("galleries"))
    return result.kind, result.data.get("fingerprint"), result.values.get("captions"), counts, left_out, galleries


def _by_name(some: Sequence[tuple[Path, Result]]) -> dict[str, Result]:
    """Results by name; results of one name get the file's name beside it."""
    names = [result.name for _, result in some]
    wanted = [
        name if names.count(name) == 1 else f"{name} ({file.stem})" for name, (file, _) in zip(names, some, strict=True)
    ]
    numbered = [name if wanted.count(name) == 1 else f"{name} {place}" for place, name in enumerate(wanted, start=1)]
    return dict(zip(numbered, (result for _, result in some), strict=True))


def _compared(models: Mapping[str, Result], resampling: Resampling) -> ComparedSet:
    first = next(iter(models.values()))
    make = _retrieval if first.kind == results.RETRIEVAL else _zeroshot
    title, figures, differences, notes = make(models, resampling)
    facts = {
        "data": str(first.data.get("source", "")),
        "split": ", ".join(first.data.get("splits", [])),
        "fingerprint": str(first.data.get("fingerprint", "")),
        "ties": str(first.values.get("ties", "")),
        "intervals": _interval_facts(first.values.get("bootstrap", {})),
        "differences": f"paired by picture, {resampling.resamples:,} resamples, seed {resampling.seed}",
    }
    overlapping = [name for name, result in models.items() if result.values.get("overlap", {}).get("pictures")]
    unknown = [name for name, result in models.items() if not result.values.get("overlap", {}).get("checked")]
    if overlapping:
        notes.append(f"Trained on some of these pictures: {', '.join(overlapping)}.")
    if unknown:
        notes.append(f"No list of training pictures, which may include these: {', '.join(unknown)}.")
    mistakes = {
        name: result.values["confusions"][:_MAX_CONFUSIONS]
        for name, result in models.items()
        if "confusions" in result.values
    }
    described = {name: result.values.get("model", {}) | _versions(result) for name, result in models.items()}
    return ComparedSet(first.kind, title, facts, described, figures, differences, mistakes, tuple(notes))


def _retrieval(
    models: Mapping[str, Result], resampling: Resampling
) -> tuple[str, tuple[Table, ...], tuple[Table, ...], list[str]]:
    first = next(iter(models.values()))
    captions, pictures = len(first.ranks["text_to_image"]), len(first.ranks["image_to_text"])
    rule = "every caption is a query" if first.values.get("captions") == "all" else "equal captions are one query"
    to_image, to_text = (
        {name: result.values.get(direction, {}) for name, result in models.items()}
        for direction in ("text_to_image", "image_to_text")
    )
    galleries = first.values.get("galleries", {"text_to_image": [pictures], "image_to_text": [captions]})
    text_queries = f"{captions:,} captions as queries, {_sizes('pictures', galleries['text_to_image'])}"
    image_queries = f"{pictures:,} pictures as queries, {_sizes('captions', galleries['image_to_text'])}"
    shown = (
        figure_table(f"Text to image, MRR (the paper's Table 3): {text_queries}", to_image, MRR,
                     PUBLISHED_RETRIEVAL.columns()),
        figure_table(f"Text to image: {text_queries}", to_image, RECALL + RANKS),
        figure_table(f"Image to text: {image_queries}", to_text, MRR + RECALL + RANKS),
    )  # fmt: skip
    images_of: list[list[int]] = [[] for _ in range(captions)]
    for picture, mine in enumerate(first.captions_of):
        for caption in mine:
            images_of[caption].append(picture)
    owners = {"text_to_image": bootstrap.owners(images_of, pictures), "image_to_text": bootstrap.own(pictures)}
    differences = [
        _differences(models, direction, words, ranks.by_query, MRR + RECALL + RANKS, owners[direction], resampling)
        for direction, words in (("text_to_image", "Text to image"), ("image_to_text", "Image to text"))
    ]
    whole = first.values.get("captions") == "all" and len(galleries["text_to_image"]) == 1
    notes = [_published_note(PUBLISHED_RETRIEVAL, (captions, pictures) if whole else None)]
    return f"Retrieval, {rule}", shown, tuple(filter(None, differences)), notes


def _zeroshot(
    models: Mapping[str, Result], resampling: Resampling
) -> tuple[str, tuple[Table, ...], tuple[Table, ...], list[str]]:
    first = next(iter(models.values()))
    pictures, labels = len(first.ranks["zeroshot"]), int(first.values.get("labels", 0))
    caption = f"Zero-shot accuracy in % (the paper's Table 4): {pictures:,} pictures, {labels:,} labels"
    figures = {name: result.values for name, result in models.items()}
    shown = (figure_table(caption, figures, ACCURACY, PUBLISHED_ZEROSHOT.columns(), percent=True),)
    differences = _differences(
        models, "zeroshot", "Zero-shot", zeroshot.by_picture, ACCURACY, bootstrap.own(pictures), resampling, True
    )
    notes = [_published_note(PUBLISHED_ZEROSHOT, (pictures, labels))]
    prompts = {name: " + ".join(result.values.get("prompts", [])) for name, result in models.items()}
    for text in dict.fromkeys(prompts.values()):
        mine = [name for name, other in prompts.items() if other == text]
        short = text if len(text) <= _MAX_PROMPT else f"{text[: _MAX_PROMPT - 1]}…"
        notes.append(f"Prompts{'' if len(mine) == len(prompts) else ' of ' + ', '.join(mine)}: {short}")
    if len({str(result.values.get("names")) for result in models.values()}) > 1:
        notes.append("The models were given different labels for the same classes.")
    return "Zero-shot classification", shown, (differences,) if differences else (), notes


def _sizes(what: str, galleries: Sequence[int]) -> str:
    """Size of the gallery, or of the galleries of several folds."""
    if len(galleries) == 1:
        return f"{galleries[0]:,} {what} in the gallery"
    few, many = min(galleries), max(galleries)
    size = f"{few:,}" if few == many else f"{few:,} to {many:,}"
    return f"each in its fold's gallery of {size} {what} ({len(galleries)} folds)"


def _differences(
    models: Mapping[str, Result], direction: str, words: str,
    by_query: Callable[[np.ndarray], Mapping[str, np.ndarray]], names: Iterable[str],
    owners: Owners, resampling: Resampling, percent: bool = False,
) -> Table | None:  # fmt: skip
    """Differences of all models from the first; None for a single model."""
    base, *others = models
    if not others:
        return None
    first = models[base].rank(direction)
    paired = {
        name: bootstrap.paired(first, models[name].rank(direction), by_query, owners, resampling) for name in others
    }
    rows = []
    for figure in names:
        parts = [paired[name][figure] for name in others]
        cells = tuple(Cell(part["difference"], tuple(part["interval"]), p=part["p"]) for part in parts)
        rows.append((figure, cells))
    return Table(f"{words}: difference from {base}", tuple(others), tuple(rows), percent, signed=True)


def _differences_json(table: Table) -> dict[str, dict[str, Any]]:
    return {
        column: {
            name: {"difference": cell.value, "interval": list(cell.interval or ()), "p": cell.p}
            for name, cells in table.rows
            if (cell := cells[place]) is not None
        }
        for place, column in enumerate(table.columns)
    }


def _published_note(table: PublishedTable, counts: tuple[int, int] | None) -> str:
    """Where published figures come from; `counts` of queries and gallery here, None where they mean something else."""
    same = counts == (table.queries, table.gallery)
    where = "as many pictures and texts as here" if same else "other pictures than these: no direct comparison"
    return f"Published figures: {PUBLISHED_SOURCE}, on {table.test_set} ({where})."


def _interval_facts(facts: Mapping[str, Any]) -> str:
    if not facts:
        return ""
    return f"95 %, {facts['kind']} bootstrap by {facts['by']}, {facts['resamples']:,} resamples, seed {facts['seed']}"


def _versions(result: Result) -> dict[str, str]:
    versions = result.values.get("versions", {})
    return {"versions": ", ".join(f"{name} {number}" for name, number in versions.items())}


def _panels(part: ComparedSet) -> list[charts.Panel]:
    """The plots of a set: all shares of each direction in one panel."""
    if len(part.tables) == 1:
        return [_panel("Zero-shot", part.tables)]
    return [_panel("Text to image", part.tables[:2]), _panel("Image to text", part.tables[2:])]


def _panel(title: str, some: Sequence[Table]) -> charts.Panel:
    """The shares of some tables over the columns of the first, which the others may lack at their end."""
    columns, percent = some[0].columns, some[0].percent
    scale = 100 if percent else 1
    rows = [row for table in some for row in table.rows if row[0] not in RANKS]
    series = []
    for place, column in enumerate(columns):
        cells = [cells[place] if place < len(cells) else None for _, cells in rows]
        values = [None if cell is None else scale * cell.value for cell in cells]
        edges = [
            None if cell is None or cell.interval is None else (scale * cell.interval[0], scale * cell.interval[1])
            for cell in cells
        ]
        series.append(charts.Series(column, values, edges, hollow=column.endswith(_PUBLISHED)))
    names = [name.replace("accuracy", "Accuracy") for name, _ in rows]
    return charts.Panel(title, "%" if percent else "MRR, share of queries", names, series)
