"""Graphs that come and go in one process."""

import subprocess
import sys

import pytest

# Two models are loaded and dropped in turn, then a signal with a handler arrives.
DROP_MODELS = """
import os, signal, sys, threading
from pathlib import Path
import numpy as np
import openvino as ov
from openvino import opset13 as op
from clip_italian.model import runtimes

file, where = Path(sys.argv[1]), sys.argv[2]
values = op.parameter([-1, 4], np.float32, name="values")
ov.save_model(ov.Model([op.relu(values)], [values]), file)
models = [runtimes.openvino(file, threads=1) for _ in range(2)]

def drop():
    assert models.pop(0)({"values": np.array([[-1, 0, 1, 2]], np.float32)}).tolist() == [[0, 0, 1, 2]]

for _ in range(2):
    if where == "another thread":
        thread = threading.Thread(target=drop)
        thread.start()
        thread.join()
    else:
        drop()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.parametrize("where", ["this thread", "another thread"])
def test_signals_are_handled_after_models_are_dropped(where, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", DROP_MODELS, tmp_path / "relu.xml", where], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
