"""How fast cleaning is, filter by filter and as a whole, and how much memory it takes at growing sizes.

    python benchmarks/clean_speed.py ../shared/mscoco-it/captions_ita_devset_unvalidated.json.gz \
        ../shared/flickr8k-it/captions.jsonl --sizes 100000 1400000 5000000

The input is made from the real captions in the files (MSCOCO-IT's JSON or pairs files), each with one word
exchanged for one of another caption, so that most differ; 5 % are in English, names only, or copies.
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
from clip_italian.clean.language_id import identifier
from clip_italian.clean.names import tagger
from clip_italian.pairs import Pair

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


def synthetic(real: Sequence[str], count: int, with_looks: bool = False) -> Iterator[Pair]:
    """`count` pairs of one caption, perhaps with picture hashes drawn by chance; the same for the same arguments."""
    draw = random.Random(1)
    for number in range(count):
        words = draw.choice(real).split()
        words[draw.randrange(len(words))] = draw.choice(draw.choice(real).split())
        caption = " ".join(words)
        if draw.random() < 0.05:
            caption = draw.choice((draw.choice(ENGLISH), draw.choice(NAMES), draw.choice(real)))
        look = f"{draw.getrandbits(64):016x}-{draw.getrandbits(48):012x}" if with_looks else None
        yield Pair(f"{number:08}", f"http://pictures.example/{number}.jpg", (caption,), "synthetic", phash=look)


def per_second(work: Callable[[Sequence[str]], object], texts: Sequence[str], runs: int = 5) -> float:
    """Captions a second in one process: the median of some runs after one that loads what is needed."""
    work(texts[:100])
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work(texts)
        times.append(time.perf_counter() - start)
    return len(texts) / statistics.median(times)


def filters(texts: list[str], pipeline: str | None) -> None:
    """A table of captions a second of every filter by itself."""
    italian = languages.get("it")
    work: dict[str, tuple[Callable[[Sequence[str]], object], int]] = {
        "normalise": (lambda some: [checks.normalise(text) for text in some], len(texts)),
        "length, letters": (lambda some: [(checks.length(2, 80)(t), checks.letters(0.5)(t)) for t in some], len(texts)),
        "URL, file name, markup": (
            lambda some: [(checks.no_url(t), checks.no_file_name(t), checks.no_markup(t)) for t in some],
            len(texts),
        ),
        "names, lexicon": (tagger("lexicon", italian), len(texts)),
        "language, py3langid": (identifier("py3langid"), len(texts)),
        "language, langdetect": (identifier("langdetect"), 1_000),
    }
    if pipeline:
        work["names, spaCy"] = (tagger("spacy", italian, pipeline), 5_000)
    print("| filter | captions/s, one process |\n|---|---:|")
    for name, (judge, size) in work.items():
        print(f"| {name} | {per_second(judge, texts[:size]):,.0f} |", flush=True)


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
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--split-sizes", type=int, nargs="*", default=[100_000])
    parser.add_argument("--spacy", help="spaCy pipeline to measure too")
    options = parser.parse_args()
    real = real_captions(options.files)
    filters([pair.captions[0] for pair in synthetic(real, 50_000)], options.spacy)
    print("\n| command | pairs | time | pairs/s | peak memory |\n|---|---:|---:|---:|---:|")
    program = str(Path(sys.executable).with_name("clip-italian"))
    with tempfile.TemporaryDirectory() as room:
        source = Path(room) / "in.parquet"
        files = [str(source), "-o", f"{room}/out.parquet", "--workers", "2"]
        for name, more, sizes in (
            ("clean", ["names.backend=lexicon"], options.sizes),
            ("split", [], options.split_sizes),
        ):
            for size in sizes:
                pairs.write(synthetic(real, size, with_looks=name == "split"), source)
                seconds, memory = measured([program, name, *files, *more])
                print(f"| {name} | {size:,} | {seconds:.0f} s | {size / seconds:,.0f} | {memory:,.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
