"""Requests a second of `clip-italian serve`, text search among many pictures, by how many ask at once.

    python benchmarks/service_load.py                     # 100,000 pictures, mini, 10,000 requests for each row
    python benchmarks/service_load.py --clients 64 --every 1000        # and the memory at each 1,000 of them
    python benchmarks/service_load.py --photos PHOTOS                  # and thumbnails of a folder of photos

With wrk (a Debian package), whose own work is small, a second table follows: other words in each request, then the
same words in each (their embedding is remembered), and with `--photos` thumbnails, cold and warm.

The index is built from embeddings drawn around those of captions, so that hits differ; each request asks for other
words. Clients keep their connections and ask again at once; they run on the same cores as the service. Memory is what
the service's process has in memory after warming up, and at the end, and with `--every` on the way; index and weights
are mapped files, `own` is the rest. Prints Markdown.
"""

import argparse
import http.client
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PROGRAM = Path(sys.executable).with_name("clip-italian")
WARM_UP = 300
DIM = 512


def write_embeddings(folder: Path, count: int, centres: np.ndarray) -> None:
    """As clip-retrieval lays them out: `count` unit vectors, each near one of the centres."""
    draw = np.random.default_rng(0)
    vectors = centres[draw.integers(0, len(centres), count)] + draw.normal(0, 0.7 / DIM**0.5, (count, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    np.save(folder / "img_emb/img_emb_0.npy", vectors.astype(np.float16))
    paths = [f"Immagini/{number % 365:03d}/IMG_{number:06d}.jpg" for number in range(count)]
    pq.write_table(pa.table({"image_path": paths}), folder / "metadata/metadata_0.parquet")


def resident(process: int) -> float:
    """MB of a process in memory."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def own(process: int) -> float:
    """MB of a process in memory that belong to no file."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(status.partition("RssAnon:")[2].split()[0]) / 1000


WORDS = (
    "cane gatto spiaggia neve bambino rosso montagna bicicletta uomo donna corre salta erba acqua palla strada".split()
)
SCRIPT = """
local words = {%s}
math.randomseed(os.time())
request = function()
  local chosen = {}
  for place = 1, 3 do chosen[place] = words[math.random(#words)] end
  return wrk.format("GET", "/v1/search?k=20&text=" .. table.concat(chosen, "+") .. "+" .. math.random(99999))
end
"""
EACH = """
local number = 0
request = function()
  number = number + 1
  return wrk.format("GET", "/v1/pictures/" .. (number %% %d))
end
"""


def by_wrk(port: int, clients: int, path: str, script: str | None, seconds: int) -> tuple[str, str, str, int]:
    """Requests a second, p50, p99 and errors, as wrk measures them with one thread; `script` makes the requests."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script or "")
        file.flush()
        more = ["-s", file.name] if script else []
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", *more, f"http://127.0.0.1:{port}{path}"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {line.split()[0]: line.split()[-1] for line in said.splitlines() if line.split()}
    errors = int(found.get("Non-2xx", "0")) if "Non-2xx" in said else 0
    return found["Requests/sec:"], found["50%"], found["99%"], errors


def print_wrk(port: int, process: int, words: Sequence[str], clients: Sequence[int], seconds: int) -> None:
    """Print the table of wrk's figures; requests are drawn from `words`."""
    print("\n| by wrk | clients | requests/s | p50 | p99 | errors | memory | own |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    new = SCRIPT % ", ".join(f'"{quote(word)}"' for word in words)
    for what, path, script in (
        ("other words", "/", new),
        ("the same words", f"/v1/search?k=20&text={quote(words[0])}", None),
    ):
        for count in clients:
            rate, half, most, errors = by_wrk(port, count, path, script, seconds)
            memory = f"{resident(process):,.0f} MB | {own(process):,.0f} MB"
            print(f"| {what} | {count} | {rate} | {half} | {most} | {errors} | {memory} |", flush=True)


def start(index: Path, room: Path) -> tuple[int, subprocess.Popen, float]:
    """Start the service of an index; port, process, and the seconds until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(PROGRAM), "serve", "--index", str(index), "--port", str(port)]
    deployed = os.environ | {"MALLOC_ARENA_MAX": "2"}  # as in the container and the systemd unit
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=deployed, cwd=room)
    wait(port, process)
    return port, process, time.perf_counter() - began


def print_thumbnails(photos: Path, room: Path, model: str, seconds: int) -> None:
    """Print wrk's figures for the thumbnails of a folder, each asked for the first time, then again."""
    command = ["index", "build", photos, "-o", room / "photos.idx", "--model", model]
    subprocess.run([str(PROGRAM), *map(str, command)], check=True, stdout=sys.stderr)
    count = sum(1 for path in photos.iterdir() if path.suffix == ".jpg")
    port, process, _ = start(room / "photos.idx", room)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        began = time.perf_counter()
        for number in range(count):
            connection.request("GET", f"/v1/pictures/{number}")
            connection.getresponse().read()
        cold = count / (time.perf_counter() - began)
        rate, half, most, errors = by_wrk(port, 16, "/", EACH % count, seconds)
        print(
            f"\nThumbnails of {count} photos: {cold:.0f}/s one by one for the first time; then, 16 at once, {rate}/s, "
        )
        print(f"p50 {half}, p99 {most}, {errors} errors; {resident(process.pid):,.0f} MB")
    finally:
        process.terminate()
        process.wait()


class Clients:
    """Threads that ask one request after the other, `total` together; `look` is called after each `every` answers."""

    def __init__(
        self, port: int, queries: Sequence[str], total: int, every: int = 0, look: Callable[[], None] = lambda: None
    ) -> None:
        self.port, self.queries, self.every, self.look = port, iter(queries[:total]), every, look
        self.seconds: list[float] = []
        self.errors: list[str] = []
        self._lock = threading.Lock()

    def run(self, count: int) -> float:
        """Seconds until all requests are answered, `count` at a time."""
        threads = [threading.Thread(target=self._ask) for _ in range(count)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while True:
            with self._lock:
                query = next(self.queries, None)
            if query is None:
                return
            start = time.perf_counter()
            connection.request("GET", f"/v1/search?text={quote(query)}&k=20")
            answer = connection.getresponse()
            body = answer.read()
            took = time.perf_counter() - start
            with self._lock:
                self.seconds.append(took)
                if self.every and len(self.seconds) % self.every == 0:
                    self.look()
            if answer.status != 200 or len(json.loads(body)["hits"]) != 20:
                self.errors.append(f"{answer.status} {body[:200]!r}")


def wait(port: int, process: subprocess.Popen) -> None:
    """Until the service answers."""
    while process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.01)
    raise SystemExit("the service did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="pictures in the index")
    parser.add_argument("--requests", type=int, default=10_000, help="for each number of clients")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--every", type=int, default=0, help="requests from one look at the memory to the next")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--photos", type=Path, help="folder of .jpg files whose thumbnails are asked for")
    parser.add_argument("--seconds", type=int, default=10, help="of each row by wrk")
    options = parser.parse_args()
    from train_step import captions, processor_name

    from clip_italian import languages, load

    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        model = load(options.model)
        write_embeddings(room / "embeddings", options.count, model.encode_text(captions(None, 1000)))
        command = ["index", "build", room / "embeddings", "-o", room / "idx", "--model", options.model]
        subprocess.run([str(PROGRAM), *map(str, command)], check=True, stdout=sys.stderr)
        port, process, seconds = start(room / "idx", room)
        try:
            print(
                f"{processor_name()}, {os.cpu_count()} threads; Python {sys.version.split()[0]}; "
                f"answers after {seconds:.2f} s"
            )
            print(f"{options.count:,} pictures, {options.requests:,} requests a row\n")
            print("| clients | requests/s | p50 | p99 | errors | memory before | after |")
            print("|---:|---:|---:|---:|---:|---:|---:|")
            curves: dict[int, list[float]] = {}
            for number, clients in enumerate(options.clients):
                words = captions(None, 4 * (options.requests + WARM_UP))
                random.Random(number).shuffle(words)
                Clients(port, words[options.requests :], WARM_UP).run(clients)
                before = resident(process.pid)
                way: list[float] = []
                look = partial(lambda way: way.append(resident(process.pid)), way)
                asked = Clients(port, words, options.requests, options.every, look)
                took = asked.run(clients)
                cuts = [1000 * cut for cut in statistics.quantiles(asked.seconds, n=100)]
                after = resident(process.pid)
                print(
                    f"| {clients} | {options.requests / took:,.0f} | {cuts[49]:,.0f} ms | {cuts[98]:,.0f} ms "
                    f"| {len(asked.errors)} | {before:,.0f} MB | {after:,.0f} MB |",
                    flush=True,
                )
                if way:
                    curves[clients] = way
                for error in asked.errors[:3]:
                    print(error, file=sys.stderr)
            for clients, way in curves.items():
                figures = ", ".join(f"{megabytes:,.0f}" for megabytes in way)
                print(f"\nMB at each {options.every:,} requests of {clients} clients: {figures}")
            if shutil.which("wrk"):
                drawn = [one.label for one in languages.get("it").imagenet[::50]]
                print_wrk(port, process.pid, drawn, options.clients, options.seconds)
        finally:
            process.terminate()
            process.wait()
        if options.photos is not None:
            print_thumbnails(options.photos, room, options.model, options.seconds)


if __name__ == "__main__":
    main()
