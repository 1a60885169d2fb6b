"""`index build --ray` on a cluster of two nodes on this machine, beside one process, and with a node killed half-way.

    pip install 'clip-italian[cluster]'
    python benchmarks/cluster_index.py PHOTOS --count 20000          # about half an hour on 2 cores, 0.5 GB

The pictures are windows of the photos, as small JPEGs, all different. Each node has one processor; one process has all
of them. A killed node loses the part that it was making, of at most `update.PART` pictures, which another makes again.
Prints Markdown.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clip_italian.search import update
from clip_italian.search.index import Index

PROGRAM = Path(sys.executable).with_name("clip-italian")
SIDE = 256


def write_windows(photos: Path, folder: Path, count: int) -> None:
    """Write `count` windows of photos as JPEGs, 500 to a folder."""
    files = sorted(photos.rglob("*.jpg"))
    draw = np.random.default_rng(0)
    for number in range(count):
        with Image.open(files[number % len(files)]) as photo:
            side = int(draw.integers(min(photo.size) // 2, min(photo.size) + 1))
            left, top = (int(draw.integers(0, length - side + 1)) for length in photo.size)
            window = photo.crop((left, top, left + side, top + side)).convert("RGB").resize((SIDE, SIDE))
        path = folder / f"{number // 500:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        window.save(path, quality=85)


def build(pictures: Path, index: Path, *more: str) -> float:
    """Seconds of the command, from its start to its end."""
    command = [PROGRAM, "index", "build", pictures, "-o", index, "--model", "mini", *more]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


@contextmanager
def two_nodes() -> Iterator[tuple[Any, Any]]:
    """A cluster, and the node of it that may be killed."""
    import ray
    from ray.cluster_utils import Cluster

    store = {"object_store_memory": 200 * 2**20, "num_cpus": 1}
    cluster = Cluster(initialize_head=True, head_node_args=store)
    second = cluster.add_node(**store)
    cluster.wait_for_nodes()
    try:
        yield cluster, second
    finally:
        ray.shutdown()
        cluster.shutdown()


def kill_half_way(cluster: Any, node: Any, folder: Path, parts: int, said: list[float]) -> None:
    """Kill a node once half of the parts are there."""
    started = time.perf_counter()
    while len(list(folder.glob("*.parts/run-*/[0-9]*/rows.parquet"))) < parts // 2:
        time.sleep(0.2)
    cluster.remove_node(node, allow_graceful=False)
    said.append(time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=20_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        room = Path(name)
        pictures = room / "pictures"
        write_windows(chosen.photos, pictures, chosen.count)
        rows = {"one process, all processors": build(pictures, room / "one.idx")}
        with two_nodes() as (cluster, _):
            rows["two nodes of one processor"] = build(pictures, room / "two.idx", "--ray", cluster.address)
        said: list[float] = []
        with two_nodes() as (cluster, second):
            (room / "killed").mkdir()
            parts = -(-chosen.count // update.PART)
            killer = threading.Thread(
                target=kill_half_way, args=(cluster, second, room / "killed", parts, said), daemon=True
            )
            killer.start()
            label = "two nodes, one of them killed half-way"
            rows[label] = build(pictures, room / "killed" / "idx", "--ray", cluster.address)
        opened = [Index.open(room / place) for place in ("one.idx", "two.idx", "killed/idx")]
        vectors = [next(one.store.content(["id"]))[1] for one in opened]
        assert all(len(one) == chosen.count for one in opened)
        nearest = [np.einsum("ij,ij->i", vectors[0].astype(np.float32), one.astype(np.float32)) for one in vectors[1:]]
    print(f"{chosen.count:,} pictures of {SIDE} x {SIDE}\n\n| | seconds | pictures/s |\n|---|---:|---:|")
    for label, seconds in rows.items():
        print(f"| {label} | {seconds:,.0f} | {chosen.count / seconds:,.0f} |")
    print(
        f"\nkilled after {said[0]:,.0f} s; least cosine to the vectors of one process {min(map(np.min, nearest)):.6f}"
    )


if __name__ == "__main__":
    main()
