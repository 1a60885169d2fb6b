"""Loading and deleting graphs in one process."""

import os
import signal
import sys
import threading

import numpy as np
import pytest

from clip_italian.errors import UserError
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


@pytest.mark.integration
@pytest.mark.parametrize("elsewhere", [False, True], ids=["this thread", "another thread"])
def test_signals_are_handled_after_models_are_deleted(elsewhere, tmp_path):
    openvino = pytest.importorskip("openvino")
    opset = openvino.opset13
    values = opset.parameter([-1, 4], np.float32, name="values")
    openvino.save_model(openvino.Model([opset.relu(values)], [values]), tmp_path / "relu.xml")
    process = Forked(drop_models, tmp_path / "relu.xml", elsewhere)
    out, err = process.communicate()
    assert (process.returncode, out) == (0, "handled\n"), err


@pytest.fixture
def relu(tmp_path):
    """An ONNX graph, the maximum of 0 and each value."""
    onnx = pytest.importorskip("onnx")
    values, positive = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 2]) for name in ("values", "positive")
    )
    node = onnx.helper.make_node("Relu", ["values"], ["positive"])
    graph = onnx.helper.make_graph([node], "relu", [values], [positive])
    opset = onnx.helper.make_opsetid("", 20)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10), tmp_path / "relu.onnx")
    return tmp_path / "relu.onnx"


@pytest.fixture
def scaled(tmp_path):
    """A graph that rounds values to 8 bits with one scale for the batch, as int8 graphs do."""
    onnx = pytest.importorskip("onnx")
    shape = ["rows", 4]
    values, out = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("values", "out")
    )
    rounded = ["whole", "scale", "zero"]
    nodes = [
        onnx.helper.make_node("DynamicQuantizeLinear", ["values"], rounded),
        onnx.helper.make_node("DequantizeLinear", rounded, ["out"]),
    ]
    opset = onnx.helper.make_opsetid("", 20)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "scaled", [values], [out]), opset_imports=[opset], ir_version=10
    )
    onnx.save(model, tmp_path / "scaled.onnx")
    return tmp_path / "scaled.onnx"


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_rows_by_themselves_do_not_depend_on_others_or_on_the_number_of_threads(threads, scaled):
    """In a batch they share a scale, as all rows did on a machine with one processor."""
    rows = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32) * 10.0 ** np.arange(9)[:, None]
    rows = rows.astype(np.float32)
    graph = runtimes.OnnxGraph(scaled, threads)
    expected = [graph({"values": row[None]})[0].tolist() for row in rows]
    assert graph({"values": rows}).tolist() == expected
    assert runtimes.OnnxGraph(scaled, threads, batch=True)({"values": rows}).tolist() != expected


@pytest.mark.parametrize("ahead", [False, True])
def test_a_graph_is_loaded_by_its_first_call_or_ahead(ahead, relu):
    graph = runtimes.OnnxGraph(relu, 1)
    for _ in range(2 if ahead else 0):
        graph.load_ahead()
    assert graph({"values": np.array([[-1, 2]], np.float32)}).tolist() == [[0, 2]]
    assert (graph.inputs, graph.outputs) == ({"values": "tensor(float)"}, ["positive"])


def test_damage_shows_at_the_call_also_when_loaded_ahead(relu):
    relu.write_bytes(b"damaged")
    graph = runtimes.OnnxGraph(relu, 1)
    graph.load_ahead()
    with pytest.raises(UserError, match="onnxruntime cannot read it") as caught:
        graph({"values": np.array([[-1, 2]], np.float32)})
    assert "\n" not in str(caught.value)


def test_loading_ahead_without_onnxruntime_does_not_wait_forever(relu, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    graph = runtimes.OnnxGraph(relu, 1)
    graph.load_ahead()
    with pytest.raises(UserError, match="needs onnxruntime"):
        graph({"values": np.array([[-1, 2]], np.float32)})


def test_many_rows_side_by_side_are_as_one_batch(relu):
    rows = np.random.default_rng(0).standard_normal((37, 2)).astype(np.float32)
    graphs = [runtimes.OnnxGraph(relu, 3), runtimes.OnnxGraph(relu, 1), runtimes.OnnxGraph(relu, 1, batch=True)]
    for count in (37, 1, 2):
        expected = np.maximum(rows[:count], 0)
        for graph in graphs:
            assert np.array_equal(graph({"values": rows[:count]}), expected)
            assert np.array_equal(graph({"values": rows[:count]}, "positive"), expected)
