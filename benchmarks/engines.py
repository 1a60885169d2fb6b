"""Vector engines beside each other, without the package: recall, time of a search, size, build, opening.

    python benchmarks/engines.py --count 200000                     # drawn in clusters, as in index_speed.py
    python benchmarks/engines.py --photos FLICKR8K-IT/captions.jsonl # parts of photos, captions as queries
    python benchmarks/engines.py --engines hnsw-fp16 ivf-pq --widths 64 256

The second is the real task: 200,000 embeddings by `mini` of overlapping windows of photos (of its last feature map, as
`locate` takes them), asked for by captions, which lie apart from all pictures. Needs usearch and lancedb (pip install
usearch lancedb). Each engine runs in a process of its own; queries come one by one on one thread (LanceDB takes all),
and 18 rows are asked for, as the package does. `widths` is usearch's expansion and FAISS's and LanceDB's ef; for lists
of 4-bit codes (IVF, fast scan) it is a quarter of the candidates, which half-precision vectors in a mapped file then
order. Prints Markdown.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from index_speed import BLOCK, K, drawn, truth, unit

QUERIES = 1_000
ASKED = 18
PER_PHOTO = 250
Search = Callable[[np.ndarray], np.ndarray]


def windows(captions: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of windows of photos and of captions; `captions` has the fields image_path and captions."""
    from clip_italian import load
    from clip_italian.pictures.decoding import decode

    model = load("mini")
    assert model.maps is not None
    side, draw = model.maps.image_size, np.random.default_rng(0)
    rows = [json.loads(line) for line in captions.read_text(encoding="utf-8").splitlines()]
    found = []
    for row in rows:
        photo = decode(captions.parent / row["image_path"], row["image_path"])
        _, pooled = model.maps.embed_windows(photo, side + 7 * 32, side + 6 * 32, (2, 3, 4, 5, 6, 7, 8))
        vectors = np.concatenate([one.embeddings.reshape(-1, model.dim) for one in pooled])
        found.append(vectors[draw.permutation(len(vectors))[:PER_PHOTO]])
    vectors = unit(np.concatenate(found).astype(np.float32))
    texts = [text for row in rows for text in row["captions"]]
    queries = model.encode_text(texts[:: max(1, len(texts) // QUERIES)][:QUERIES])
    return vectors[draw.permutation(len(vectors))[:count]], unit(queries.astype(np.float32))


def exact(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The ten nearest rows of each query, by float32 products."""
    scores = [queries @ vectors[some].T for some in _blocks(len(vectors))]
    return np.argsort(-np.concatenate(scores, axis=1), axis=1)[:, :K]


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, count, BLOCK))


def usearch(kind: str, vectors: np.ndarray, path: Path) -> tuple[Callable[[], Any], Callable[[Any, int], Search]]:
    """usearch's graph of 16 connections over `kind` (bf16, f16)."""
    from usearch.index import Index

    index = Index(
        ndim=vectors.shape[1], metric="ip", dtype=kind, connectivity=16, expansion_add=128, enable_key_lookups=False
    )
    for some in _blocks(len(vectors)):
        index.add(np.arange(len(vectors))[some], vectors[some])
    index.save(path)

    def search(opened: Any, width: int) -> Search:
        opened.expansion_search = width
        return lambda query: opened.search(query, ASKED, threads=1).keys

    return lambda: Index.restore(path, view=True, enable_key_lookups=False), search


def hnsw(kind: str, vectors: np.ndarray, path: Path) -> tuple[Callable[[], Any], Callable[[Any, int], Search]]:
    """FAISS's graph over half precision; `kind` is the number of links."""
    import faiss

    index = faiss.IndexHNSWSQ(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, int(kind), faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    for some in _blocks(len(vectors)):
        index.add(np.ascontiguousarray(vectors[some]))
    faiss.write_index(index, str(path))

    def search(opened: Any, width: int) -> Search:
        settings = faiss.SearchParametersHNSW(efSearch=width)
        return lambda query: opened.search(query[None], ASKED, params=settings)[1][0]

    return lambda: faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC), search


def ivf(kind: str, vectors: np.ndarray, path: Path) -> tuple[Callable[[], Any], Callable[[Any, int], Search]]:
    """FAISS's lists of `kind` codes of 4 bits a vector; candidates are ordered by half precision."""
    import faiss

    count, dim = vectors.shape
    lists = 1 << round(np.log2(2 * count**0.5))
    index = faiss.index_factory(dim, f"IVF{lists}_HNSW32,PQ{kind}x4fs", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.max_points_per_centroid = 10, 64
    index.train(np.ascontiguousarray(vectors[:: max(1, count // (64 * lists))]))
    for some in _blocks(count):
        index.add(np.ascontiguousarray(vectors[some]))
    faiss.write_index(index, str(path))
    halves = path.with_suffix(".npy")
    np.save(halves, vectors.astype(np.float16))

    def search(opened: Any, width: int) -> Search:
        matrix, lists_of = opened
        probes = max(8, width // 8)
        settings = faiss.SearchParametersIVF(
            nprobe=probes, quantizer_params=faiss.SearchParametersHNSW(efSearch=max(64, 2 * probes))
        )

        def one(query: np.ndarray) -> np.ndarray:
            rows = lists_of.search(query[None], 4 * width, params=settings)[1][0]
            rows = rows[rows >= 0]
            return np.asarray(rows[np.argsort(-(matrix[rows].astype(np.float32) @ query))[:ASKED]])

        return one

    def opened() -> Any:
        matrix = np.load(halves, mmap_mode="r").view(np.ndarray)
        return matrix, faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)

    return opened, search


def lancedb(kind: str, vectors: np.ndarray, path: Path) -> tuple[Callable[[], Any], Callable[[Any, int], Search]]:
    """LanceDB's lists of graphs over 8 bits; twice `width` of its candidates are ordered by the vectors themselves."""
    import lancedb as library
    import pyarrow as pa

    def batches() -> Iterator[pa.RecordBatch]:
        for some in _blocks(len(vectors)):
            numbers = pa.array(np.arange(len(vectors))[some])
            values = pa.FixedSizeListArray.from_arrays(pa.array(vectors[some].reshape(-1)), vectors.shape[1])
            yield pa.record_batch([numbers, values], names=["row", "vector"])

    reader = pa.RecordBatchReader.from_batches(next(batches()).schema, batches())
    library.connect(path).create_table("vectors", reader).create_index(
        metric="dot", vector_column_name="vector", index_type=kind
    )

    def search(opened: Any, width: int) -> Search:
        def one(query: np.ndarray) -> np.ndarray:
            found = opened.search(query).distance_type("dot").nprobes(max(4, width // 8)).ef(width).refine_factor(2)
            return np.asarray(found.limit(ASKED).select(["row", "_distance"]).to_arrow()["row"].to_numpy())

        return one

    return lambda: library.connect(path).open_table("vectors"), search


ENGINES = {
    "usearch-bf16": (usearch, "bf16"), "usearch-f16": (usearch, "f16"), "hnsw-fp16": (hnsw, "16"),
    "hnsw32-fp16": (hnsw, "32"), "ivf-pq": (ivf, "64"), "ivf-pq128": (ivf, "128"), "ivf-pq256": (ivf, "256"),
    "lancedb": (lancedb, "IVF_HNSW_SQ"),
}  # fmt: skip


def measure(name: str, room: Path, widths: list[int]) -> None:
    """Print the rows of an engine; `room` holds vectors, queries and right answers."""
    vectors, queries, right = (np.load(room / f"{what}.npy") for what in ("vectors", "queries", "right"))
    make, kind = ENGINES[name]
    path = room / name
    began = time.perf_counter()
    opening, searching = make(kind, vectors, path)
    built = time.perf_counter() - began
    files = [one for one in room.rglob("*") if one.is_file() and name in {one.stem, *one.relative_to(room).parts}]
    for one in files:
        os.sync()
        descriptor = os.open(one, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    size = sum(one.stat().st_size for one in files) / len(vectors)
    del vectors
    began = time.perf_counter()
    opened = opening()
    searching(opened, widths[0])(queries[0])
    first = 1000 * (time.perf_counter() - began)
    for width in widths:
        search, times, found = searching(opened, width), [], 0
        for query in queries[:100]:
            search(query)
        for query, names in zip(queries, right, strict=True):
            began = time.perf_counter()
            rows = search(query)
            times.append(1000 * (time.perf_counter() - began))
            found += len({*rows[:K].tolist()} & {*names.tolist()})
        print(
            f"| {name} | {width} | {statistics.median(times):.2f} ms | {statistics.quantiles(times, n=100)[98]:.2f} ms "
            f"| {found / right.size:.4f} | {size:,.0f} | {built:.0f} s | {first:,.0f} ms |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--photos", type=Path, help="captions.jsonl beside its photos")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        room = Path(name)
        if options.photos is not None:
            vectors, queries = windows(options.photos, options.count)
            right = exact(vectors, queries)
        else:
            clusters = max(1, options.count // 100)
            vectors = np.concatenate(list(drawn(options.count, 512, 1, clusters)))
            queries = next(drawn(QUERIES, 512, 2, clusters))
            right = truth(queries, options.count, 512, clusters, {})[""]
        for what, values in (("vectors", vectors), ("queries", queries), ("right", right)):
            np.save(room / f"{what}.npy", values)
        print(f"{len(vectors):,} vectors of {vectors.shape[1]}, {len(queries):,} queries\n")
        print("| engine | width | p50 | p99 | recall@10 | bytes a vector | build | cold open and first search |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        del vectors
        for engine in options.engines:
            process = multiprocessing.get_context("spawn").Process(target=measure, args=(engine, room, options.widths))
            process.start()
            process.join()


if __name__ == "__main__":
    main()
