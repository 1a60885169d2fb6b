"""How fast pictures become the training's input: our loader beside torch's DataLoader with Pillow, as scripts do it.

    python benchmarks/feeding_speed.py FOLDER_WITH_JPEGS --size 224 --workers 0 1 2

The other side is what the published script's data loading comes to without torchvision, which cannot be installed
beside the CPU build of torch that we use: open, convert to RGB, resize the short side bicubically, crop from the
middle, divide by 255, normalise, one picture a sample, collated by DataLoader. Ours decodes, resizes and crops in
the workers, sends bytes, and normalises batches. Both give the same pixels for photos that JPEG draft scaling
leaves alone. Photos are also enlarged to `--large` pixels on their short side, as cameras and the web have them,
since draft scaling only pays there. Prints Markdown; medians of `--runs` runs over `--count` pictures.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian.config import Augmentation
from clip_italian.pictures.walk import find_pictures
from clip_italian.train import pictures
from clip_italian.train.pictures import FilePictures, LivePictures

BATCH = 64
CPU = torch.device("cpu")


class PlainDataset(Dataset):
    """A picture a sample, by Pillow and numpy."""

    def __init__(self, paths: Sequence[Path], processor: CLIPImageProcessorPil, size: int) -> None:
        self._paths, self._size = paths, size
        self._mean = torch.tensor(processor.image_mean).view(3, 1, 1)
        self._std = torch.tensor(processor.image_std).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        image = Image.open(self._paths[number]).convert("RGB")
        factor = self._size / min(image.size)
        image = image.resize(
            (int(image.width * factor + 1e-6), int(image.height * factor + 1e-6)), Image.Resampling.BICUBIC
        )
        left, top = (image.width - self._size) // 2, (image.height - self._size) // 2
        image = image.crop((left, top, left + self._size, top + self._size))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (pixels - self._mean) / self._std


def plain(paths: Sequence[Path], size: int, workers: int) -> None:
    """All pictures once through DataLoader and Pillow."""
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    for _ in DataLoader(PlainDataset(paths, processor, size), batch_size=BATCH, num_workers=workers):
        pass


def ours(paths: Sequence[Path], size: int, workers: int, margin: int | None) -> None:
    """All pictures once through our loader; `margin` None: whole JPEGs."""
    pictures.PLAIN_MARGIN = margin or 1_000_000  # type: ignore[misc]
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    live = LivePictures(FilePictures(paths), processor, Augmentation(), workers)
    plan = [rows.numpy() for rows in torch.arange(len(paths)).split(BATCH)]
    for pixels in live.batches(plan, False, [0] * len(plan)):
        live.on_device(pixels, False, CPU)


def enlarged(paths: Sequence[Path], side: int, folder: Path) -> list[Path]:
    """The pictures with `side` pixels on their short side, as JPEG files of quality 90."""
    found = []
    for path in paths:
        image = Image.open(path).convert("RGB")
        factor = side / min(image.size)
        found.append(folder / f"{path.stem}.jpg")
        image.resize((round(image.width * factor), round(image.height * factor))).save(found[-1], quality=90)
    return found


def rates(kinds: dict[str, Callable[[], None]], count: int, runs: int) -> dict[str, tuple[float, float]]:
    """Pictures a second and pictures a second of processor time of all processes; the kinds take turns."""
    import resource

    def used() -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    walls: dict[str, list[float]] = {name: [] for name in kinds}
    cores: dict[str, list[float]] = {name: [] for name in kinds}
    for run in range(runs + 1):
        for name, work in kinds.items():
            start, before = time.perf_counter(), used()
            work()
            if run:  # the first one warms the files up
                walls[name].append(count / (time.perf_counter() - start))
                cores[name].append(count / (used() - before))
    return {name: (statistics.median(walls[name]), statistics.median(cores[name])) for name in kinds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--large", type=int, default=1000)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    small = [path for path in find_pictures(arguments.folder) if path.suffix == ".jpg"][: arguments.count]
    with tempfile.TemporaryDirectory() as room:
        files = {"as they are": small, f"{arguments.large} px": enlarged(small, arguments.large, Path(room))}
        print("| photos | workers | loader | images/s | images/s of processor time |")
        print("|---|---:|---|---:|---:|")
        for label, paths in files.items():
            for workers in arguments.workers:
                kinds: dict[str, Callable[[], None]] = {
                    "DataLoader + Pillow": lambda p=paths, w=workers: plain(p, arguments.size, w),  # type: ignore[misc]
                    "ours, whole JPEGs": lambda p=paths, w=workers: ours(p, arguments.size, w, None),  # type: ignore[misc]
                    "ours, plain": lambda p=paths, w=workers: ours(p, arguments.size, w, 2),  # type: ignore[misc]
                    "ours, to be distorted": lambda p=paths, w=workers: ours(p, arguments.size, w, 1),  # type: ignore[misc]
                }
                for name, (wall, core) in rates(kinds, len(paths), arguments.runs).items():
                    print(f"| {label} | {workers or 'threads'} | {name} | {wall:.0f} | {core:.0f} |", flush=True)


if __name__ == "__main__":
    main()
