"""Searching a million pictures through `Index.search`, beside FAISS: time, recall, bytes on disk, opening.

    python benchmarks/index_speed.py                          # 1,000,000 × 512, about half an hour on 2 cores, 6 GB
    python benchmarks/index_speed.py --count 20000            # a minute

The vectors are drawn in clusters of some hundred, about 0.82 from their centre by cosine, and so are the queries; rows
carry what an index of photos has (path, sha256, look, times). The right answers are those of float32 products over all
vectors. Files are put out of the page cache before they are opened (posix_fadvise); ours reads its lists with
the first search. Queries come one by one, on one thread. Beside ours stands FAISS's graph (HNSW) over the same half
precision, without rows, filters and updates.
"""

import argparse
import datetime
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian.search import commit, engine, update
from clip_italian.search.index import Index
from clip_italian.search.schema import EMBEDDED, EXISTING, Manifest

NOISE = 0.7
BLOCK = 50_000
K = 10
QUERIES = 1_000
FLAT_QUERIES = 30
LINKS, WIDTH_ADD, WIDTHS = 16, 128, (48, 96)  # of the graph


def drawn(count: int, dim: int, seed: int, clusters: int) -> Iterator[np.ndarray]:
    """Unit vectors in clusters, some ten thousand at a time."""
    centres = unit(np.random.default_rng(0).standard_normal((clusters, dim), np.float32))
    rng = np.random.default_rng(seed)
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        noise = rng.standard_normal((size, dim), np.float32) * np.float32(NOISE / np.sqrt(dim))
        yield unit(centres[rng.integers(0, clusters, size)] + noise)


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def rows(count: int) -> pa.Table:
    """Rows of a folder of photos, with vectors in parts of `BLOCK`."""
    rng = np.random.default_rng(5)
    numbers = np.arange(count)
    paths = [f"Immagini/{2000 + n % 26}/{n % 365:03d}/IMG_{n:07d}.jpg" for n in range(count)]
    times = 1_500_000_000 + rng.integers(0, 300_000_000, count)
    columns = {
        "id": paths,
        "path": paths,
        "root": np.zeros(count, np.uint16),
        "size": rng.integers(500_000, 6_000_000, count),
        "mtime_ns": times * 1_000_000_000 + rng.integers(0, 1_000_000_000, count),
        "source": ["Immagini"] * count,
        "sha256": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(32), count, [None, pa.py_buffer(rng.bytes(32 * count))]
        ),
        "look": pa.FixedSizeBinaryArray.from_buffers(pa.binary(14), count, [None, pa.py_buffer(rng.bytes(14 * count))]),
        "taken": pa.array(times * 1000).cast(pa.timestamp("ms")),
        "keywords": [[]] * count,
        "store": (numbers // BLOCK).astype(np.int32),
        "pos": numbers % BLOCK,
    }
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in EXISTING
    ]
    return pa.table(arrays, schema=EXISTING)


def build(folder: Path, room: Path, count: int, dim: int, clusters: int) -> float:
    """An index of vectors that are there; seconds for it."""
    parts = []
    for number, block in enumerate(drawn(count, dim, 1, clusters)):
        part = room / f"{number:06d}"
        commit.write_part(part, EMBEDDED.empty_table(), block)
        parts.append(part)
    pq.write_table(rows(count), room / "new.parquet")
    settings = Manifest(model="benchmark", model_name="benchmark", dim=dim, roots=["/photos"])
    started = time.perf_counter()
    commit.FolderWriter(folder, []).commit(settings, parts, room / "new.parquet", {})
    return time.perf_counter() - started


def truth(queries: np.ndarray, count: int, dim: int, clusters: int) -> np.ndarray:
    """The ten nearest of each query by float32 products over all vectors."""
    best = np.full((len(queries), K), -2.0, np.float32)
    names = np.zeros((len(queries), K), np.int64)
    for start, block in zip(range(0, count, BLOCK), drawn(count, dim, 1, clusters), strict=True):
        scores = queries @ block.T
        here = np.argpartition(-scores, K, axis=1)[:, :K]
        together = np.concatenate([best, np.take_along_axis(scores, here, 1)], 1)
        both = np.concatenate([names, here + start], 1)
        order = np.argsort(-together, axis=1)[:, :K]
        best, names = np.take_along_axis(together, order, 1), np.take_along_axis(both, order, 1)
    return names


