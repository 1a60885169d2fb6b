"""Ranking 5,000 pictures against 25,000 captions in three ways: time and memory, all in one run.

    python benchmarks/ranking_speed.py --runs 5
    python benchmarks/ranking_speed.py --pictures 40000 --captions 200000 --ways ours --runs 3

ours       `evaluate.retrieval.rank`: both directions, every score once, in blocks
benchmark  the way of CLIP_benchmark: the whole score matrix and as large a matrix of right answers, and for each K
           and direction the K best of every row as one-hot vectors times the right answers, in batches of 64;
           only K = 5, its default, since every further K costs as much again
notebook   the way of the CLIP-Italian notebook, captions look for pictures only: the whole score matrix and a full
           argsort of each row

The last two are written here from what those programs do, not copied. All three get the same float32 embeddings of
512 dimensions and give the same R@K or MRR@K, which is checked. Each run is a process of its own; memory is its
peak above what it had before ranking (embeddings and libraries loaded). Besides the time on the clock, which
other work on the machine lengthens, it gives the processor's. Prints Markdown with medians.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clip_italian.evaluate import ranks, retrieval

CUTOFFS = (1, 5, 10)
BENCHMARK_CUTOFFS = (5,)
DIM = 512
_BATCH = 64

Figures = dict[str, float]


def world(pictures: int, captions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit embeddings of pictures (n, 512) and captions (m, 512), and the picture of each caption (m,)."""
    rng = np.random.default_rng(0)
    owner = np.arange(captions) * pictures // captions
    images = rng.standard_normal((pictures, DIM), dtype=np.float32)
    texts = rng.standard_normal((captions, DIM), dtype=np.float32)
    for start in range(0, captions, 4096):
        some = slice(start, start + 4096)
        texts[some] += 0.15 * images[owner[some]]
    for rows in (images, texts):
        for start in range(0, len(rows), 4096):
            rows[start : start + 4096] /= np.linalg.norm(rows[start : start + 4096], axis=1, keepdims=True)
    return images, texts, owner


def ours(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> Figures:
    captions_of = np.split(np.arange(len(owner)), np.flatnonzero(np.diff(owner)) + 1)
    data = retrieval.RetrievalSet(
        ("",) * len(owner), tuple((row,) for row in owner.tolist()), tuple(tuple(rows.tolist()) for rows in captions_of)
    )
    found = retrieval.rank(images, texts, data)
    figures = {f"text_to_image R@{k}": ranks.recall(found.text_to_image, k) for k in CUTOFFS}
    figures |= {f"image_to_text R@{k}": ranks.recall(found.image_to_text, k) for k in CUTOFFS}
    return figures | {f"text_to_image MRR@{k}": ranks.mrr(found.text_to_image, k) for k in CUTOFFS}


def benchmark(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> Figures:
    scores = torch.from_numpy(texts) @ torch.from_numpy(images).T
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(texts)), torch.from_numpy(owner)] = True
    figures = {}
    for name, rows, right in (("text_to_image", scores, positive), ("image_to_text", scores.T, positive.T)):
        for k in BENCHMARK_CUTOFFS:
            hits = 0
            for start in range(0, len(rows), _BATCH):
                best = torch.topk(rows[start : start + _BATCH], k, dim=1).indices
                taken = torch.nn.functional.one_hot(best, rows.shape[1])  # (batch, k, gallery) int64
                mine = right[start : start + _BATCH]
                share = (taken * mine[:, None]).sum(dim=(1, 2)) / mine.sum(dim=1)
                hits += int((share > 0).sum())
            figures[f"{name} R@{k}"] = hits / len(rows)
    return figures


def notebook(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> Figures:
    scores = texts @ images.T
    order = np.argsort(-scores, axis=1)
    figures = {}
    for k in CUTOFFS:
        total = 0.0
        for row, wanted in zip(order, owner, strict=True):
            place = np.flatnonzero(row[:k] == wanted)
            total += 1 / (1 + place[0]) if len(place) else 0.0
        figures[f"text_to_image MRR@{k}"] = total / len(order)
    return figures


WAYS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Figures]] = {
    "ours": ours, "benchmark": benchmark, "notebook": notebook,
}  # fmt: skip


def measure(way: str, pictures: int, captions: int, sink: Any) -> None:
    """One run in this process: seconds on the clock and of the processor, MB above the start and of the whole
    process, and the figures."""
    made = world(pictures, captions)
    # Threads of BLAS and torch start, and their buffers are made, before the clock does.
    WAYS[way](*world(200, 1000))
    before = _resident()
    peak, done = [before], threading.Event()
    watcher = threading.Thread(target=_watch, args=(peak, done))
    watcher.start()
    start, start_work = time.perf_counter(), time.process_time()
    figures = WAYS[way](*made)
    seconds, work = time.perf_counter() - start, time.process_time() - start_work
    done.set()
    watcher.join()
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sink.put({"seconds": seconds, "work": work, "above": (peak[0] - before) / 1024, "whole": whole, "figures": figures})


def _watch(peak: list[float], done: threading.Event) -> None:
    while not done.wait(0.005):
        peak[0] = max(peak[0], _resident())


def _resident() -> float:
    """Resident memory of this process in kB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=5_000)
    parser.add_argument("--captions", type=int, default=25_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    processes = multiprocessing.get_context("spawn")
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in options.ways}
    for _ in range(options.runs):
        for way in options.ways:  # in turn, so that what else the machine does meets all of them
            sink = processes.SimpleQueue()
            process = processes.Process(target=measure, args=(way, options.pictures, options.captions, sink))
            process.start()
            found[way].append(sink.get())
            process.join()
            print(way, {key: round(found[way][-1][key], 2) for key in ("seconds", "work", "above")}, file=sys.stderr)
    print(f"{options.pictures:,} pictures, {options.captions:,} captions, median of {options.runs} runs:\n")
    print("| way | time | fastest – slowest | processor time | memory for ranking | whole process |")
    print("|---|---:|---:|---:|---:|---:|")
    for way, runs in found.items():
        seconds = sorted(run["seconds"] for run in runs)
        work, above, whole = (statistics.median(run[key] for run in runs) for key in ("work", "above", "whole"))
        spread = f"{seconds[0]:.2f} – {seconds[-1]:.2f} s"
        middle = f"{statistics.median(seconds):.2f} s | {spread} | {work:.1f} s"
        print(f"| {way} | {middle} | {above:,.0f} MB | {whole:,.0f} MB |")
    agreement(found)


def agreement(found: dict[str, list[dict[str, Any]]]) -> None:
    """Say how far the figures of the ways differ."""
    figures = {way: runs[0]["figures"] for way, runs in found.items()}
    base = figures.get("ours", {})
    for way, mine in figures.items():
        if way != "ours" and base:
            furthest = max(abs(value - base[name]) for name, value in mine.items())
            print(f"\n{way}: {len(mine)} figures differ from ours by at most {furthest:.1e}")
    print("\n" + json.dumps(ranks.rounded(base or next(iter(figures.values())))))


if __name__ == "__main__":
    main()
