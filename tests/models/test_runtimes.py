"""Loading and deleting graphs in one process."""

import os
import signal
import threading

import numpy as np
import pytest

from clip_italian.models import runtimes
from tests.forked import Forked


def drop_models(file, elsewhere):
    """Load two models and delete them one after the other, in threads or not; then raise a signal with a handler."""
    models = [runtimes.OpenVinoGraph(file, threads=1) for _ in range(2)]

    def drop():
        assert models.pop(0)({"values": np.array([[-1, 0, 1, 2]], np.float32)}).tolist() == [[0, 0, 1, 2]]

    for _ in range(2):
        if elsewhere:
            thread = threading.Thread(target=drop)
            thread.start()
            thread.join()
        else:
            drop()
    assert not models
    signal.signal(signal.SIGTERM, lambda *_: print("handled"))
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["this thread", "another thread"])
def test_signals_are_handled_after_models_are_deleted(elsewhere, tmp_path):
    openvino = pytest.importorskip("openvino")
    opset = openvino.opset13
    values = opset.parameter([-1, 4], np.float32, name="values")
    openvino.save_model(openvino.Model([opset.relu(values)], [values]), tmp_path / "relu.xml")
    process = Forked(drop_models, tmp_path / "relu.xml", elsewhere)
    out, err = process.communicate()
    assert (process.returncode, out) == (0, "handled\n"), err
