"""A frozen step with kept features beside one that runs the towers: the paper's recipe, random full-size towers.

    python benchmarks/kept_features.py           # 2 cores: about 5 minutes

Pictures are random JPEG files of 320 x 240, captions random words; batches of 64, plain pictures, dropout off. Samples
a second are those that the run itself writes into steps.jsonl, the wait for data included: the median of its
steps but the first. Prints Markdown for RESULTS.md.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from clip_italian import languages, pairs
from clip_italian.config import Recipe, load_recipe
from clip_italian.pairs import Pair
from clip_italian.train.run import train


def write_pictures(folder: Path, count: int) -> Path:
    """A pairs file of `count` random pictures, a fifth of them for validation."""
    draw, noise = random.Random(1), np.random.default_rng(1)
    words = " ".join(one.label for one in languages.get("it").imagenet).split()
    found = []
    for number in range(count):
        pixels = noise.integers(0, 255, (12, 16, 3), np.uint8)
        Image.fromarray(pixels).resize((320, 240)).save(folder / f"{number}.jpg")
        caption = f"{number} " + " ".join(draw.choices(words, k=10))
        split = "val" if number % 5 == 0 else "train"
        found.append(Pair(str(number), f"{number}.jpg", (caption,), "random", split=split))
    pairs.write(found, folder / "pairs.jsonl")
    return folder / "pairs.jsonl"


def samples_a_second(recipe: Recipe) -> float:
    """Train, and take the median over the steps but the first."""
    train(recipe, unfinished="restart")
    steps = [json.loads(line) for line in (recipe.output / "steps.jsonl").read_text().splitlines()]
    return statistics.median(step["samples"] / step["seconds"] for step in steps[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=400)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        os.environ["CLIP_ITALIAN_CACHE"] = f"{room}/cache"
        file = write_pictures(Path(room), args.pictures)
        plain = load_recipe("paper", [f"data.pairs={file}", "model.init=random", "batch.effective=64"])
        figures = {}
        for cached, epochs in ((True, 10), (False, 2)):
            more = {"cached": cached, "views": 0, "tower_dropout": False, "epochs": epochs, "evaluate_every": epochs}
            stage = plain.stage[0].model_copy(update=more)
            output = Path(room) / f"run-{cached}"
            figures[cached] = samples_a_second(plain.model_copy(update={"stage": (stage,), "output": output}))
        print("| frozen step, ViT-B/32 + BERT-base | samples/s |\n|---|---:|")
        print(f"| towers at every step | {figures[False]:.1f} |\n| kept features | {figures[True]:,.0f} |")
        print(f"\n{figures[True] / figures[False]:.0f} times as many.")


if __name__ == "__main__":
    main()
