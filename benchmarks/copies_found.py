"""How many distorted copies of photos are found, and how many different pictures are taken for one.

    python benchmarks/copies_found.py ../shared/flickr8k-it/images --distorted 40 --others FOLDER … --seconds 600

Distortions are looked at by the second look (`copies.same`) and, with `--features`, by the cosine of the packaged
tower's features. False positives: all pictures of all folders; pairs that `split` proposes by features or, without
`--features`, neighbours by a grey thumbnail of 16 x 16 pixels (cosine 0.85, six each). Prints Markdown. Pairs that
differ by less than 3 of 255 a pixel may be copies and are only counted; of the others a sheet is written to be judged
by eye.
"""

import argparse
import io
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from clip_italian.models_torch.copy_features import CopyFeatures
from clip_italian.pictures.copies import FLOOR, Thumbnail, features_of, propose, same, signatures
from clip_italian.pictures.decoding import PictureError, open_picture
from clip_italian.pictures.walk import find_pictures

Distort = Callable[[Image.Image], Image.Image]


def cut(left: float, top: float, right: float, bottom: float) -> Distort:
    """Cut shares of the sides off."""
    return lambda i: i.crop(
        (round(i.width * left), round(i.height * top), round(i.width * (1 - right)), round(i.height * (1 - bottom)))
    )


def jpeg(image: Image.Image) -> Image.Image:
    """Saved with quality 30."""
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=30)
    return Image.open(sink).convert("RGB")


def half(image: Image.Image) -> Image.Image:
    """Half the sides."""
    return image.resize((image.width // 2, image.height // 2))


def lettered(image: Image.Image) -> Image.Image:
    """A credit on white at the lower right."""
    image = image.copy()
    pen = ImageDraw.Draw(image)
    pen.rectangle((0.6 * image.width, 0.92 * image.height, image.width, image.height), fill="white")
    pen.text((0.62 * image.width, 0.93 * image.height), "Foto: Mario Rossi", fill="black")
    return image


def brightness(factor: float) -> Distort:
    """All values times a factor."""
    return lambda image: ImageEnhance.Brightness(image).enhance(factor)


DISTORTIONS: dict[str, Distort] = {
    "brightness × 0.82": brightness(0.82),
    "brightness × 1.15": brightness(1.15),
    "brightness × 1.2": brightness(1.2),
    "contrast × 1.25": lambda image: ImageEnhance.Contrast(image).enhance(1.25),
    "mirrored": ImageOps.mirror,
    "3 % cut off each side": cut(*[0.03] * 4),
    "5 % cut off each side": cut(*[0.05] * 4),
    "10 % cut off each side": cut(*[0.1] * 4),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "JPEG 30": jpeg,
    "half size": half,
    "15 % cut off at the left": cut(0.15, 0, 0, 0),
    "15 % cut off at the top": cut(0, 0.15, 0, 0),
    "mirrored, 5 % cut off, × 1.15": lambda image: brightness(1.15)(cut(*[0.05] * 4)(ImageOps.mirror(image))),
    "10 % cut off, half size, JPEG 30": lambda image: jpeg(half(cut(*[0.1] * 4)(image))),
    "credit at the edge": lettered,
    "white border of 4 %": lambda image: ImageOps.expand(image, round(0.04 * min(image.size)), "white"),
}


def distorted(paths: list[Path], features: bool) -> None:
    """The table of distortions."""
    pictures = [open_picture(path) for path in paths]
    looks = [Thumbnail.of(picture) for picture in pictures]
    encoder = None
    if features:
        encoder = CopyFeatures.load()
        known = np.concatenate([encoder.encode([picture]) for picture in pictures])
    print(f"| {len(paths)} photos | confirmed | proposed | lowest cosine | bits |\n|---|---:|---:|---:|---:|")
    for name, distort in DISTORTIONS.items():
        changed = [distort(picture) for picture in pictures]
        found = sum(same(look, Thumbnail.of(picture)) for look, picture in zip(looks, changed, strict=True))
        told = "| | |"
        if encoder is not None:
            theirs = np.concatenate([encoder.encode([picture]) for picture in changed])
            cosines = (known * theirs).sum(axis=1)
            bits = np.bitwise_count(signatures(known) ^ signatures(theirs)).sum(axis=1)
            told = f"{(cosines >= FLOOR).sum()} | {cosines.min():.3f} | {bits.max()} |"
        print(f"| {name} | {found} | {told}", flush=True)


def different(folders: list[Path], features: bool, seconds: float, sheet: Path) -> None:
    """Looks at neighbours among all pictures, as many as time allows; those taken for one go to a sheet."""
    small, paths = [], []
    for path in (path for folder in folders for path in find_pictures(folder)):
        try:
            small.append(open_picture(path, at_least=256).resize((64, 64), Image.Resampling.BOX))
            paths.append(path)
        except PictureError:
            continue
    proposed = propose(features_of(paths, CopyFeatures.load())) if features else thumbnail_neighbours(small)
    random.Random(0).shuffle(proposed)
    found, seen, end = [], 0, time.monotonic() + seconds
    for a, b in proposed:
        if time.monotonic() > end:
            break
        seen += 1
        if same(Thumbnail.of(small[a]), Thumbnail.of(small[b])):
            found.append((a, b))
    apart = [(a, b) for a, b in found if np.abs(np.asarray(small[a], int) - np.asarray(small[b])).mean() >= 3]
    print(f"{len(small):,} pictures, {len(proposed):,} neighbours, {seen:,} looked at: {len(found):,} taken for one,")
    print(f"of which {len(apart):,} differ by 3 of 255 or more: {sheet}")
    kinds = Counter(" and ".join(sorted({paths[a].parent.name, paths[b].parent.name})) for a, b in apart)
    print("; ".join(f"{kind}: {count:,}" for kind, count in kinds.most_common()))
    page = Image.new("RGB", (1440, 75 * (len(apart) // 10 + 1)), "red")
    for place, pair in enumerate(apart):
        for side, one in enumerate(pair):
            page.paste(small[one], (place % 10 * 144 + side * 71, place // 10 * 75))
    page.save(sheet)


def thumbnail_neighbours(small: list[Image.Image]) -> list[tuple[int, int]]:
    """Pairs of pictures whose grey thumbnails are near each other."""
    thumbnails = [one.convert("L").resize((16, 16), Image.Resampling.BOX) for one in small]
    rows = np.stack([np.asarray(one, np.float32).ravel() for one in thumbnails])
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-3)
    return propose(rows, 0.85, 6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--distorted", type=int, default=40, help="photos to distort")
    parser.add_argument("--features", action="store_true", help="use the packaged tower")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="folders of pictures that differ")
    parser.add_argument("--seconds", type=float, default=600, help="time for the neighbours")
    parser.add_argument("--sheet", type=Path, default=Path("copies.png"))
    options = parser.parse_args()
    distorted(find_pictures(options.photos)[: options.distorted], options.features)
    if options.others:
        different([options.photos, *options.others], options.features, options.seconds, options.sheet)


if __name__ == "__main__":
    main()
