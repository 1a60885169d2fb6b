"""Quantised graphs beside the same sums in NumPy."""

import numpy as np
import pytest

from clip_italian.errors import UserError
from clip_italian.export import quantise

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

CHANNELS, LARGE = 64, [3, 10, 11, 20, 41, 42, 55, 63]


@pytest.fixture
def weights():
    random = np.random.default_rng(0)
    sizes = {"a": (CHANNELS, 5), "b": (CHANNELS, 7), "c": (7, 4), "last": (4, 3)}
    return {name: random.standard_normal(size).astype(np.float32) for name, size in sizes.items()}


@pytest.fixture
def graph(tmp_path, weights):
    """Products of one input with `a` and `b`, of the second with `c`, and a Gemm; outputs x @ a and the Gemm's."""
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        make("MatMul", ["x", "a"], ["xa"], name="product_a"),
        make("MatMul", ["x", "b"], ["xb"], name="product_b"),
        make("MatMul", ["xb", "c"], ["xbc"], name="product_c"),
        make("Gemm", ["xbc", "last"], ["y"], name="projection"),
    ]
    outputs = [value("xa", onnx.TensorProto.FLOAT, [None, 5]), value("y", onnx.TensorProto.FLOAT, [None, 3])]
    made = onnx.helper.make_graph(
        nodes, "products", [value("x", onnx.TensorProto.FLOAT, [None, CHANNELS])], outputs,
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    onnx.save(
        onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10),
        tmp_path / "graph.onnx",
    )
    return tmp_path / "graph.onnx"


@pytest.fixture
def rows():
    """Inputs in which the channels `LARGE` are a hundred times as large as the others, as in XLM-R."""
    values = np.random.default_rng(1).standard_normal((6, CHANNELS)).astype(np.float32)
    values[:, LARGE] = 100 * np.sign(values[:, LARGE]) * (1 + np.abs(values[:, LARGE]))
    return values


def run(file, rows):
    return onnxruntime.InferenceSession(str(file)).run(None, {"x": rows})


def by_channel(x, weight):
    """x @ weight where x has one scale and a zero point, and each column of weight a scale of its own."""
    low, high = min(x.min(), 0), max(x.max(), 0)
    step = (high - low) / 255
    zero = np.round(-low / step)
    scale = np.abs(weight).max(0) / 127
    return ((np.clip(np.round(x / step) + zero, 0, 255) - zero) * step) @ (np.round(weight / scale) * scale)


def attempts(graph, rows, tmp_path):
    folder = tmp_path / "attempts"
    folder.mkdir()
    return {kinds: file for file, kinds in quantise.attempts(graph, folder, lambda graph: graph({"x": rows}))}


def test_large_inputs_are_multiplied_in_float32_and_the_rest_by_channel(graph, weights, rows, tmp_path):
    found = run(attempts(graph, rows, tmp_path)["MatMul, large inputs apart",], rows)
    rest = rows.copy()
    rest[:, LARGE] = 0
    others = {name: np.delete(weights[name], LARGE, axis=0) for name in "ab"}
    both = {
        name: rows[:, LARGE] @ weights[name][LARGE] + by_channel(np.delete(rest, LARGE, axis=1), others[name])
        for name in "ab"
    }
    assert np.allclose(found[0], both["a"], atol=1e-3)
    # `c` has no more channels than stay in float32, so that it is quantised as it is; the Gemm is not.
    assert np.allclose(found[1], by_channel(both["b"], weights["c"]) @ weights["last"], rtol=1e-4, atol=0.5)


def test_large_inputs_cost_the_others_their_accuracy_unless_apart(graph, weights, rows, tmp_path):
    made = attempts(graph, rows, tmp_path)
    small = np.delete(np.arange(CHANNELS), LARGE)
    exact = rows[:, small] @ weights["a"][small]  # what the large channels hide
    large = rows[:, LARGE] @ weights["a"][LARGE]
    error = {
        kinds: np.abs(run(file, rows)[0] - large - exact).mean() / np.abs(exact).mean() for kinds, file in made.items()
    }
    assert list(made)[:2] == [("MatMul by channel",), ("MatMul, large inputs apart",)]
    assert error["MatMul, large inputs apart",] < 0.02 < 0.1 < error["MatMul by channel",]


@pytest.mark.parametrize("limit", [0, 1_000_000])
def test_large_graphs_become_one_file_or_an_error(limit, graph, weights, rows, tmp_path, monkeypatch):
    model = onnx.load(graph)
    onnx.save(model, graph, save_as_external_data=True, location="graph.onnx.data", size_threshold=0)
    monkeypatch.setattr(quantise, "SINGLE_FILE_LIMIT", limit)
    if limit == 0:
        with pytest.raises(UserError, match=r"graph\.onnx: too large for one file even in int8; export without"):
            attempts(graph, rows, tmp_path)
        return
    for file in attempts(graph, rows, tmp_path).values():
        moved = file.rename(tmp_path / "alone.onnx")
        assert np.allclose(run(moved, rows)[0], rows @ weights["a"], rtol=0.1, atol=30)


def test_the_sample_tells_which_inputs_are_large(graph, weights, rows, tmp_path):
    other = np.roll(rows, 1, axis=1)
    file = attempts(graph, other, tmp_path)["MatMul, large inputs apart",]
    model = onnx.load(file)
    assert onnx.numpy_helper.to_array(
        next(one for one in model.graph.initializer if one.name == "x.channels")
    ).tolist() == sorted((channel + 1) % CHANNELS for channel in LARGE)
