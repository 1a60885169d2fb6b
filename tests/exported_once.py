"""Exports each graph to ONNX once and copies it from then on: torch takes seconds for each."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from clip_italian.export import graphs

LARGEST = 10_000_000  # bytes of weights; larger graphs are exported each time

Room = Callable[[str, Callable[[Path], object]], Path]


@contextmanager
def exported_once(room: Room) -> Iterator[None]:
    """Copy graphs that were exported before.

    `room(name, make)` is the folder of that name, which `make` fills where it is new. The same graph is one of the same
    weights, settings, example inputs and axes.
    """
    export = graphs._write

    def write(
        graph: torch.nn.Module, inputs: dict[str, torch.Tensor], axes: dict[int, Any], file: Path, *outputs: Any
    ) -> tuple[str, ...]:
        weights = graph.state_dict()
        if sum(value.nbytes for value in weights.values()) > LARGEST:
            return export(graph, inputs, axes, file, *outputs)
        configs = [part.config for part in graph.modules() if hasattr(part, "config")]
        settings = [(config.to_dict(), config._attn_implementation) for config in configs]
        digest = hashlib.sha256(repr((graph, settings, list(inputs), axes, outputs)).encode())
        for name, value in sorted((weights | inputs).items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        folder = room(
            f"graph-{digest.hexdigest()[:16]}",
            lambda folder: export(graph, inputs, axes, folder / "graph.onnx", *outputs),
        )
        shutil.copyfile(folder / "graph.onnx", file)
        return tuple(inputs)

    with patch.object(graphs, "_write", write):
        yield
