"""How many picture files a second become embeddings: ours beside open_clip's own way, ViT-B/32 with random weights.

    python benchmarks/embedding_files.py --device cuda --pictures 8192 --workers 15

*Ours* is `encode_files`, which `evaluate` uses: threads decode and prepare, float32. *Index* is `clip-italian index
build`'s work as a whole: hashes, dates, looks and the index itself beside the embeddings. *open_clip* is what its users
write: its transform in torch's DataLoader with so many workers, then `encode_image`, in float32 or under bf16 autocast.
Each in a process of its own, in turns, the files warm; medians over the rounds. Prints Markdown.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

BATCH = 128


def ours(paths: list[Path], device: torch.device, workers: int, room: Path) -> float:
    """Seconds of `encode_files`, without loading."""
    from clip_italian.config import load_recipe
    from clip_italian.models_torch.base import load_base

    encoder = load_base(load_recipe("paper", ["model.init=random"]).model).to(device)
    encoder.encode_files(paths[: 2 * BATCH])
    start = time.perf_counter()
    found = encoder.encode_files(paths)[1]
    assert len(found) == len(paths)
    return time.perf_counter() - start


def index(paths: list[Path], device: torch.device, workers: int, room: Path) -> float:
    """Seconds of an index build, without loading."""
    from clip_italian.config import load_recipe
    from clip_italian.models_torch.base import load_base
    from clip_italian.search import update

    encoder = load_base(load_recipe("paper", ["model.init=random"]).model).to(device)
    encoder.encode_files(paths[: 2 * BATCH])
    start = time.perf_counter()
    update.build(room / "idx", [paths[0].parent], update.Model(encoder, "random"))
    return time.perf_counter() - start


def open_clip(paths: list[Path], device: torch.device, workers: int, room: Path, bf16: bool = False) -> float:
    """Seconds of open_clip's model over a DataLoader, whose start is in it."""
    import open_clip as library
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    model, _, transform = library.create_model_and_transforms("ViT-B-32-quickgelu", device=device)
    model.eval()

    class Files(Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, number: int) -> torch.Tensor:
            return transform(Image.open(paths[number]))

    def run(some: int) -> None:
        loader = DataLoader(
            torch.utils.data.Subset(Files(), range(some)), BATCH, num_workers=workers, pin_memory=device.type == "cuda"
        )
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            found = [
                model.encode_image(part.to(device, non_blocking=True), normalize=True).float().cpu() for part in loader
            ]
        assert sum(map(len, found)) == some

    run(2 * BATCH)
    start = time.perf_counter()
    run(len(paths))
    return time.perf_counter() - start


def in_bf16(paths: list[Path], device: torch.device, workers: int, room: Path) -> float:
    return open_clip(paths, device, workers, room, bf16=True)


SIDES: dict[str, Callable[[list[Path], torch.device, int, Path], float]] = {
    "ours": ours, "index": index, "open_clip": open_clip, "open_clip bf16": in_bf16,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pictures", type=int, default=2048)
    parser.add_argument("--workers", type=int, default=(os.cpu_count() or 2) - 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--peers", default=str(Path(__file__).parent.parent / ".venv-peers/bin/python"))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        side, folder = arguments.one
        paths = sorted(Path(folder).glob("*.jpg"))
        with tempfile.TemporaryDirectory() as room:
            os.environ["CLIP_ITALIAN_CACHE"] = f"{room}/cache"
            print(SIDES[side](paths, torch.device(arguments.device), arguments.workers, Path(room)))
        return
    from training_run import drawn

    taken: dict[str, list[float]] = {side: [] for side in arguments.sides}
    with tempfile.TemporaryDirectory() as room:
        drawn(Path(room), arguments.pictures)
        more = ["--device", arguments.device, "--workers", str(arguments.workers)]
        for _ in range(arguments.rounds):
            for side in arguments.sides:
                python = arguments.peers if side.startswith("open_clip") else sys.executable
                command = [python, __file__, "--one", side, room, *more]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    print(f"{side}: {done.stderr[-1500:]}", file=sys.stderr)
                    continue
                taken[side].append(json.loads(done.stdout.splitlines()[-1]))
    print("| way | pictures/s | slowest – fastest |\n|---|---:|---:|")
    for side, seconds in taken.items():
        if seconds:
            rates = [arguments.pictures / one for one in seconds]
            print(f"| {side} | {statistics.median(rates):,.0f} | {min(rates):,.0f} – {max(rates):,.0f} |")


if __name__ == "__main__":
    main()
