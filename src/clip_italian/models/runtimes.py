"""What runs an exported graph: onnxruntime or OpenVINO, by one call on numpy arrays."""

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from clip_italian.errors import UserError

Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""Named inputs to the graph's one output, (n, dim) float32."""


def default_threads() -> int:
    """`OMP_NUM_THREADS`, or the number of processors that this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given):
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def onnx(file: Path, threads: int) -> Run:
    """A graph by onnxruntime on the CPU. Raises UserError where the library is missing or the file is damaged."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"{file}: needs onnxruntime; pip install 'clip-italian[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # it warns of what it optimises itself
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of classes that its binding makes
        raise UserError(f"{file}: cannot be read by onnxruntime ({_line(error)}); export the model again") from error
    return lambda inputs: session.run(None, dict(inputs))[0]


def openvino(file: Path, threads: int, precision: str = "float32") -> Run:
    """A graph by OpenVINO on the CPU, computing in float32 or, where the processor has it, bf16. Raises UserError."""
    core = openvino_core(file)
    settings = {
        "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint(precision), "PERFORMANCE_HINT": "LATENCY",
    }  # fmt: skip
    try:
        compiled = core.compile_model(str(file), "CPU", settings)
    except RuntimeError as error:
        raise UserError(f"{file}: cannot be read by OpenVINO ({_line(error)}); export the model again") from error
    # A copy: the output's memory is used again by the next call.
    return lambda inputs: np.array(compiled(dict(inputs))[0])


def openvino_core(file: Path) -> Any:
    """The process's only `openvino.Core`. Raises UserError, which names `file`, where OpenVINO is missing.

    OpenVINO's CPU plugin gives the thread that makes a `Core` an alternate signal stack and unmaps it with the `Core`.
    Where another `Core` was made meanwhile, or the first goes in another thread, the thread keeps a pointer to
    unmapped memory, and the next signal with a handler kills the process. So this one is made once and never destroyed.
    """
    try:
        import openvino as ov
    except ImportError as error:
        raise UserError(f"{file}: needs OpenVINO; pip install 'clip-italian[openvino]'") from error
    with _making_core:
        return _core(ov.Core)


_making_core = Lock()


@cache
def _core(make: Callable[[], Any]) -> Any:
    return make()


def hint(precision: str) -> str:
    """OpenVINO's name of a precision: bf16, or f32 for all others."""
    return "bf16" if precision == "bf16" else "f32"


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip().removesuffix(".")
