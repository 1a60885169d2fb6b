"""How fast cleaning is, filter by filter and as a whole, and how much memory the stages take at growing sizes.

    python benchmarks/clean_speed.py ../shared/mscoco-it/captions_ita_devset_unvalidated.json.gz \
        ../shared/flickr8k-it/captions.jsonl --sizes 100000 1400000 5000000 --other-sizes 100000 5000000

The input is made from the real captions in the files (MSCOCO-IT's JSON or pairs files), each with one word
exchanged for one of another caption, so that most differ; 5 % are in English, names only, or copies. Each pair has a
picture hash drawn by chance. What is collected is the same as one of WIT's TSV files.
Prints Markdown. Memory is the proportional set size of the command and all its processes together, read
ten times a second: a page that two processes share counts once.
"""

import argparse
import gzip
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from clip_italian import languages, pairs
from clip_italian.clean import captions as checks
from clip_italian.clean.duplicates import verdicts
from clip_italian.clean.language_id import foreign, identifier
from clip_italian.clean.names import tagger
from clip_italian.clean.pictures import PictureLimits, check
from clip_italian.clean.recipe import Duplicates
from clip_italian.pairs import Pair
from clip_italian.pictures import near
from clip_italian.sources import wit

ENGLISH = ("a dog runs on the beach", "two people look at the sea", "the old bridge in the morning light")
NAMES = ("Anna Maria Mozzoni", "Kim Rhodes", "Dora Riparia", "Ralph George Hawtrey")


def real_captions(files: Sequence[Path]) -> list[str]:
    """All captions of MSCOCO-IT files and pairs files."""
    found: list[str] = []
    for path in files:
        if path.name.endswith(".json.gz"):
            with gzip.open(path, "rt", encoding="utf-8") as file:
                found += [annotation["caption"] for annotation in json.load(file)["annotations"]]
        else:
            found += [caption for pair in pairs.read(path) for caption in pair.captions]
    return found


def synthetic(real: Sequence[str], count: int) -> Iterator[Pair]:
    """`count` pairs of one caption, with picture hashes drawn by chance; the same for the same arguments."""
    draw = random.Random(1)
    for number in range(count):
        words = draw.choice(real).split()
        words[draw.randrange(len(words))] = draw.choice(draw.choice(real).split())
        caption = " ".join(words)
        if draw.random() < 0.05:
            caption = draw.choice((draw.choice(ENGLISH), draw.choice(NAMES), draw.choice(real)))
        url = f"http://pictures.example/{number}.jpg"
        yield Pair(f"{number:08}", url, (caption,), "synthetic", phash=look_by_chance(draw))


def write_wit(some: Iterator[Pair], file: Path) -> None:
    """The same pairs as WIT has them, Italian."""
    with file.open("w", encoding="utf-8") as lines:
        for pair in some:
            known = {
                "language": "it", "page_url": f"http://pages.example/{pair.id}", "image_url": pair.image,
                "caption_reference_description": pair.captions[0], "mime_type": "image/jpeg",
            }  # fmt: skip
            lines.write("\t".join(known.get(name, "") for name in wit.COLUMNS) + "\n")


def per_second(work: Callable[[Sequence[str]], object], texts: Sequence[str], runs: int = 5) -> float:
    """Captions a second in one process: the median of some runs after one that loads what is needed."""
    work(texts[:100])
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work(texts)
        times.append(time.perf_counter() - start)
    return len(texts) / statistics.median(times)