def cold(folder: Path) -> None:
    """Put a folder's files out of the page cache."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measured(search: Callable[[np.ndarray], list[int]], queries: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """Milliseconds of single searches, and recall."""
    for query in queries[:100]:
        search(query)
    times, found = [], 0
    for query, names in zip(queries, right, strict=True):
        started = time.perf_counter()
        answer = search(query)
        times.append(1000 * (time.perf_counter() - started))
        found += len(set(answer) & set(names.tolist()))
    deciles = statistics.quantiles(times, n=100)
    return {"p50_ms": statistics.median(times), "p99_ms": deciles[98], "recall": found / right.size}


def ours(folder: Path, queries: np.ndarray, right: np.ndarray, count: int) -> dict[str, float]:
    cold(folder)
    before, started = resident(), time.perf_counter()
    index = Index.open(folder)
    opened = 1000 * (time.perf_counter() - started)
    memory = (resident() - before) / 1e6
    started = time.perf_counter()
    index.search(queries[0], K)
    first = 1000 * (time.perf_counter() - started)
    figures = measured(lambda query: [hit.row for hit in index.search(query, K)], queries, right)
    size = update.size(folder) / count
    return figures | {"bytes": size, "open_ms": opened, "open_mb": memory, "first_ms": first}


def faiss_hnsw(room: Path, queries: np.ndarray, right: np.ndarray, count: int, dim: int, clusters: int) -> dict:
    import faiss

    index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_fp16, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = WIDTH_ADD
    faiss.omp_set_num_threads(os.cpu_count() or 1)  # ours has left it at one
    seconds = 0.0
    for block in drawn(count, dim, 1, clusters):
        started = time.perf_counter()
        index.train(block[:1])  # half precision needs none, and asks for it
        index.add(block)
        seconds += time.perf_counter() - started
    found = {}
    for width in WIDTHS:
        index.hnsw.efSearch = width
        label = f"FAISS {faiss.__version__} HNSW, {LINKS} links, half precision, {width} wide"
        found[label] = _faiss(index, room, queries, right, count) | {"build_s": seconds}
    return found


def faiss_flat(room: Path, queries: np.ndarray, right: np.ndarray, count: int, dim: int, clusters: int) -> dict:
    import faiss

    index = faiss.IndexFlatIP(dim)
    for block in drawn(count, dim, 1, clusters):
        index.add(block)
    return _faiss(index, room, queries[:FLAT_QUERIES], right[:FLAT_QUERIES], count)


def _faiss(index: object, room: Path, queries: np.ndarray, right: np.ndarray, count: int) -> dict[str, float]:
    import faiss

    path = room / "faiss" / "index"
    path.parent.mkdir(exist_ok=True)
    faiss.write_index(index, str(path))
    cold(path.parent)
    before, started = resident(), time.perf_counter()
    opened = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    seconds = time.perf_counter() - started
    memory = (resident() - before) / 1e6
    faiss.omp_set_num_threads(1)
    figures = measured(lambda query: opened.search(query[None], K)[1][0].tolist(), queries, right)
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    return figures | {"bytes": path.stat().st_size / count, "open_ms": 1000 * seconds, "open_mb": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--probes", type=int, nargs="+", default=[engine.PROBES], help="lists to look at")
    parser.add_argument("--candidates", type=int, default=engine.CANDIDATES, help="compared exactly")
    parser.add_argument("--no-faiss", action="store_true")
    parser.add_argument("--exact-below", type=int, help="fewer vectors get no lists; by default as in the package")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    engine.CANDIDATES = chosen.candidates
    if chosen.exact_below is not None:
        commit.EXACT_BELOW = chosen.exact_below
    clusters = max(1, chosen.count // 100)
    queries = next(drawn(QUERIES, chosen.dim, 2, clusters))
    right = truth(queries, chosen.count, chosen.dim, clusters)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        room = Path(name)
        (room / "parts").mkdir()
        seconds = build(room / "idx", room / "parts", chosen.count, chosen.dim, clusters)
        shutil.rmtree(room / "parts")
        found = {}
        for probes in chosen.probes:
            engine.PROBES = probes
            label = f"ours, {probes} lists, {chosen.candidates} candidates"
            found[label] = ours(room / "idx", queries, right, chosen.count) | {"build_s": seconds}
        shutil.rmtree(room / "idx")
        if not chosen.no_faiss:
            given = (room, queries, right, chosen.count, chosen.dim, clusters)
            found |= faiss_hnsw(*given)
            found["FAISS flat, float32"] = faiss_flat(*given)
    show(found, chosen.count, chosen.dim, chosen.json)


def show(found: dict[str, dict[str, float]], count: int, dim: int, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"count": count, "dim": dim, "day": str(datetime.date.today()), "found": found}))
        return
    print(f"{count:,} vectors of {dim}, {QUERIES:,} queries, the {K} nearest\n")
    print("| | p50 | p99 | recall@10 | bytes a vector | cold open | memory after opening | first search | build |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name, one in found.items():
        first = f"{one['first_ms']:.1f} ms" if "first_ms" in one else "–"
        build = f"{one['build_s']:,.0f} s" if "build_s" in one else "–"
        print(
            f"| {name} | {one['p50_ms']:.2f} ms | {one['p99_ms']:.2f} ms | {one['recall']:.4f} | {one['bytes']:,.0f} "
            f"| {one['open_ms']:,.0f} ms | {one['open_mb']:,.0f} MB | {first} | {build} |"
        )


if __name__ == "__main__":
    main()
