"""Runs exported graphs with onnxruntime or OpenVINO, as functions of NumPy arrays."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import numpy as np

from clip_italian.errors import UserError

Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""Maps named inputs to a graph's first output, (n, dim) float32."""


def default_threads() -> int:
    """Return `OMP_NUM_THREADS`, or the number of processors available to this process."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given):
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OnnxGraph:
    """A graph run by onnxruntime on the CPU, loaded at its first call. Thread-safe.

    A single row is run by all `threads`, and many rows side by side, one thread each, so that no thread waits for
    another at the end of each operation: 1.2 to 1.4 times as fast as batches (docs/LOG.md). A row's result then depends
    neither on the other rows nor on the number of threads; in int8, rows of a batch share their scale. With `batch` all
    rows are one batch, unless the graph takes only one row. Calls raise UserError if onnxruntime is missing or the file
    is damaged.
    """

    def __init__(self, file: Path, threads: int, batch: bool = False) -> None:
        self._file, self._threads, self._batch, self._lock = file, threads, batch, Lock()
        self._opens = Event()  # set when Python has done its part of loading

    def __call__(self, inputs: Mapping[str, np.ndarray], output: str | None = None) -> np.ndarray:
        """Return one output, by default the first."""
        rows = len(next(iter(inputs.values())))
        many = rows > 1 and not self._batch
        with self._lock:
            session = self._of_one_thread if many or "_of_one_thread" in self.__dict__ else self._session
        outputs = [output or session.get_outputs()[0].name]
        if rows == 1 or not (many or session.get_inputs()[0].shape[0] == 1):
            return np.asarray(session.run(outputs, dict(inputs))[0])

        def single(row: int) -> np.ndarray:
            return session.run(outputs, {name: value[row : row + 1] for name, value in inputs.items()})[0]

        with ThreadPoolExecutor(self._threads) as pool:
            return np.concatenate(list(pool.map(single, range(rows))))

    @property
    def inputs(self) -> dict[str, str]:
        """Types of the inputs, by name."""
        with self._lock:
            return {one.name: one.type for one in self._session.get_inputs()}

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        with self._lock:
            return [one.name for one in self._session.get_outputs()]

    def load_ahead(self) -> None:
        """Load the graph in another thread, unless it is loaded; errors are left to the next call.

        Returns when that thread needs Python no more, so that this one may keep it busy.
        """
        if "_session" not in self.__dict__:
            Thread(target=self._load, daemon=True).start()
            self._opens.wait()

    def _load(self) -> None:
        with suppress(UserError), self._lock:
            assert self._session is not None
        self._opens.set()

    @cached_property
    def _session(self) -> Any:
        return _session(self._file, self._threads, self._opens.set)

    @cached_property
    def _of_one_thread(self) -> Any:
        return self._session if self._threads == 1 else _session(self._file, 1, self._opens.set)


def _session(file: Path, threads: int, opens: Callable[[], None]) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"{file}: needs onnxruntime; pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # suppress warnings about its own optimisations
    opens()
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # exception classes of the native binding
        raise UserError(f"{file}: onnxruntime cannot read it ({_line(error)}); export the model again") from error


class OpenVinoGraph:
    """A graph run by OpenVINO on the CPU, in float32, or in bf16 if the processor supports it.

    It is loaded at its first call. Calls raise UserError if OpenVINO is missing or the file is damaged.
    """

    def __init__(self, file: Path, threads: int, precision: str = "float32") -> None:
        self._file, self._lock = file, Lock()
        self._settings = {
            "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision_hint(precision),
            "PERFORMANCE_HINT": "LATENCY",
        }  # fmt: skip

    def __call__(self, inputs: Mapping[str, np.ndarray], output: str | None = None) -> np.ndarray:
        """Return one output, by default the first."""
        with self._lock:
            compiled = self._compiled
        # Copy, because the next call reuses the memory of the output.
        return np.array(compiled(dict(inputs))[output or 0])

    @cached_property
    def _compiled(self) -> Any:
        core = openvino_core(self._file)
        try:
            return core.compile_model(str(self._file), "CPU", self._settings)
        except RuntimeError as error:
            raise UserError(
                f"{self._file}: OpenVINO cannot read it ({_line(error)}); export the model again"
            ) from error


Graph = OnnxGraph | OpenVinoGraph


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
