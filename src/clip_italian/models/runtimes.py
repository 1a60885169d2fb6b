"""Runs exported graphs with onnxruntime or OpenVINO, as functions of NumPy arrays."""

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from clip_italian.errors import UserError

Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""Maps named inputs to the graph's single output, (n, dim) float32."""


def default_threads() -> int:
    """Return `OMP_NUM_THREADS`, or the number of processors available to this process."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given):
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def onnx(file: Path, threads: int) -> Run:
    """Load a graph with onnxruntime on the CPU. Raises UserError if the library is missing or the file damaged."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"{file}: needs onnxruntime; pip install 'clip-italian[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # suppress warnings about its own optimisations
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # exception classes of the native binding
        raise UserError(f"{file}: onnxruntime cannot read it ({_line(error)}); export the model again") from error
    return lambda inputs: session.run(None, dict(inputs))[0]


def openvino(file: Path, threads: int, precision: str = "float32") -> Run:
    """Load a graph with OpenVINO on the CPU, computing in float32, or in bf16 if the processor supports it.

    Raises UserError if the library is missing or the file is damaged.
    """
    core = openvino_core(file)
    settings = {
        "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision_hint(precision),
        "PERFORMANCE_HINT": "LATENCY",
    }  # fmt: skip
    try:
        compiled = core.compile_model(str(file), "CPU", settings)
    except RuntimeError as error:
        raise UserError(f"{file}: OpenVINO cannot read it ({_line(error)}); export the model again") from error
    # Copy, because the next call reuses the memory of the output.
    return lambda inputs: np.array(compiled(dict(inputs))[0])


def openvino_core(file: Path) -> Any:
    """Return the process-wide `openvino.Core`. Raises UserError, naming `file`, if OpenVINO is missing.

    OpenVINO's CPU plugin gives the thread that creates a `Core` an alternate signal stack, and unmaps it when the
    `Core` is destroyed. If another `Core` was created in between, or the first is destroyed in another thread, the
    thread keeps a pointer to unmapped memory, and the next signal with a handler kills the process. Therefore the core
    is created once and never destroyed.
    """
    try:
        import openvino as ov
    except ImportError as error:
        raise UserError(f"{file}: needs OpenVINO; pip install 'clip-italian[openvino]'") from error
    with _core_lock:
        return _core(ov.Core)


_core_lock = Lock()


@cache
def _core(make: Callable[[], Any]) -> Any:
    return make()


def precision_hint(precision: str) -> str:
    """Return OpenVINO's name of a precision: bf16, or f32 for all others."""
    return "bf16" if precision == "bf16" else "f32"


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip().removesuffix(".")
