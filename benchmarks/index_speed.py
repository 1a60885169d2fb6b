"""Searching a million pictures through `Index.search`, beside FAISS: time, recall, bytes on disk, opening.

    python benchmarks/index_speed.py                          # 1,000,000 × 512, about half an hour on 2 cores, 6 GB
    python benchmarks/index_speed.py --count 20000            # a minute

The vectors are drawn in clusters of some hundred, about 0.82 from their centre by cosine, and so are the queries; rows
carry what an index of photos has (path, sha256, look, times). The right answers are those of float32 products over all
vectors. Files are put out of the page cache before they are opened (posix_fadvise); ours reads a list with the first
search that looks in it. Queries come one by one, on one thread, and all of them a second time, which is what p50 and
p99 are of. Memory of its own is what no mapped file holds, after all searches. After them come searches that a date
restricts to a share of the rows, adding a folder of 1,000 small pictures (read, but not embedded by a model), and
removing them again. Beside ours stands FAISS's graph (HNSW) over the same half precision, without rows, filters and
updates.
"""

import argparse
import datetime
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from clip_italian.models.precision import Identity
from clip_italian.search import commit, engine, update
from clip_italian.search.filters import Filter
from clip_italian.search.index import Index
from clip_italian.search.schema import EMBEDDED, EXISTING, Manifest
from clip_italian.search.storage import FolderStore
from clip_italian.search.words import WORDS_FILE

NOISE = 0.7
BLOCK = 50_000
K = 10
QUERIES = 1_000
FLAT_QUERIES = 30
FILTERED_QUERIES = 200
SHARES = (0.5, 0.1, 0.01, 0.001)  # of the rows that pass a filter
CHANGED = 1_000  # rows added, and removed
LINKS, WIDTH_ADD, WIDTHS = 16, 128, (48, 96)  # of the graph
FIRST_TIME, TIMES = 1_500_000_000, 300_000_000  # seconds: pictures are taken at any time of these years


class Drawing:
    """In the place of a model: draws an embedding for each picture."""

    at_least = None
    picture_batch = 64
    weights_hash = "benchmark"
    identity = Identity(weights_hash, weights_hash)

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._random = np.random.default_rng(7)

    def preprocess(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image)

    def encode_pixels(self, pixels: list[np.ndarray]) -> np.ndarray:
        return unit(self._random.standard_normal((len(pixels), self.dim), np.float32))


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


def taken(count: int) -> np.ndarray:
    """When each picture was taken, in seconds since 1970."""
    return FIRST_TIME + np.random.default_rng(5).integers(0, TIMES, count)


def rows(first: int, times: np.ndarray, store: int) -> pa.Table:
    """Rows of photos taken at these times, numbered from `first`; vectors lie in parts of `BLOCK` from `store` on."""
    rng, count = np.random.default_rng([5, first]), len(times)
    numbers = range(first, first + count)
    paths = [f"Immagini/{2000 + n % 26}/{n % 365:03d}/IMG_{n:07d}.jpg" for n in numbers]
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
        "store": store + np.arange(count) // BLOCK,
        "pos": np.arange(count) % BLOCK,
    }
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in EXISTING
    ]
    return pa.table(arrays, schema=EXISTING)


