"""Whole commands as people type them: time and memory, from the start of the process to its end.

    python benchmarks/instant.py PHOTOS                    # a folder of some hundred photos
    python benchmarks/instant.py PHOTOS --rows help search # some rows only

Each figure is of a new process, the best of three where that is said, with the page cache warm. `large` writes
12-megapixel JPEGs, as phones make them, from the photos; `many` is a folder of 100,000 files, indexed before with
random embeddings. `first` begins with an empty cache but for the downloaded wheels. Prints Markdown.
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

PROGRAM = Path(sys.executable).with_name("clip-italian")
QUERY = "un cane che corre sulla neve"


class Run(NamedTuple):
    """Seconds and peak memory in MB of a process."""

    seconds: float
    megabytes: float


def run(*command: object, environment: dict[str, str] | None = None) -> Run:
    """Run a command to its end; raises CalledProcessError where it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=os.environ | (environment or {}),
    )  # fmt: skip
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(map(str, command)), stderr=said)
    return Run(seconds, usage.ru_maxrss / 1000)


def best(times: int, make: Callable[[], Run]) -> Run:
    """The fastest of some runs."""
    return min(make() for _ in range(times))


def write_large(photos: Sequence[Path], folder: Path, count: int) -> None:
    """Write 4,000 x 3,000 JPEGs with some noise, so that they are as large as a phone's: 3 to 5 MB."""
    draw = np.random.default_rng(0)
    for number in range(count):
        image = Image.open(photos[number % len(photos)]).convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
        noise = draw.integers(-6, 7, (3000, 4000, 1), dtype=np.int16)
        pixels = np.clip(np.asarray(image, np.int16) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"IMG_{number:04d}.jpg", quality=90)


def write_many(photo: Path, folder: Path, count: int) -> None:
    """Write a folder of `count` files, links to one photo, and an index of it with random embeddings."""
    from clip_italian.models.load import load
    from clip_italian.search import update

    pictures = folder / "pictures"
    for number in range(count):
        place = pictures / f"{number // 1000:03d}"
        if number % 1000 == 0:
            place.mkdir(parents=True)
            shutil.copy(photo, place / "0.jpg")
        else:
            os.link(place / "0.jpg", place / f"{number}.jpg")
    paths = sorted(pictures.rglob("*.jpg"))
    model = load("mini")
    vectors = np.random.default_rng(0).normal(size=(count, model.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [path.relative_to(pictures).as_posix() for path in paths]
    update.write(folder / "idx", pictures, paths, vectors, update.Model(model, "mini"), ids)
    run(PROGRAM, "index", "build", pictures, "-o", folder / "idx", "--model", "mini")  # rows as a build writes them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    rows = ("help", "search", "find", "unchanged", "build", "large", "many", "first")
    parser.add_argument("--rows", nargs="+", choices=rows, default=list(rows))
    parser.add_argument("--large", type=int, default=60, help="number of 12-megapixel pictures")
    parser.add_argument("--many", type=int, default=100_000, help="number of files in the large folder")
    options = parser.parse_args()
    photos = sorted(path for path in options.photos.iterdir() if path.suffix == ".jpg")
    print(f"{len(photos)} photos; {os.cpu_count()} threads, Python {sys.version.split()[0]}\n")
    print("| command | time | peak memory | |")
    print("|---|---:|---:|---|")

    def row(name: str, done: Run, note: str = "") -> None:
        print(f"| {name} | {done.seconds:.2f} s | {done.megabytes:,.0f} MB | {note} |", flush=True)

    with tempfile.TemporaryDirectory() as directory:
        room = Path(directory)
        index, build = room / "idx", ("index", "build", options.photos, "-o", room / "idx", "--model", "mini")
        if "help" in options.rows:
            row("`--help`", best(3, lambda: run(PROGRAM, "--help")), "best of 3")
        start = run(PROGRAM, "index", "build", _one(photos, room), "-o", room / "one", "--model", "mini")
        if {"build", "search", "unchanged"} & set(options.rows):
            done = run(PROGRAM, *build)
            rate = (len(photos) - 1) / (done.seconds - start.seconds)
            row("first `index build`", done, f"{rate:.0f} pictures/s beside {start.seconds:.2f} s of start")
        if "unchanged" in options.rows:
            row("unchanged `index build`", best(3, lambda: run(PROGRAM, *build)), "best of 3")
        if "search" in options.rows:
            row("`search`", best(3, lambda: run(PROGRAM, "search", index, QUERY)), "best of 3")
        if "find" in options.rows:
            run(PROGRAM, "find", QUERY, options.photos)
            row("`find`, nothing new", best(3, lambda: run(PROGRAM, "find", QUERY, options.photos)), "best of 3")
        if "large" in options.rows:
            (room / "large").mkdir()
            write_large(photos, room / "large", options.large)
            size = sum(path.stat().st_size for path in (room / "large").iterdir()) / options.large / 1e6
            done = run(PROGRAM, "index", "build", room / "large", "-o", room / "large.idx", "--model", "mini")
            rate = options.large / (done.seconds - start.seconds)
            began = time.perf_counter()
            for path in (room / "large").iterdir():
                with Image.open(path) as image:
                    image.draft("RGB", (520, 520))
                    image.load()
            alone = options.large / (time.perf_counter() - began)
            note = f"{rate:.1f} pictures/s; Pillow alone, reduced, one thread: {alone:.1f} ({size:.1f} MB each)"
            row(f"first `index build`, {options.large} of 12 megapixels", done, note)
        if "many" in options.rows:
            # In a process of its own: what this one holds would count as memory of the commands that it starts.
            writer = multiprocessing.Process(target=write_many, args=(photos[0], room / "many", options.many))
            writer.start()
            writer.join()
            again = ("index", "build", room / "many" / "pictures", "-o", room / "many" / "idx", "--model", "mini")
            row(f"unchanged `index build`, {options.many:,} files", best(3, lambda: run(PROGRAM, *again)), "best of 3")
        if "first" in options.rows:
            from clip_italian.files import assets
            from clip_italian.files.cache import cache_dir

            for wheel in (assets.VISION, assets.TEXT):
                assets.fetch(wheel)
            (room / "cache").mkdir()
            shutil.copytree(cache_dir() / "assets", room / "cache" / "assets")
            environment = {"CLIP_ITALIAN_CACHE": str(room / "cache")}
            row("very first `find`, one photo", run(PROGRAM, "find", QUERY, room / "photo", environment=environment))


def _one(photos: Sequence[Path], room: Path) -> Path:
    """A folder with one photo."""
    (room / "photo").mkdir()
    shutil.copy(photos[0], room / "photo")
    return room / "photo"


if __name__ == "__main__":
    main()
