"""The card: what was gathered as Markdown that also reads well as plain text, with the figures beside it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.stats import contact_sheet, figures
from clip_italian.stats.gather import OTHER, Facts, quantile

CARD = "README.md"
# Table 1 of the CLIP-Italian paper (Bianchi et al. 2021): captions by source.
PAPER = {"wit": 525_950, "mscoco-it": 116_195, "conceptual-captions": 712_890, "ilpost": 29_055}
# Tables that may be long show so many rows and sum up the rest.
ROWS = 15
MARK = "<!-- Written by `clip-italian stats`; the next run writes it again. -->"


def write(facts: Facts, title: str, folder: Path) -> list[Path]:
    """Write the card and its figures into a folder; return the paths.

    Raises UserError where the folder holds a README.md that is not ours.
    """
    card = folder / CARD
    if card.exists() and MARK not in card.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{card}: written by somebody else; choose another folder (-o)")
    written = []
    with staged(folder / "sources.png") as path:
        figures.draw_sources([(name, facts.captions[name], PAPER.get(name)) for name in _sources(facts)], path)
    written.append(folder / "sources.png")
    with staged(folder / "lengths.png") as path:
        figures.draw_lengths(facts.words, path)
    written.append(folder / "lengths.png")
    if any(facts.rejects.values()):
        with staged(folder / "rejects.png") as path:
            figures.draw_rejects({stage: counts for stage, counts in facts.rejects.items() if counts}, path)
        written.append(folder / "rejects.png")
    if facts.sizes:
        with staged(folder / "sizes.png") as path:
            figures.draw_sizes(facts.sizes, path)
        written.append(folder / "sizes.png")
    with staged(folder / "samples.png") as path:
        shown = contact_sheet.draw(facts.pictures, path)
    written.append(folder / "samples.png")
    with staged(card) as path:
        path.write_text(markdown(facts, title, shown), encoding="utf-8")
    return [card, *written]


def markdown(facts: Facts, title: str, shown: int) -> str:
    """The card's text; `shown` is how many pictures the sheet of samples has."""
    parts = [
        MARK,
        f"# {_text(title)}",
        f"{facts.images.total():,} images with {facts.captions.total():,} captions"
        f" from {_plural(len(facts.images), 'source')}.",
        *_source_part(facts),
        *_reject_part(facts),
        *_length_part(facts),
        *_size_part(facts),
        "## Languages",
        f"By py3langid, {_drawn(facts.languages.total(), facts.captions.total(), 'captions')}."
        " Short captions are often taken for a related language.",
        _shares("language", "captions", facts.languages),
        "## Licences",
        "As the sources state them, by image.",
        _shares("licence", "images", facts.licenses),
        "## Splits",
        _shares("split", "images", facts.splits),
        "## Samples",
        f"![{_plural(shown, 'picture')} with captions](samples.png)",
    ]
    return "\n\n".join(parts) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """A Markdown table whose columns line up: the first `names` to the left, then numbers to the right."""
    cells = [[_cell(cell) for cell in row] for row in (header, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    columns = list(enumerate(widths))
    rule = ["-" * width if at < names else "-" * (width - 1) + ":" for at, width in columns]
    lines = [[row[at].ljust(width) if at < names else row[at].rjust(width) for at, width in columns] for row in cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def _source_part(facts: Facts) -> list[str]:
    rows = [
        (
            name,
            f"{facts.images[name]:,}",
            f"{facts.captions[name]:,}",
            f"{PAPER[name]:,}" if name in PAPER else "–",
            f"{facts.captions[name] / facts.images[name]:.2f}" if facts.images[name] else "–",
        )
        for name in _sources(facts)
    ]
    sums = (f"{facts.images.total():,}", f"{facts.captions.total():,}", f"{sum(PAPER.values()):,}")
    rows.append(("all", *sums, f"{facts.captions.total() / facts.images.total():.2f}"))
    parts = [
        "## Captions and images by source",
        "Beside them the captions of the CLIP-Italian paper's Table 1.",
        table(("source", "images", "captions", "the paper's captions", "captions an image"), rows),
    ]
    if facts.translated:
        parts.append(f"{_of(facts.translated, facts.captions.total(), 'captions')} are translations.")
    return [*parts, "![Captions by source, here and in the paper](sources.png)"]


def _reject_part(facts: Facts) -> list[str]:
    heading = "## Rejects"
    if not facts.rejects:
        return [heading, "No rejects files lie beside the pairs files, and none were named."]
    total = sum(counts.total() for counts in facts.rejects.values())
    if not total:
        return [heading, f"None: the rejects files ({', '.join(map(_text, facts.rejects))}) are empty."]
    rows = [
        (stage, reason, f"{count:,}", f"{count / counts.total():.1%}")
        for stage, counts in facts.rejects.items()
        for reason, count in counts.most_common()
    ]
    return [
        heading,
        f"{total:,} rows, by the stage that left them out (the name of its rejects file) and its reason.",
        table(("stage", "reason", "rows", "of the stage's"), rows, names=2),
        "![Rejected rows by reason and stage](rejects.png)",
    ]


def _length_part(facts: Facts) -> list[str]:
    shares = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    names = ("shortest", "5 %", "25 %", "median", "75 %", "95 %", "longest")
    mean = sum(number * count for number, count in facts.words.items()) / facts.words.total()
    return [
        "## Caption lengths",
        f"In words, divided at spaces; {mean:.1f} on average.",
        table(("share of captions", *names), [("words at most", *(f"{quantile(facts.words, s):,}" for s in shares))]),
        "![Captions by number of words](lengths.png)",
    ]


def _size_part(facts: Facts) -> list[str]:
    parts = ["## Image sizes"]
    if facts.remote:
        parts.append(f"{_of(facts.remote, facts.images.total(), 'images')} are URLs, not fetched: sizes unknown.")
    if facts.unreadable:
        drawn = facts.unreadable + len(facts.sizes)
        parts.append(f"{_of(facts.unreadable, drawn, 'pictures drawn by chance')} are missing or damaged.")
    if not facts.sizes:
        return parts
    rows = []
    for name, values in (
        ("width", [width for width, _ in facts.sizes]),
        ("height", [height for _, height in facts.sizes]),
        ("shorter side", [min(size) for size in facts.sizes]),
    ):
        counts = Counter(values)
        rows.append((name, *(f"{quantile(counts, share):,}" for share in (0.0, 0.25, 0.5, 0.75, 1.0))))
    return [
        *parts,
        f"In pixels, {_drawn(len(facts.sizes), facts.local, 'pictures on this machine')}.",
        table(("", "least", "25 %", "median", "75 %", "most"), rows),
        "![Width and height of pictures](sizes.png)",
    ]


def _sources(facts: Facts) -> list[str]:
    """The paper's sources in its order, then the others, the largest first."""
    return [*PAPER, *(name for name, _ in facts.captions.most_common() if name not in PAPER)]


def _shares(name: str, unit: str, counts: Counter[str]) -> str:
    frequent = counts.most_common(ROWS)
    rest = counts.total() - sum(count for _, count in frequent)
    rows = [*frequent, *([(OTHER, rest)] if rest else [])]
    return table((name, unit, "share"), [(key, f"{count:,}", f"{count / counts.total():.1%}") for key, count in rows])


def _of(part: int, whole: int, what: str) -> str:
    return f"{part:,} of {whole:,} {what} ({part / whole:.1%})"


def _drawn(some: int, whole: int, what: str) -> str:
    return f"of all {whole:,} {what}" if some == whole else f"of {some:,} {what} drawn by chance"


def _plural(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _text(text: str) -> str:
    """One line without what Markdown would take for HTML."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