def build(folder: Path, room: Path, count: int, dim: int, clusters: int) -> float:
    """An index of vectors that are there, a segment after the other; seconds for it."""
    manifest = Manifest(model="benchmark", model_name="benchmark", dim=dim, roots=["/photos"])
    vectors, times, seconds = drawn(count, dim, 1, clusters), taken(count), 0.0
    for first in range(0, count, commit.SEGMENT_ROWS):
        some = times[first : first + commit.SEGMENT_ROWS]
        new = room / f"{first}.parquet"
        segments = [] if first == 0 else FolderStore.open(folder).segments
        parts = []
        for number in range(-(-len(some) // BLOCK)):
            parts.append(room / f"{first}-{number}")
            commit.write_part(parts[-1], EMBEDDED.empty_table(), next(vectors))
        pq.write_table(rows(first, some, len(segments)), new)
        started = time.perf_counter()
        manifest = commit.FolderWriter(folder, segments).commit(manifest, parts, new, {})
        seconds += time.perf_counter() - started
        for part in parts:
            shutil.rmtree(part)
        new.unlink()
    return seconds


def truth(
    queries: np.ndarray, count: int, dim: int, clusters: int, restricted: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The ten nearest of each query by float32 products over all vectors, under "".

    Beside them those of the first `FILTERED_QUERIES` among the rows of each mask (count,) in `restricted`.
    """
    masks = {"": np.ones(count, bool), **restricted}
    asked = {name: queries[:FILTERED_QUERIES] if name else queries for name in masks}
    best = {name: np.full((len(some), K), -2.0, np.float32) for name, some in asked.items()}
    rows = {name: np.zeros((len(some), K), np.int64) for name, some in asked.items()}
    for start, block in zip(range(0, count, BLOCK), drawn(count, dim, 1, clusters), strict=True):
        products = queries @ block.T
        for name, mask in masks.items():
            near = (products[: len(asked[name])] > best[name][:, -1:]) & mask[start : start + len(block)]
            for query in np.flatnonzero(near.any(1)).tolist():
                here = np.flatnonzero(near[query])
                scores = np.concatenate([best[name][query], products[query, here]])
                order = np.argsort(-scores, kind="stable")[:K]
                best[name][query] = scores[order]
                rows[name][query] = np.concatenate([rows[name][query], here + start])[order]
    return rows


def cold(folder: Path) -> None:
    """Put a folder's files out of the page cache."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def anonymous() -> int:
    """Bytes of this process in memory that are no mapped file."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("Anonymous:")))


def measured(search: Callable[[np.ndarray], list[int]], queries: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """Milliseconds of single searches, in a first and a second round, and recall."""
    rounds = []
    for _ in range(2):
        times, found = [], 0
        for query, names in zip(queries, right, strict=True):
            started = time.perf_counter()
            answer = search(query)
            times.append(1000 * (time.perf_counter() - started))
            found += len(set(answer) & set(names.tolist()))
        rounds.append(times)
    return {
        "new_p50_ms": statistics.median(rounds[0]),
        "p50_ms": statistics.median(rounds[1]),
        "p99_ms": statistics.quantiles(rounds[1], n=100)[98],
        "recall": found / right.size,
    }


def ours(folder: Path, queries: np.ndarray, right: np.ndarray, count: int) -> dict[str, float]:
    cold(folder)
    before, started = anonymous(), time.perf_counter()
    index = Index.open(folder)
    opened = 1000 * (time.perf_counter() - started)
    started = time.perf_counter()
    index.search(queries[0], K)
    first = 1000 * (time.perf_counter() - started)
    figures = measured(lambda query: [hit.row for hit in index.search(query, K)], queries, right)
    own = (anonymous() - before) / 1e6
    words = sum(path.stat().st_size for path in folder.rglob(WORDS_FILE))
    sizes = {"bytes": (update.size(folder) - words) / count, "word_bytes": words / count}
    return figures | sizes | {"open_ms": opened, "first_ms": first, "own_mb": own}


def restrictions(count: int) -> dict[str, tuple[Filter, np.ndarray]]:
    """Dates that let some rows pass, by the rows' share, with the mask (count,) of these rows."""
    times, found = taken(count), {}
    for share in SHARES:
        since = datetime.datetime.fromtimestamp(FIRST_TIME + TIMES * (1 - share))
        mask = times * 1000 >= since.timestamp() * 1000
        found[f"{mask.mean():.2%} of the rows"] = (Filter(since=since), mask)
    return found


def filtered(
    folder: Path, queries: np.ndarray, filters: Mapping[str, Filter], right: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Searches among the rows that a date lets pass."""
    index, found = Index.open(folder), {}
    for name, where in filters.items():

        def search(query: np.ndarray, where: Filter = where) -> list[int]:
            return [hit.row for hit in index.search(query, K, where=where)]

        found[name] = measured(search, queries, right[name])
    return found


def changed(folder: Path, room: Path, dim: int) -> dict[str, float]:
    """Seconds until rows that are added are found, and until removed ones are not."""
    pictures = room / "pictures"
    for number in range(CHANGED):
        file = pictures / f"{number // 100:03d}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(file)
    model = update.Model(Drawing(dim), "benchmark")
    query = model.encoder.encode_pixels([np.zeros(1)])[0]
    before = len(Index.open(folder))
    started = time.perf_counter()
    update.add(folder, [pictures], model)
    opened = Index.open(folder)
    opened.search(query, K)
    added = time.perf_counter() - started
    assert len(opened) == before + CHANGED
    started = time.perf_counter()
    update.remove(folder, [str(pictures.resolve() / "*")])
    opened = Index.open(folder)
    removed = time.perf_counter() - started
    assert len(opened) == before
    return {"added_s": added, "removed_s": removed}


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
    before, started = anonymous(), time.perf_counter()
    opened = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    seconds = time.perf_counter() - started
    faiss.omp_set_num_threads(1)
    figures = measured(lambda query: opened.search(query[None], K)[1][0].tolist(), queries, right)
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    own = (anonymous() - before) / 1e6
    return figures | {"bytes": path.stat().st_size / count, "open_ms": 1000 * seconds, "own_mb": own}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--probes", type=int, nargs="+", default=[engine.PROBES], help="lists; filters take the first")
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
    dates = restrictions(chosen.count)
    masks = {name: mask for name, (_, mask) in dates.items()}
    nearest = truth(queries, chosen.count, chosen.dim, clusters, masks)
    right = nearest[""]
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
        engine.PROBES = chosen.probes[0]
        filters = {name: where for name, (where, _) in dates.items()}
        restricted = filtered(room / "idx", queries[:FILTERED_QUERIES], filters, nearest)
        changes = changed(room / "idx", room, chosen.dim)
        shutil.rmtree(room / "idx")
        if not chosen.no_faiss:
            given = (room, queries, right, chosen.count, chosen.dim, clusters)
            found |= faiss_hnsw(*given)
            found["FAISS flat, float32"] = faiss_flat(*given)
    if chosen.json:
        settings = {"count": chosen.count, "dim": chosen.dim, "day": str(datetime.date.today())}
        print(json.dumps(settings | {"found": found, "filtered": restricted} | changes))
        return
    show(found, chosen.count, chosen.dim)
    print(f"\n| filter, {chosen.probes[0]} lists | p50 | p99 | recall@10 |\n|---|---:|---:|---:|")
    for name, one in restricted.items():
        print(f"| {name} | {one['p50_ms']:.2f} ms | {one['p99_ms']:.2f} ms | {one['recall']:.4f} |")
    print(f"\n{CHANGED:,} added: {changes['added_s']:.2f} s; removed: {changes['removed_s']:.2f} s")


def show(found: dict[str, dict[str, float]], count: int, dim: int) -> None:
    print(f"{count:,} vectors of {dim}, {QUERIES:,} queries, the {K} nearest\n")
    columns = (
        "p50, p99, p50 of new queries, recall@10, bytes a vector, of its words, cold open, first search, own memory"
    )
    print(f"| | {columns.replace(', ', ' | ')} | build |\n|---{'|---:' * 10}|")
    for name, one in found.items():
        first = f"{one['first_ms']:.1f} ms" if "first_ms" in one else "–"
        build = f"{one['build_s']:,.0f} s" if "build_s" in one else "–"
        print(
            f"| {name} | {one['p50_ms']:.2f} ms | {one['p99_ms']:.2f} ms | {one['new_p50_ms']:.2f} ms "
            f"| {one['recall']:.4f} | {one['bytes']:,.0f} | {one.get('word_bytes', 0):,.0f} "
            f"| {one['open_ms']:,.0f} ms | {first} | {one['own_mb']:,.0f} MB | {build} |"
        )


if __name__ == "__main__":
    main()
