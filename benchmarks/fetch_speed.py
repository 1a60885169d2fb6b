"""How fast pictures are downloaded into shards, beside img2dataset.

    python benchmarks/fetch_speed.py --before ../earlier/src

The server of the tests runs in a process of its own and answers for many loopback addresses, so that the limit per
host does not decide. Every side runs as a command in a process of its own, start included, in turns, with the same
number of processes and threads, size and quality. Prints pictures per second, and CPU seconds per 1,000 pictures
without the server (Linux), which other work on the machine hardly changes.

ours         `clip-italian fetch` of this checkout
before       `clip-italian fetch` of the sources in --before
img2dataset  `img2dataset.download` as its README shows, if installed: no limit per host, no retries
"""

import argparse
import ctypes
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from clip_italian import pairs  # noqa: E402
from tests.fetch.web import Web  # noqa: E402

PR_SET_CHILD_SUBREAPER = 36  # <sys/prctl.h>
CLI = "from clip_italian import cli; cli.main()"
IMG2DATASET = """
import sys
from img2dataset import download

if __name__ == "__main__":
    source, output, size, workers, threads, shard = sys.argv[1:]
    download(
        url_list=source, input_format="parquet", url_col="image", caption_col="source", output_folder=output,
        output_format="webdataset", image_size=int(size), resize_mode="keep_ratio", resize_only_if_bigger=True,
        encode_quality=95, processes_count=int(workers), thread_count=int(threads), number_sample_per_shard=int(shard),
        compute_hash=None, extract_exif=False, save_additional_columns=["id", "captions", "license", "page"],
    )
"""


def serve(ready: Connection, delay: float) -> None:
    with Web(delay, "0.0.0.0") as web:
        ready.send(web.server_port)
        ready.recv()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2_000)
    parser.add_argument("--of", default="800x600", help="size of the pictures on the server")
    parser.add_argument("--hosts", type=int, default=64)
    parser.add_argument("--delay", type=float, default=0.02, help="seconds before the server answers")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--shard", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="sources (src) of an earlier version")
    return parser.parse_args()


def sides(options: argparse.Namespace, source: Path, room: Path) -> dict[str, tuple[list[str], Path]]:
    """Command and sources of each side; the output folder is the last argument."""
    fetch = [sys.executable, "-c", CLI, "fetch", str(source), "--workers", str(options.workers), "--threads",
             str(options.threads), "--shard", str(options.shard), "--json", "-o"]  # fmt: skip
    found = {"ours": (fetch, ROOT / "src")}
    if options.before:
        found["before"] = fetch, options.before.resolve()
    script = room / "side.py"
    script.write_text(IMG2DATASET)
    if subprocess.run([sys.executable, "-c", "import img2dataset"], capture_output=True).returncode == 0:
        found["img2dataset"] = [sys.executable, str(script), str(source)], ROOT / "src"
    return found


def measure(command: Sequence[str], sources: Path) -> tuple[float, float]:
    """Seconds and CPU seconds that a command takes, with all processes that it starts."""
    own = children()
    before, start = cpu_seconds(), time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(sources), "NO_ALBUMENTATIONS_UPDATE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stderr)
    for child in children() - own:
        os.waitpid(child, 0)
    return seconds, cpu_seconds() - before


def children() -> set[int]:
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


def cpu_seconds() -> float:
    """CPU seconds of all descendants that ended, but for the server."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stored(output: Path) -> int:
    """Pictures in the shards, as their statistics say."""
    return sum(json.loads(path.read_text())["successes"] for path in output.glob("[0-9]*_stats.json"))


def main() -> None:
    options = arguments()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans of a command become our children
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, options.delay), daemon=True)
    server.start()
    port = ours.recv()
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        urls = (f"http://127.0.0.{number % options.hosts + 1}:{port}/photo/{options.of}/{number % 16}.jpg"
                for number in range(options.pictures))  # fmt: skip
        rows = (pairs.Pair(str(number), url, ("una foto",), "s") for number, url in enumerate(urls))
        pairs.write(rows, room / "in.parquet")
        found = sides(options, room / "in.parquet", room)
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
        for round_ in range(options.rounds):
            for name, (command, sources) in found.items():
                output = room / f"{name}-{round_}"
                more = [str(n) for n in (256, options.workers, options.threads, options.shard)]
                whole = [*command, str(output), *(more if name == "img2dataset" else [])]
                figures[name].append(measure(whole, sources))
                if (count := stored(output)) != options.pictures:
                    print(f"{name}: {count:,} of {options.pictures:,} pictures came", file=sys.stderr)
        for name, some in figures.items():
            speeds = [options.pictures / seconds for seconds, _ in some]
            cpu = statistics.median(cpu for _, cpu in some) * 1_000 / options.pictures
            spread = f"{min(speeds):.0f} to {max(speeds):.0f}"
            print(f"{name:12} {statistics.median(speeds):6.0f} pictures/s ({spread}), {cpu:5.1f} CPU s per 1,000")
    ours.send(None)


if __name__ == "__main__":
    main()
