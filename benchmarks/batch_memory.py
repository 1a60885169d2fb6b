"""Peak memory of one step by size of the batch, with chunks and without.

    python benchmarks/batch_memory.py            # 2 cores: about 5 minutes

Two random towers of ViT-S/32 and BERT-small shape, captions of 16 tokens, each step in a process of its own. Prints
Markdown for RESULTS.md: what a step takes beyond the towers, their gradients and the pictures' pixels.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from transformers import BertConfig, BertModel, CLIPVisionConfig, CLIPVisionModel

from clip_italian.config import Loss
from clip_italian.models_torch.cut import whole
from clip_italian.models_torch.towers import join, parts
from clip_italian.train.parallel import Processes
from clip_italian.train.step import Batch, Embedder, compute_gradients

SHAPE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 1536}


def step(size: int, chunk: int | None) -> dict[str, float]:
    """One step on random data: peak memory in MB beyond what was there before it, and seconds."""
    model = join(
        CLIPVisionModel(CLIPVisionConfig(patch_size=32, **SHAPE)), BertModel(BertConfig(vocab_size=8000, **SHAPE)),
        512, 3.0, layers=(1, 1),
    )  # fmt: skip
    towers = parts(model)
    embedder = Embedder(towers, whole(towers.vision), whole(towers.text), 0.0, 0.0, False, torch.float32)
    images = {"pixel_values": torch.rand(size, 3, 224, 224)}
    texts = {"input_ids": torch.randint(5, 8000, (size, 16)), "attention_mask": torch.ones(size, 16, dtype=torch.long)}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = peak()
    started = time.perf_counter()
    rows = torch.arange(size)
    batch = Batch(rows, images, texts, rows)
    compute_gradients(embedder, batch, towers.logit_scale, None, Loss(), chunk, Processes(), (0,))
    return {"megabytes": peak() - before, "seconds": time.perf_counter() - started}


def peak() -> float:
    """Peak resident memory of this process in MB (Linux counts kB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(size: int, chunk: int | None) -> dict[str, float]:
    """`step` in a process of its own."""
    command = [sys.executable, __file__, "--one", str(size), str(chunk or 0)]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[128, 512, 2048, 8192])
    parser.add_argument("--whole", nargs="+", type=int, default=[128, 512], help="sizes without chunks")
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(step(args.one[0], args.one[1] or None)))
        return
    print("| batch | chunk | peak memory of the step, MB | s |\n|---:|---:|---:|---:|")
    for size, chunk in [*((size, args.chunk) for size in args.sizes), *((size, None) for size in args.whole)]:
        found = measured(size, chunk)
        print(f"| {size:,} | {chunk or 'none'} | {found['megabytes']:,.0f} | {found['seconds']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