def filters(texts: list[str], pictures: Sequence[Path], pipeline: str | None, room: Path) -> None:
    """A table of captions (or pictures) a second of every filter by itself."""
    italian = languages.get("it")
    letters, length = checks.letters(0.5), checks.length(2, 80)
    work: dict[str, tuple[Callable[[Sequence[str]], object], int]] = {
        "normalise": (lambda some: [checks.normalise(text) for text in some], len(texts)),
        "length": (lambda some: [length(text) for text in some], len(texts)),
        "letters": (lambda some: [letters(text) for text in some], len(texts)),
        "wrong encoding": (lambda some: [checks.no_damage(text) for text in some], len(texts)),
        "URL": (lambda some: [checks.no_url(text) for text in some], len(texts)),
        "file name": (lambda some: [checks.no_file_name(text) for text in some], len(texts)),
        "markup": (lambda some: [checks.no_markup(text) for text in some], len(texts)),
        "duplicates and boilerplate": (duplicates(texts, italian.function_words, room), len(texts)),
        "names, lexicon": (tagger("lexicon", italian), len(texts)),
        "language, py3langid and words": (lambda some: foreign(some, italian), len(texts)),
        "language, langdetect": (identifier("langdetect"), 1_000),
    }
    if pipeline:
        work["names, spaCy"] = (tagger("spacy", italian, pipeline), 5_000)
    print("| filter | captions/s, one process |\n|---|---:|")
    for name, (judge, size) in work.items():
        print(f"| {name} | {per_second(judge, texts[:size]):,.0f} |", flush=True)
    limits = PictureLimits()
    if pictures:
        speed = per_second(lambda some: [check(path, limits) for path in some], pictures)
        print(f"| pictures/s: reading, size, colour, hash ({len(pictures):,} photos) | {speed:,.0f} |", flush=True)
    draw = random.Random(2)
    looks = [look_by_chance(draw) for _ in range(200_000)]
    speed = per_second(lambda some: sum(1 for _ in near.near_pairs(some, 2)), looks)
    print(f"| pictures/s: near-duplicates among {len(looks):,} | {speed:,.0f} |", flush=True)


def duplicates(texts: Sequence[str], function_words: frozenset[str], room: Path) -> Callable[[object], object]:
    """The search for captions that occur again, over all the texts whatever it is given."""
    file = room / "captions.parquet"
    pairs.write((Pair(str(row), "http://h/", (text,), "s") for row, text in enumerate(texts)), file)
    return lambda _: sum(1 for _ in verdicts(file, Duplicates(), function_words, room))


def local_pictures(files: Sequence[Path]) -> list[Path]:
    """The pictures of pairs files that lie on this machine."""
    own = [path for path in files if not path.name.endswith(".json.gz")]
    found = [path.parent / pair.image for path in own for pair in pairs.read(path) if "://" not in pair.image]
    return [path for path in found if path.is_file()]


def look_by_chance(draw: random.Random) -> str:
    """A picture hash."""
    return f"{draw.getrandbits(64):016x}-{draw.getrandbits(48):012x}"


def measured(command: Sequence[str]) -> tuple[float, float]:
    """Seconds and peak memory (MB, of the process and its descendants) of a command."""
    start = time.perf_counter()
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(proportional_size, family(process.pid))))
            time.sleep(0.1)
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, peak / 1024


def family(process: int) -> list[int]:
    """A process and its descendants (Linux)."""
    found = [process]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:
                continue  # ended meanwhile
    return found


def proportional_size(process: int) -> int:
    """Its memory in kB, shared pages divided among those that share them; 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000, 1_000_000], help="pairs to clean")
    parser.add_argument("--other-sizes", type=int, nargs="*", default=[100_000], help="to collect, split, count")
    parser.add_argument("--no-filters", action="store_true", help="leave the table of single filters out")
    parser.add_argument("--spacy", help="spaCy pipeline to measure too")
    options = parser.parse_args()
    real = real_captions(options.files)
    with tempfile.TemporaryDirectory() as room:
        if not options.no_filters:
            texts = [pair.captions[0] for pair in synthetic(real, 50_000)]
            filters(texts, local_pictures(options.files), options.spacy, Path(room))
    print("\n| command | pairs | time | pairs/s | peak memory |\n|---|---:|---:|---:|---:|")
    program = str(Path(sys.executable).with_name("clip-italian"))
    with tempfile.TemporaryDirectory() as room:
        source, tsv, workers = f"{room}/in.parquet", f"{room}/in.tsv", ["--workers", "2"]
        commands = {
            "collect wit": ["collect", "wit", tsv, "-o", f"{room}/collected.parquet", *workers],
            "clean": ["clean", source, "-o", f"{room}/clean.parquet", *workers, "names.backend=lexicon"],
            "split": ["split", source, "-o", f"{room}/split.parquet", *workers],
            "stats": ["stats", source, "-o", f"{room}/card"],
        }
        for size in sorted({*options.sizes, *options.other_sizes}):
            pairs.write(synthetic(real, size), Path(source))
            write_wit(synthetic(real, size), Path(tsv))
            for name, command in commands.items():
                if size in (options.sizes if name == "clean" else options.other_sizes):
                    seconds, memory = measured([program, *command])
                    speed = f"{size:,} | {seconds:.0f} s | {size / seconds:,.0f} | {memory:,.0f} MB"
                    print(f"| {name} | {speed} |", flush=True)


if __name__ == "__main__":
    main()
