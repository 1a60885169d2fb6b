"""The card of a data set: Markdown that also reads well as plain text, with charts and sample pictures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from clip_italian import charts
from clip_italian.charts import Chart
from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.stats import contact_sheet
from clip_italian.stats.gather import OTHER, Facts, quantile
from clip_italian.tables import aligned_markdown, one_line

CARD = "README.md"
# Table 1 of the CLIP-Italian paper (Bianchi et al. 2021): captions by source.
PAPER = {"wit": 525_950, "mscoco-it": 116_195, "conceptual-captions": 712_890, "ilpost": 29_055}
MAX_ROWS = 15  # of tables that may be long; the other rows are summed up
MAX_BARS = 20  # of charts that may be long
MARK = "<!-- Written by `clip-italian stats`; the next run writes it again. -->"


def write(facts: Facts, title: str, folder: Path) -> list[Path]:
    """Write the card and its charts into a folder; return the paths.

    Raises UserError for a README.md that this command did not write.
    """
    card = folder / CARD
    if card.exists() and MARK not in card.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{card}: written by somebody else; choose another folder (-o)")
    sources = [(name, facts.captions[name], PAPER.get(name)) for name in _sources(facts)]
    rejects = {stage: counts for stage, counts in facts.rejects.items() if counts}
    drawn = {
        "sources.png": sources_chart(sources),
        "lengths.png": lengths_chart(facts.words),
        "rejects.png": rejects_chart(rejects) if rejects else None,
        "sizes.png": sizes_chart(facts.sizes) if facts.sizes else None,
    }
    written = [card]
    for name, chart in drawn.items():
        if chart is not None:
            with staged(folder / name) as path:
                charts.write_png(chart, path)
            written.append(folder / name)
    with staged(folder / "samples.png") as path:
        shown = contact_sheet.draw(facts.pictures, path)
    with staged(card) as path:
        path.write_text(markdown(facts, title, shown), encoding="utf-8")
    return [*written, folder / "samples.png"]


def sources_chart(rows: Sequence[tuple[str, int, int | None]]) -> Chart:
    """Captions by source beside those of the paper: (name, here, in the paper or None)."""
    return charts.paired_bars(rows, ("here", "CLIP-Italian paper, Table 1"), "captions")


def rejects_chart(rejects: Mapping[str, Counter[str]]) -> Chart:
    """The most frequent reasons for rejects, stacked by stage."""
    totals = sum(rejects.values(), Counter[str]())
    reasons = [reason for reason, _ in totals.most_common(MAX_BARS)]
    parts = [(stage, [counts[reason] for reason in reasons]) for stage, counts in rejects.items()]
    return charts.stacked_bars(reasons, parts, "rejected rows")


def lengths_chart(words: Counter[int]) -> Chart:
    """Captions by number of words; the last bar has all beyond the 99.5th percentile."""
    last = max(quantile(words, 0.995), 10)
    heights = [words[number] for number in range(last)]
    heights.append(sum(count for number, count in words.items() if number >= last))
    beyond = any(number > last for number in words)
    xlabel = f"words{f' (last bar: {last} or more)' if beyond else ''}"
    return charts.histogram(heights, quantile(words, 0.5), xlabel, "captions")


def sizes_chart(sizes: Sequence[tuple[int, int]]) -> Chart:
    """Height against width of pictures; frequent sizes have larger points."""
    counts = Counter(sizes)
    areas = [14 + 500 * count / len(sizes) for count in counts.values()]
    return charts.scatter(list(counts), areas, "width (pixels)", "height (pixels)")


def markdown(facts: Facts, title: str, shown: int) -> str:
    """The card's text; `shown` is the number of sample pictures."""
    parts = [
        MARK,
        f"# {one_line(title)}",
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
        aligned_markdown(("source", "images", "captions", "the paper's captions", "captions an image"), rows),
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
        return [heading, f"None: the rejects files ({', '.join(map(one_line, facts.rejects))}) are empty."]
    rows = [
        (stage, reason, f"{count:,}", f"{count / counts.total():.1%}")
        for stage, counts in facts.rejects.items()
        for reason, count in counts.most_common()
    ]
    return [
        heading,
        f"{total:,} rows, by the stage that left them out (the name of its rejects file) and its reason.",
        aligned_markdown(("stage", "reason", "rows", "of the stage's"), rows, names=2),
        "![Rejected rows by reason and stage](rejects.png)",
    ]


def _length_part(facts: Facts) -> list[str]:
    shares = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    names = ("shortest", "5 %", "25 %", "median", "75 %", "95 %", "longest")
    mean = sum(number * count for number, count in facts.words.items()) / facts.words.total()
    return [
        "## Caption lengths",
        f"In words, divided at spaces; {mean:.1f} on average.",
        aligned_markdown(
            ("share of captions", *names), [("words at most", *(f"{quantile(facts.words, s):,}" for s in shares))]
        ),
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
        aligned_markdown(("", "least", "25 %", "median", "75 %", "most"), rows),
        "![Width and height of pictures](sizes.png)",
    ]


def _sources(facts: Facts) -> list[str]:
    """The paper's sources in its order, then the others by number of captions."""
    return [*PAPER, *(name for name, _ in facts.captions.most_common() if name not in PAPER)]


def _shares(name: str, unit: str, counts: Counter[str]) -> str:
    frequent = counts.most_common(MAX_ROWS)
    rest = counts.total() - sum(count for _, count in frequent)
    rows = [*frequent, *([(OTHER, rest)] if rest else [])]
    return aligned_markdown(
        (name, unit, "share"), [(key, f"{count:,}", f"{count / counts.total():.1%}") for key, count in rows]
    )


def _of(part: int, whole: int, what: str) -> str:
    return f"{part:,} of {whole:,} {what} ({part / whole:.1%})"


def _drawn(some: int, whole: int, what: str) -> str:
    return f"of all {whole:,} {what}" if some == whole else f"of {some:,} {what} drawn by chance"


def _plural(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
