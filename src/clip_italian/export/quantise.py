"""8-bit quantisation of matrix products and embedding tables in ONNX graphs, for onnxruntime.

By channel: weights have one scale per output channel, and onnxruntime quantises the inputs with a single scale. This
is two to three times as fast as float32 on processors with int8 instructions, and accurate enough for a ViT-B/32. In
transformers such as XLM-R, a few input channels are many times as large as the others, and take most of that scale.
Large inputs apart: the eight input channels that are largest on a sample stay in float32, as in LLM.int8() (Dettmers et
al., 2022); the rest is by channel. By block: one scale for every 32 weights and every 32 inputs. This is hardly faster
than float32, but a quarter of its size. Convolutions stay in float32.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clip_italian.errors import UserError
from clip_italian.export.graphs import SINGLE_FILE_LIMIT, quiet
from clip_italian.models.runtimes import Run

_BLOCK = 32
_LARGE = 8  # input channels of a product that stay in float32; 16 gain no more (docs/LOG.md)
_LEAST_CHANNELS = 2 * _LARGE  # of a product in which large ones are taken apart
_PRODUCTS = ("MatMul", "Gemm")
_INT8_LEVEL = 4  # onnxruntime's accuracy level for int8 products

_BY_CHANNEL, _LARGE_APART, _BY_BLOCK, _TABLES = (
    "MatMul by channel",
    "MatMul, large inputs apart",
    "MatMul by block",
    "Gather",
)

# From the fastest to the most accurate.
KINDS: tuple[tuple[str, ...], ...] = (
    (_BY_CHANNEL, _TABLES), (_LARGE_APART, _TABLES), (_BY_BLOCK, _TABLES), (_TABLES,),
)  # fmt: skip


def attempts(source: Path, folder: Path, embed: Callable[[Run], object]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Write quantised versions of a graph to `folder`, fastest first; yields each with the quantised node types.

    `embed` runs the graph it is given on a sample, from which large inputs are known. Versions that would not change
    the graph are skipped. Raises UserError if onnx is missing, or a version is too large for one file.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError(f"{source.name}: needs onnx and onnxruntime; pip install 'clip-italian[export]'") from error
    before: frozenset[str] | None = None
    graph = onnx.load(source, load_external_data=False).graph
    weights = {one.name: tuple(one.dims) for one in graph.initializer}
    for kinds in KINDS:
        present = tuple(kind for kind in kinds if any(_has_weights(node, kind, weights) for node in graph.node))
        if not present or frozenset(present) == before:
            continue
        before = frozenset(present)
        target = folder / f"{source.stem}-{'-'.join(present)}.onnx".lower().replace(" ", "-")
        with quiet():
            _quantise(source, target, present, embed)
        yield target, present


def _has_weights(node: Any, kind: str, weights: dict[str, tuple[int, ...]]) -> bool:
    """Return True if a node is a product or lookup of the given kind with constant weights, whose shapes are given."""
    product = node.op_type in _PRODUCTS and kind != _TABLES
    if not (product or node.op_type == kind) or len(node.input) < 2:
        return False
    shape = weights.get(node.input[1] if product else node.input[0])
    return shape is not None and (kind != _LARGE_APART or (node.op_type == "MatMul" and shape[0] >= _LEAST_CHANNELS))


def _quantise(source: Path, target: Path, kinds: tuple[str, ...], embed: Callable[[Run], object]) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    big = source.stat().st_size > SINGLE_FILE_LIMIT or source.with_name(source.name + ".data").exists()
    step, in_float32 = source, []
    if _LARGE_APART in kinds:
        model = onnx.load(source)
        in_float32 = _take_apart(model.graph, _largest(source, target.with_suffix(".measured.onnx"), embed))
        step = target.with_suffix(".apart.onnx")
        _save(model, step, big)
    products = _PRODUCTS if _BY_CHANNEL in kinds else ("MatMul",) if _LARGE_APART in kinds else ()
    if types := [*products, *([_TABLES] if _TABLES in kinds else [])]:
        unquantised, step = step, target.with_suffix(".channels.onnx")
        quantize_dynamic(
            unquantised, step, op_types_to_quantize=types, per_channel=True, weight_type=QuantType.QInt8,
            nodes_to_exclude=in_float32, use_external_data_format=big,
        )  # fmt: skip
    if _BY_BLOCK in kinds:
        settings = DefaultWeightOnlyQuantConfig(
            block_size=_BLOCK,
            is_symmetric=True,
            accuracy_level=_INT8_LEVEL,
            bits=8,
            op_types_to_quantize=("MatMul",),
        )
        quantiser = MatMulNBitsQuantizer(onnx.load(step), algo_config=settings)
        quantiser.process()
        step = target.with_suffix(".blocks.onnx")
        quantiser.model.save_model_to_file(str(step), big)
    if not big:
        step.rename(target)
        return
    data = step.with_name(step.name + ".data")
    if step.stat().st_size + (data.stat().st_size if data.exists() else 0) > SINGLE_FILE_LIMIT:
        raise UserError(f"{source.name}: too large for one file even in int8; export without --quantise")
    _save(onnx.load(step), target, big=False)


def _largest(source: Path, measured: Path, embed: Callable[[Run], object]) -> dict[str, np.ndarray]:
    """Return the largest absolute value of each channel on the sample, for each input of a product with weights.

    `measured` is a file to write, the graph with these values as further outputs.
    """
    import onnx
    import onnxruntime

    model = onnx.load(source)
    found: dict[str, np.ndarray] = {}
    for name, channels in {node.input[0]: weight.shape[0] for node, weight in _products(model.graph)}.items():
        model.graph.initializer.extend([
            onnx.numpy_helper.from_array(np.array([-1, channels]), f"{name}.rows"),
            onnx.numpy_helper.from_array(np.array([0]), f"{name}.axis"),
        ])  # fmt: skip
        model.graph.node.extend([
            onnx.helper.make_node("Abs", [name], [f"{name}.abs"]),
            onnx.helper.make_node("Reshape", [f"{name}.abs", f"{name}.rows"], [f"{name}.abs.rows"]),
            onnx.helper.make_node("ReduceMax", [f"{name}.abs.rows", f"{name}.axis"], [f"{name}.largest"], keepdims=0),
        ])  # fmt: skip
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(f"{name}.largest", onnx.TensorProto.FLOAT, [channels])
        )
        found[name] = np.zeros(channels, dtype=np.float32)
    _save(model, measured, True)
    session = onnxruntime.InferenceSession(str(measured), providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        first, *_ = outputs = session.run(None, dict(inputs))
        for one, value in zip(session.get_outputs(), outputs, strict=True):
            if (name := one.name.removesuffix(".largest")) != one.name:
                np.maximum(found[name], value, out=found[name])
        return np.asarray(first)

    embed(run)
    return found


def _take_apart(graph: Any, largest: Mapping[str, np.ndarray]) -> list[str]:
    """Divide products with weights into one of the largest input channels and one of the others, and add both.

    Returns the names of the nodes to leave in float32: the products of the largest channels, and each Gemm, which
    onnxruntime would quantise as a MatMul.
    """
    import onnx

    in_float32 = [name for node in graph.node if node.op_type == "Gemm" for name in (node.name, f"{node.name}_MatMul")]
    weights = {node.output[0]: weight for node, weight in _products(graph) if len(weight) >= _LEAST_CHANNELS}
    divided: dict[str, np.ndarray] = {}  # the large channels by input; queries, keys and values have the same one
    nodes: list[Any] = []

    def constant(name: str, value: np.ndarray) -> str:
        graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        return name

    def step(kind: str, inputs: list[str], output: str, **attributes: int) -> None:
        nodes.append(onnx.helper.make_node(kind, inputs, [output], name=f"{output}.{kind}", **attributes))

    for node in graph.node:
        y = node.output[0]
        if y not in weights:
            nodes.append(node)
            continue
        name = node.input[0]
        if name not in divided:
            divided[name] = large = np.sort(np.argsort(-largest[name], kind="stable")[:_LARGE])
            mask = np.ones(len(weights[y]), dtype=weights[y].dtype)
            mask[large] = 0
            step("Gather", [name, constant(f"{name}.channels", large)], f"{name}.large", axis=-1)
            step("Mul", [name, constant(f"{name}.mask", mask)], f"{name}.rest")
        large, rest = divided[name], weights[y].copy()
        rest[large] = 0
        step("MatMul", [f"{name}.large", constant(f"{y}.weight.large", weights[y][large])], f"{y}.large")
        step("MatMul", [f"{name}.rest", constant(f"{y}.weight.rest", rest)], f"{y}.rest")
        step("Add", [f"{y}.rest", f"{y}.large"], y)
        in_float32.append(f"{y}.large.MatMul")
    used = {name for node in nodes for name in node.input}
    kept = [one for one in graph.initializer if one.name in used]
    for field, values in ((graph.node, nodes), (graph.initializer, kept)):
        del field[:]
        field.extend(values)
    return in_float32


def _products(graph: Any) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield each MatMul with constant weights, and these, (inputs, outputs)."""
    import onnx

    weights = {one.name: one for one in graph.initializer if len(one.dims) == 2}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights:
            yield node, onnx.numpy_helper.to_array(weights[node.input[1]])


def _save(model: Any, file: Path, big: bool) -> None:
    import onnx

    onnx.save(model, file, save_as_external_data=big, location=file.name + ".data" if big else None)
