"""Requests a second of `clip-italian serve`, text search among many pictures, by how many ask at once.

    python benchmarks/service_load.py                     # 100,000 pictures, mini, 10,000 requests for each row
    python benchmarks/service_load.py --clients 64 --every 1000        # and the memory at each 1,000 of them

The index is built from embeddings drawn around those of captions, so that hits differ; each request asks
for other words. Clients keep their connections and ask again at once; they run on the same cores as the service.
Memory is what the service's process has in memory after warming up, and at the end, and with `--every` on the way.
Prints Markdown.
"""

import argparse
import http.client
import json
import os
import random
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
            time.sleep(0.1)
    raise SystemExit("the service did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="pictures in the index")
    parser.add_argument("--requests", type=int, default=10_000, help="for each number of clients")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--every", type=int, default=0, help="requests from one look at the memory to the next")
    parser.add_argument("--model", default="mini")
    options = parser.parse_args()
    from train_step import captions, processor_name

    from clip_italian import load

    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        model = load(options.model)
        write_embeddings(room / "embeddings", options.count, model.encode_text(captions(None, 1000)))
        command = ["index", "build", room / "embeddings", "-o", room / "idx", "--model", options.model]
        subprocess.run([str(PROGRAM), *map(str, command)], check=True, stdout=sys.stderr)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [str(PROGRAM), "serve", "--index", str(room / "idx"), "--port", str(port)]
        deployed = os.environ | {"MALLOC_ARENA_MAX": "2"}  # as in the container and the systemd unit
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=deployed)
        try:
            wait(port, process)
            print(f"{processor_name()}, {os.cpu_count()} threads; Python {sys.version.split()[0]}")
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
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
