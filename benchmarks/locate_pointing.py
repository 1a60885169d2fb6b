"""Pointing at what words say in pictures whose objects' places are known: the original demo's ways and ours.

    OMP_NUM_THREADS=1 python benchmarks/locate_pointing.py --count 80

cells     every cell of a grid (16 on the longer side) hidden in grey, one after the other; heat is what the cosine of
          picture and words loses
strips    the original demo's way at the same resolution (`localization.py` of its Hugging Face space): grey but for the
          rows i to j, for all i and j, then for the columns; the mean embeddings of the strips over a row, and over a
          column, are combined for each cell and compared with the words
crops     `search.locate` for any model: square crops of three sizes, the smaller ones where the larger fit best
maps      `search.locate` for an EfficientNet: windows of the last map of two enlarged pictures

Hiding and strips are written here from what the demo does, not copied. A hit is a point inside the object's box. All
ways are read alike: a box around the maximum of the heat, a point at the heat's centre in it. For `cells` and `strips`
each figure is the best that any border of the box gives on these very pictures, and any number of the demo's refinement
steps or a point at the maximum itself: no setting of ours wrongs them.

Objects are those that the model knows when it sees them alone: of all captions of the picture book their own is among
the first ten. Prints Markdown.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import torch
from locate_scenes import Box, Scene, Thing, compose, drawable, things
from PIL import Image
from scipy.stats import binomtest

from clip_italian import DualEncoder, console, languages
from clip_italian.files import atomic, cache
from clip_italian.pictures.decoding import fit_square
from clip_italian.search.locate import locate, read

CELLS = 16  # of the longer side
KNOWN = 10  # the own caption's rank
ALIKE = 0.6  # cosine of captions from which on one thing may be taken for the other
GREY = (127, 127, 127)
BORDERS = tuple(np.arange(0.3, 0.95, 0.05).tolist())
STEPS = 4  # refinement steps of strips: none to three, the demo's default
IT = languages.get("it")

Heats = list[np.ndarray]  # variants of one heat map (rows, columns)


@dataclass(frozen=True)
class Answer:
    """A way's point and box in one picture, in pixels."""

    point: tuple[float, float]
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Run:
    """What a way found in one picture, by the variant of reading, with its cost: pictures encoded, and seconds."""

    answers: dict[str, Answer]
    encoded: float
    seconds: float


class WithoutMaps(DualEncoder):
    """A model whose tower's maps are not used."""

    has_maps = False


def grid_of(size: tuple[int, int]) -> tuple[int, int]:
    """Columns and rows of cells."""
    columns, rows = (max(1, round(CELLS * side / max(size))) for side in size)
    return columns, rows


def edges(side: int, count: int) -> list[int]:
    """Where `count` cells of a side begin and end, in pixels."""
    found: list[int] = np.rint(np.linspace(0, side, count + 1)).astype(int).tolist()
    return found


def hidden(image: Image.Image, box: Box) -> Image.Image:
    copy = image.copy()
    copy.paste(GREY, box)
    return copy


def cells(encoder: DualEncoder, scene: Scene, query: np.ndarray) -> tuple[Heats, float]:
    """What each cell hides: (rows, columns)."""
    columns, rows = grid_of(scene.image.size)
    x, y = (edges(side, count) for side, count in zip(scene.image.size, (columns, rows), strict=True))
    pictures = [hidden(scene.image, (x[c], y[r], x[c + 1], y[r + 1])) for r in range(rows) for c in range(columns)]
    whole, *parts = encoder.encode_images([scene.image, *pictures]) @ query
    return [whole - np.reshape(parts, (rows, columns))], 1 + len(pictures)


