"""Counts over pairs files and rejects files, read once in constant memory."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from clip_italian import pairs
from clip_italian.clean.language_id import Identifier
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import read_rejects
from clip_italian.pipeline.sampling import Sample

REJECTS_SUFFIX = ".rejects.jsonl"
# Sizes of the samples: captions to identify the language of, pictures to read the size of.
LANGUAGE_SAMPLE = 5_000
PICTURE_SAMPLE = 1_000
# Counts by name have at most so many names; others are counted together.
MAX_NAMES = 1_000
OTHER = "(other)"
NONE = "(none)"


@dataclass(frozen=True)
class Picture:
    """A picture on this machine, with one of its captions."""

    path: Path
    caption: str
    source: str


@dataclass
class Facts:
    """Counts over the files. `words` counts captions by number of words."""

    images: Counter[str] = field(default_factory=Counter)
    captions: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    translated: int = 0
    remote: int = 0
    local: int = 0
    rejects: dict[str, Counter[str]] = field(default_factory=dict)
    languages: Counter[str] = field(default_factory=Counter)
    pictures: list[Picture] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    unreadable: int = 0


def gather(
    files: Sequence[Path], rejects: Sequence[Path], seed: int, identify: Identifier, advance: Callable[[int], None]
) -> Facts:
    """Count over pairs files, and over the rejects files of the stages that wrote them.

    `advance` gets the number of rows with each batch. Raises UserError for a file that cannot be read.
    """
    facts = Facts()
    some_captions: Sample[str] = Sample(LANGUAGE_SAMPLE, seed)
    some_pictures: Sample[tuple[Path, Pair]] = Sample(PICTURE_SAMPLE, seed)
    for path in files:
        for batch in pairs.batches(path):
            for pair in pairs.from_batch(batch):
                _count(facts, pair)
                for number, caption in enumerate(pair.captions):
                    some_captions.add(f"{pair.source}\0{pair.id}\0{number}", caption)
                if not is_remote(pair):
                    some_pictures.add(f"{path.parent}\0{pair.image}", (path, pair))
            advance(len(batch))
    if not facts.words:
        raise UserError(f"{files[0]}: no captions in the pairs files; collect some pairs first")
    for path in rejects:
        facts.rejects.setdefault(path.name.removesuffix(REJECTS_SUFFIX), Counter()).update(_reasons(path))
    facts.languages = Counter(guess.language for guess in identify(list(some_captions)))
    _read_sizes(facts, some_pictures)
    return facts


def beside(files: Iterable[Path]) -> list[Path]:
    """The rejects files in the folders of the pairs files, by folder and name."""
    folders = dict.fromkeys(path.resolve().parent for path in files)
    return [path for folder in folders for path in sorted(folder.glob(f"*{REJECTS_SUFFIX}"))]


def is_remote(pair: Pair) -> bool:
    """True for a picture given by URL."""
    return "://" in pair.image


def quantile(counts: Counter[int], share: float) -> int:
    """The smallest value that at least a `share` (0..1) of the counted values do not exceed."""
    needed = share * counts.total()
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= needed:
            return value
    raise ValueError("nothing is counted")


def _count(facts: Facts, pair: Pair) -> None:
    source = _name(facts.images, pair.source)
    facts.images[source] += 1
    facts.captions[source] += len(pair.captions)
    facts.splits[_name(facts.splits, pair.split)] += 1
    facts.licenses[_name(facts.licenses, pair.license)] += 1
    facts.words.update(len(caption.split()) for caption in pair.captions)
    facts.translated += len(pair.captions) if pair.captions_original else 0
    facts.remote += is_remote(pair)
    facts.local += not is_remote(pair)


def _name(counts: Counter[str], name: str | None) -> str:
    name = name or NONE
    return name if name in counts or len(counts) < MAX_NAMES else OTHER


def _reasons(path: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    if not path.is_file():
        raise UserError(f"{path}: no such rejects file; give those that the stages wrote beside their outputs")
    try:
        for reject in read_rejects(path):
            counts[_name(counts, reject.reason)] += 1
    except (ValueError, TypeError) as error:
        place = f"{path}, line {counts.total() + 1}"
        raise UserError(f"{place}: not what a stage writes; mend it, or name the others with --rejects") from error
    return counts


def _read_sizes(facts: Facts, sample: Iterable[tuple[Path, Pair]]) -> None:
    for file, pair in sample:
        picture = Picture(pairs.image_path(pair, file), next(iter(pair.captions), ""), pair.source)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # only the header is read
                with Image.open(picture.path) as image:
                    facts.sizes.append(image.size)
            facts.pictures.append(picture)
        except Exception:  # decoders raise nearly anything on damaged files
            facts.unreadable += 1
