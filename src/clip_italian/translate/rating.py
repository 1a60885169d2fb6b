"""Rating of translations by people: draw a sample, write a file for each rater, and score the filled files.

The scale is the CLIP-Italian paper's, from 1 (the meaning is lost) to 4 (perfect).
"""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.pipeline.sampling import Sample
from clip_italian.translate.agreement import Agreement, Weighting, count, gwet
from clip_italian.translate.sheet import COLUMNS, Row, guarded, read

SCALE = {
    1: "The meaning is lost: the translation says something else, or nothing.",
    2: "Partly right: some of the meaning is there, but something important is wrong or missing.",
    3: "Right but not perfect: the meaning is there; a word, the grammar or the style could be better.",
    4: "Perfect: the same meaning, in words that a native speaker would choose.",
}
EXPLANATION = "rating-scale.txt"


@dataclass(frozen=True)
class Item:
    """A translation to rate; `id` is the pair's id, a colon and the number of the caption."""

    id: str
    original: str
    translation: str


@dataclass(frozen=True)
class Ratings:
    """Number of ratings by grade, their mean (None if there are none), and the number of missing ones."""

    distribution: dict[int, int]
    mean: float | None
    missing: int


@dataclass(frozen=True)
class Score:
    """Ratings of each rater and of all together, and their agreement (empty if no item has two ratings)."""

    items: int
    raters: dict[str, Ratings]
    together: Ratings
    agreement: dict[Weighting, Agreement]


def draw(path: Path, size: int, seed: int) -> list[Item]:
    """At most `size` different translations of a pairs file, in an order that the seed decides.

    Raises UserError if none of its captions is translated.
    """
    sample: Sample[Item] = Sample(size, seed)
    for batch in pairs.batches(path):
        for pair in pairs.from_batch(batch):
            originals = pair.captions_original or ()
            if len(originals) != len(pair.captions):
                continue
            for number, (original, translation) in enumerate(zip(originals, pair.captions, strict=True), start=1):
                if original and translation:
                    sample.add(f"{original}\0{translation}", Item(f"{pair.id}:{number}", original, translation))
    if not len(sample):
        raise UserError(f"{path}: no translated captions in it (captions_original); run `clip-italian translate` first")
    return list(sample)


def write_sheets(drawn: Sequence[Item], raters: Sequence[str], folder: Path, delimiter: str) -> list[Path]:
    """Write a CSV file for each rater, all with the same rows, and a file that explains the scale.

    Raises UserError and writes nothing if one of the files exists and has ratings.
    """
    paths = [folder / f"{rater}.csv" for rater in raters]
    for path in paths:
        if path.exists() and any(row.rating is not None for row in read(path, SCALE)):
            raise UserError(f"{path}: holds ratings; move it away or choose another folder")
    for path in paths:
        with staged(path) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerow(COLUMNS)
            for number, item in enumerate(drawn, start=1):
                texts = (item.id, item.original, item.translation)
                writer.writerow([number, *(guarded(" ".join(text.split())) for text in texts), ""])
    with staged(folder / EXPLANATION) as temporary:
        temporary.write_text(explanation(len(drawn)), encoding="utf-8")
    return paths


def explanation(items: int) -> str:
    """Instructions for the raters."""
    grades = "".join(f"  {grade}  {meaning}\n" for grade, meaning in SCALE.items())
    return (
        f"Rate {items} translations\n\n"
        "Open the file with your name in a spreadsheet program. Each row has an original caption and its\n"
        "translation. Write a number from 1 to 4 into the column “rating”:\n\n"
        f"{grades}\n"
        "Rate the translation only, not the original and not how well it would fit a picture. Do not talk about\n"
        "ratings with the other raters before all are done. Leave the rating empty where you cannot tell. Do not\n"
        "change the other columns. Save the file as CSV, in the same place and under the same name.\n"
    )


def score(paths: Sequence[Path]) -> Score:
    """Ratings and agreement of the raters' files.

    Raises UserError with file and line if a rating is not on the scale, if the files have different samples, or if
    there is no rating at all.
    """
    sheets = dict(zip(_names(paths), (list(read(path, SCALE)) for path in paths), strict=True))
    numbers = sorted({row.number for row in _consistent(paths, sheets)})
    table = {name: {row.number: row.rating for row in rows} for name, rows in sheets.items()}
    by_rater = {name: [ratings.get(number) for number in numbers] for name, ratings in table.items()}
    together = _ratings([rating for ratings in by_rater.values() for rating in ratings])
    if together.mean is None:
        raise UserError(f"{paths[0]}: no ratings in it yet; fill the column “rating” with numbers from 1 to 4")
    by_item = list(zip(*by_rater.values(), strict=True))
    shared = any(sum(rating is not None for rating in item) > 1 for item in by_item)
    counts = count(by_item, list(SCALE))
    agreement = {weighting: gwet(counts, weighting) for weighting in Weighting} if shared else {}
    return Score(len(numbers), {name: _ratings(ratings) for name, ratings in by_rater.items()}, together, agreement)


def _ratings(ratings: Sequence[int | None]) -> Ratings:
    counts = Counter(ratings)
    distribution = {grade: counts[grade] for grade in SCALE}
    rated = sum(distribution.values())
    mean = sum(grade * number for grade, number in distribution.items()) / rated if rated else None
    return Ratings(distribution, mean, counts[None])


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of the raters: file names, or paths if names repeat. Raises UserError for a file given twice."""
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise UserError(f"{path}: given twice; give each rater's file once")
        seen.add(path.resolve())
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def _consistent(paths: Sequence[Path], sheets: dict[str, list[Row]]) -> Iterator[Row]:
    """All rows; raises UserError if rows with one number differ between files.

    One equal column is enough, as a spreadsheet may rewrite an id ("00012" to 12) or lose letters in an old encoding.
    """
    first: dict[int, tuple[Path, Row]] = {}
    for path, rows in zip(paths, sheets.values(), strict=True):
        for row in rows:
            before, known = first.setdefault(row.number, (path, row))
            if not row.same_as(known):
                raise UserError(
                    f"{path}, line {row.line}: number {row.number} has another text than in {before}, "
                    f"line {known.line}; give files of one sample"
                )
            yield row
