"""Whole training steps from JPEG files: does the reading keep up with the device?

    python benchmarks/training_run.py --device cuda --pictures 8192 --batch 128 --workers 15 8 0

The paper's recipe with random weights, its second stage (everything moves, pictures distorted afresh at every step),
on made-up pictures of 500 x 375 pixels, with `train` itself. Of its steps.jsonl, the first epoch left out: pictures a
second, and the share of the time that was waiting for data. Beside it the loader alone, and the loader with the
distortion on the device, without a model. Last, the frozen stage's features: pictures a second through the vision
tower, one plain view. Prints Markdown.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clip_italian import languages
from clip_italian.config import Recipe, load_recipe
from clip_italian.models_torch.base import load_base
from clip_italian.models_torch.cut import cut
from clip_italian.models_torch.devices import choose_device
from clip_italian.pairs import Pair, write
from clip_italian.train.features import keep_images
from clip_italian.train.pictures import FilePictures, LivePictures
from clip_italian.train.run import train
from clip_italian.train.step import choose_precision


def draw(path: Path) -> None:
    """Coloured clouds, of a photo's usual size and some 45 kB."""
    rng = np.random.default_rng(int(path.stem))
    clouds = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
    grain = rng.integers(-12, 13, (375, 500, 1))
    Image.fromarray((np.asarray(clouds).astype(int) + grain).clip(0, 255).astype(np.uint8)).save(path, quality=88)


def drawn(folder: Path, count: int) -> list[Path]:
    """So many pictures."""
    paths = [folder / f"{number}.jpg" for number in range(count)]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        pool.map(draw, paths, chunksize=64)
    return paths


def recipe_of(arguments: argparse.Namespace, pairs: Path, output: Path, workers: int) -> Recipe:
    """The paper's second stage alone, on these pairs."""
    recipe = load_recipe(
        "paper",
        [
            f"data.pairs={pairs}", f"output={output}", "model.init=random", f"batch.effective={arguments.batch}",
            f"data.workers={workers}", f"device={arguments.device}", "data.validation=0.02", "checkpoints.every=0",
        ],
    )  # fmt: skip
    stage = recipe.stage[-1].model_copy(update={"epochs": arguments.epochs, "evaluate_every": 99})
    batch = recipe.batch.model_copy(update={"chunk": arguments.chunk or None})
    return recipe.model_copy(update={"stage": (stage,), "batch": batch})


def loader(recipe: Recipe, paths: list[Path], workers: int, device: torch.device | None) -> float:
    """Pictures a second of the loader alone, or with the distortion on a device."""
    encoder = load_base(recipe.model)
    live = LivePictures(FilePictures(paths), encoder.image_processor, recipe.augmentation, workers)
    size = recipe.batch.effective or 0
    plan = [rows.numpy() for rows in torch.arange(len(paths)).split(size)]
    times = [time.perf_counter()]
    for pixels in live.batches(plan, True, list(range(len(plan)))):
        if device is not None:
            live.on_device(pixels, True, device)
            if device.type == "cuda":
                torch.cuda.synchronize()
        times.append(time.perf_counter())
    return (len(paths) - size) / (times[-1] - times[1])


def distortion(recipe: Recipe, device: torch.device, runs: int = 12) -> float:
    """Pictures a second of the distortion alone, a batch at a time."""
    live = LivePictures(FilePictures([]), load_base(recipe.model).image_processor, recipe.augmentation, 0)
    size = recipe.batch.effective or 0
    pixels = torch.randint(0, 256, (size, 3, 224, 224), dtype=torch.uint8)
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        live.on_device(pixels, True, device)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return size / statistics.median(seconds)


def frozen(recipe: Recipe, paths: list[Path], workers: int, device: torch.device) -> float:
    """Pictures a second to kept features."""
    encoder = load_base(recipe.model).to(device)
    start = time.perf_counter()
    keep_images(
        cut(encoder.parts.vision, ()), encoder, FilePictures(paths), torch.arange(len(paths)), 0, recipe.augmentation,
        choose_precision("auto", device), lambda _: None, workers,
    )  # fmt: skip
    return len(paths) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--pictures", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--chunk", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[(os.cpu_count() or 2) - 1])
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    words = [one.label for one in languages.get("it").imagenet]
    with tempfile.TemporaryDirectory() as room:
        os.environ["CLIP_ITALIAN_CACHE"] = f"{room}/cache"
        paths = drawn(Path(room), arguments.pictures)
        pairs = Path(room) / "pairs.jsonl"
        captions = [
            f"una foto di {words[n % len(words)]} accanto a {words[n // 7 % len(words)]}" for n in range(len(paths))
        ]
        write([Pair(p.stem, p.name, (text,), "drawn") for p, text in zip(paths, captions, strict=True)], pairs)
        kilobytes = sum(path.stat().st_size for path in paths) / len(paths) / 1000
        name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
        print(
            f"{name}, torch {torch.__version__}, {os.cpu_count()} threads, {len(paths):,} JPEGs of {kilobytes:.0f} kB"
        )
        recipe = recipe_of(arguments, pairs, Path(room) / "run", 0)
        print(f"distortion alone: {distortion(recipe, device):,.0f} pictures/s\n", flush=True)
        print("| workers | loader | loader and distortion | training | waiting for data | frozen features |")
        print("|---:|---:|---:|---:|---:|---:|")
        for workers in arguments.workers:
            output = Path(room) / f"run-{workers}"
            recipe = recipe_of(arguments, pairs, output, workers)
            alone, both = (loader(recipe, paths, workers, where) for where in (None, device))
            train(recipe)
            steps = [json.loads(line) for line in (output / "steps.jsonl").read_text().splitlines()]
            late = [step for step in steps if step["epoch"] > 1]
            seconds = sum(step["seconds"] for step in late)
            trained = sum(step["samples"] for step in late) / seconds
            waited = sum(step["data_seconds"] for step in late) / seconds
            kept = frozen(recipe, paths, workers, device)
            row = f"{alone:,.0f} | {both:,.0f} | {trained:,.0f} | {waited:.0%} | {kept:,.0f}"
            print(f"| {workers or 'threads'} | {row} |", flush=True)


if __name__ == "__main__":
    main()