def strips(encoder: DualEncoder, scene: Scene, query: np.ndarray) -> tuple[Heats, float]:
    """The demo's heat after no refinement step, one, two …"""
    width, height = scene.image.size
    columns, rows = grid_of(scene.image.size)
    square = Image.new("RGB", (max(width, height),) * 2, GREY)
    left, top = (square.width - width) // 2, (square.height - height) // 2

    def only(box: Box) -> Image.Image:
        result = square.copy()
        result.paste(scene.image.crop(box), (left + box[0], top + box[1]))
        return result

    def mean(count: int, box: Callable[[int, int], Box]) -> tuple[np.ndarray, np.ndarray]:
        """Sums over each of `count` cells of the embeddings of strips, by the inverse of their share, and of that."""
        spans = list(combinations(range(count + 1), 2))
        embedded = encoder.encode_images([only(box(*span)) for span in spans])
        sums, weights = np.tile(whole, (count, 1)), np.ones((count, 1))
        for (start, stop), one in zip(spans, embedded, strict=True):
            sums[start:stop] += one * count / (stop - start)
            weights[start:stop] += count / (stop - start)
        return sums, weights

    whole = encoder.encode_images([only((0, 0, width, height))])[0]
    x, y = edges(width, columns), edges(height, rows)
    down, down_weights = mean(rows, lambda i, j: (0, y[i], width, y[j]))
    across, weights = mean(columns, lambda i, j: (x[i], 0, x[j], height))
    both = np.minimum(across[None] * np.abs(down[:, None]), np.abs(across[None]) * down[:, None])
    score = (both / ((weights[None] + 1) * (down_weights[:, None] + 1))) @ query
    heats = [score]
    for _ in range(STEPS - 1):
        heats.append(np.clip(heats[-1] - heats[-1].mean(), 0, None))
    return heats, 1 + sum(n * (n + 1) // 2 for n in (rows, columns))


def read_all(heats: Heats, size: tuple[int, int]) -> dict[str, Answer]:
    """Every way to read the variants of a heat map."""
    answers = {}
    for number, heat in enumerate(heats):
        relative = (heat - heat.min()) / max(heat.max() - heat.min(), 1e-12)
        row, column = np.unravel_index(relative.argmax(), relative.shape)
        peak = (column + 0.5) * size[0] / heat.shape[1], (row + 0.5) * size[1] / heat.shape[0]
        for border in BORDERS:
            box, point = read(relative, size, border)
            answers[f"{number} {border:.2f}"] = Answer(point, box)
            answers[f"{number} {border:.2f} peak"] = Answer(peak, box)
    return answers


def by_hiding(
    way: Callable[[DualEncoder, Scene, np.ndarray], tuple[Heats, float]], encoder: DualEncoder, scene: Scene
) -> Run:
    started = time.perf_counter()
    heats, encoded = way(encoder, scene, encoder.encode_text([scene.query])[0])
    return Run(read_all(heats, scene.image.size), encoded, time.perf_counter() - started)


def ours(encoder: DualEncoder, scene: Scene) -> Run:
    started = time.perf_counter()
    found = locate(encoder, scene.image, scene.query, IT)
    return Run({"": Answer(found.point, found.box)}, found.encoded, time.perf_counter() - started)


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def inside(point: Sequence[float], box: Box) -> bool:
    return box[0] <= point[0] < box[2] and box[1] <= point[1] < box[3]


def known_things(encoder: DualEncoder) -> tuple[list[Thing], np.ndarray]:
    """The things that the model knows, and which of them are alike (n, n); kept in the cache, by the model's hash."""
    pool = drawable(things(IT))
    kept = cache.cache_dir() / "benchmarks" / f"picture-book-{encoder.weights_hash}-{len(pool)}.npz"
    if not kept.is_file():
        captions = encoder.encode_text([one.caption for one in pool])
        pictures = []
        with console.progress("things", len(pool)) as advance:
            for one in pool:
                pictures.append(encoder.encode_images([fit_square(one.draw(), 288)]))
                advance(1)
        with atomic.staged(kept) as temporary:
            np.savez(temporary, captions=captions, pictures=np.concatenate(pictures))
    with np.load(kept) as arrays:
        captions, pictures = arrays["captions"], arrays["pictures"]
    scores = pictures @ captions.T
    rows = np.flatnonzero((scores > scores.diagonal()[:, None]).sum(axis=1) < KNOWN)
    return [pool[row] for row in rows], captions[rows] @ captions[rows].T > ALIKE


def report(runs: dict[str, list[Run]], scenes: Sequence[Scene], recognised: Sequence[bool]) -> None:
    chance = np.mean([np.prod(np.subtract(one.box[2:], one.box[:2])) / np.prod(one.image.size) for one in scenes])
    grids = np.array([scene.kind == "grid" for scene in scenes])
    print("| | pictures encoded | seconds | hit rate | 95 % interval | grids | scenes | mean IoU | IoU ≥ 0.5 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, mine in runs.items():
        all_hits, all_overlaps = [], []
        for variant in mine[0].answers:
            pairs = [(run.answers[variant], scene.box) for run, scene in zip(mine, scenes, strict=True)]
            all_hits.append(np.array([inside(answer.point, box) for answer, box in pairs]))
            all_overlaps.append(np.array([overlap(answer.box, box) for answer, box in pairs]))
        hits, overlaps = max(all_hits, key=np.mean), max(all_overlaps, key=np.mean)
        low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
        print(
            f"| {name} | {np.mean([run.encoded for run in mine]):.1f} | {np.mean([run.seconds for run in mine]):.1f} "
            f"| {hits.mean():.3f} | {low:.3f} to {high:.3f} | {hits[grids].mean():.3f} | {hits[~grids].mean():.3f} "
            f"| {overlaps.mean():.3f} | {np.mean(overlaps >= 0.5):.3f} |"
        )
    print(f"| the right one of the cut-outs | | | {np.mean(recognised):.3f} | | | | | |")
    print(f"| a random point | | | {chance:.3f} | | | | | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--seed", type=int, default=10)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--ways", nargs="+", default=["cells", "strips", "crops", "maps"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    encoder = DualEncoder.load(arguments.model)
    without = WithoutMaps.load(arguments.model)
    ways: dict[str, Callable[[Scene], Run]] = {
        "cells": lambda scene: by_hiding(cells, encoder, scene),
        "strips": lambda scene: by_hiding(strips, encoder, scene),
        "crops": lambda scene: ours(without, scene),
        "maps": lambda scene: ours(encoder, scene),
    }
    pool, alike = known_things(encoder)
    scenes = list(compose(pool, alike, arguments.count, arguments.seed))
    runs: dict[str, list[Run]] = {name: [] for name in arguments.ways}
    recognised, there, absent = [], [], []
    with console.progress("scenes", len(scenes)) as advance:
        for number, scene in enumerate(scenes):
            cutouts = encoder.encode_images([fit_square(one, 288) for one in scene.cutouts])
            recognised.append(int((cutouts @ encoder.encode_text([scene.query])[0]).argmax()) == 0)
            for name in arguments.ways:
                runs[name].append(ways[name](scene))
            others = (one.query for one in scenes[number + 1 :] + scenes if one.query not in scene.captions)
            there.append(locate(encoder, scene.image, scene.query, IT).strength)
            absent.append(locate(encoder, scene.image, next(others), IT).strength)
            advance(1)
    print(f"{len(scenes)} pictures of {len(pool)} things, seed {arguments.seed}, model {arguments.model}\n")
    report(runs, scenes, recognised)
    stronger = np.mean([mine > other for mine, other in product(there, absent)])
    print(f"\nStrength of what is in a picture above that of what is not: {stronger:.3f} of all pairs.")


if __name__ == "__main__":
    main()
