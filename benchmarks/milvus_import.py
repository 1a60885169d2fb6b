"""Speed and memory of writing generated rows to Milvus, reading them back for an update, and searching.

    python benchmarks/milvus_import.py --rows 50000 [--store milvus://HOST:PORT/COLLECTION]

Without --store a file of Milvus Lite in a temporary folder. The collection is replaced, and dropped in the end.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian.search.commit import write_part
from clip_italian.search.filters import Filter
from clip_italian.search.index import Index
from clip_italian.search.milvus import Collection, MilvusWriter
from clip_italian.search.schema import EMBEDDED, EXISTING, Manifest

DIM = 512
WORDS = 5_000  # of captions: the first is in every ninth, the later the rarer
FIRST, SECOND, LATER = "xaaaax", "xaaabx", "xaajax"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--store")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = arguments.store or f"milvus://{folder}/lite.db/rows"
        measure(Path(folder), arguments.rows, store)
        collection = Collection(store)
        collection.client.drop_collection(collection.name)


def measure(folder: Path, rows: int, store: str) -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((rows, DIM), dtype=np.float32)
    write_part(folder / "part", EMBEDDED.empty_table(), vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    del vectors
    with pq.ParquetWriter(folder / "new.parquet", EXISTING) as file:
        for start in range(0, rows, 10_000):
            file.write_table(table(random, start, min(start + 10_000, rows)))
    index = folder / "rows.idx"
    manifest = Manifest(model="0123456789abcdef", model_name="none", dim=DIM, store=store, roots=["/photos"])
    writer = MilvusWriter(index, manifest, empty=True)
    list(writer.existing())
    print(f"{rows:,} rows of {DIM} numbers; before: {memory()}")
    seconds = timed("write", lambda: writer.commit(manifest, [folder / "part"], folder / "new.parquet", {}))
    print(f"  {rows / seconds:,.0f} rows/s; {memory()}")
    opened = Index.open(index)
    query = random.standard_normal(DIM).astype(np.float32)
    for _ in range(2):
        timed("search by look", lambda: opened.search(query, 10))
        timed("search by look, with a filter", lambda: opened.search(query, 10, where=Filter(camera="d90")))
        timed("search by look and a rare word", lambda: opened.search(query, 10, words=LATER))
        timed("search by look and two words", lambda: opened.search(query, 10, words=f"{FIRST} {SECOND}"))
        timed("search by look and a word of every ninth row", lambda: opened.search(query, 10, words=FIRST))
        timed("search by a word of every ninth row", lambda: opened.search(None, 10, words=FIRST))
    timed("read for an update", lambda: [None for _ in writer.existing()])
    print(f"  {memory()}")


def table(random: np.random.Generator, start: int, stop: int) -> pa.Table:
    """Rows with captions of eight words, and a camera in every third."""
    words = (random.random((stop - start, 8)) ** 2 * WORDS).astype(int)
    rows = [
        dict.fromkeys(EXISTING.names)
        | {"id": f"{at % 1_000}/{at}.jpg", "path": f"{at % 1_000}/{at}.jpg", "root": 0, "keywords": ["a", "b"]}
        | {"caption": " ".join(name(word) for word in some), "camera": None if at % 3 else "NIKON D90"}
        | {"store": 1, "pos": at}
        for at, some in zip(range(start, stop), words.tolist(), strict=True)
    ]
    return pa.Table.from_pylist(rows, EXISTING)


def name(word: int) -> str:
    """The n-th word: four letters between two others, in place of digits, which are words of their own."""
    return "x" + "".join(chr(ord("a") + int(digit)) for digit in f"{word:04}") + "x"


def timed(what: str, work: Callable[[], Any]) -> float:
    """Seconds that some work takes, which are printed too."""
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    print(f"  {what}: {seconds:.3f} s", flush=True)
    return seconds


def memory() -> str:
    return f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB in memory"


if __name__ == "__main__":
    main()
