"""8-bit quantisation of matrix products and embedding tables in ONNX graphs, for onnxruntime.

Per channel: weights have one scale per output channel, and onnxruntime quantises the inputs with a single scale. This
is three times as fast as float32 on processors with int8 instructions. A few input channels of transformers are much
larger than the others and take most of the scale; smoothing moves their size into the weights first (SmoothQuant, Xiao
et al. 2022). Per block: one scale for every 32 weights and every 32 inputs. This is the most accurate and little faster
than float32, but a quarter of its size. Convolutions stay in float32.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip_italian.errors import UserError
from clip_italian.export.graphs import SINGLE_FILE_LIMIT, quiet

_BLOCK = 32
_PRODUCTS = ("MatMul", "Gemm")
_INT8_LEVEL = 4  # onnxruntime's accuracy level for int8 products
# Share of the inputs' spread that moves into the weights; measured on `mini`'s texts (docs/LOG.md).
_SMOOTHING = 0.65
_LEAST = 1e-5  # of a channel that is always 0

_SMOOTHED, _BY_CHANNEL, _BY_BLOCK, _TABLES = (
    "MatMul by channel, smoothed", "MatMul by channel", "MatMul by block", "Gather",
)  # fmt: skip

# From the fastest to the most accurate.
KINDS: tuple[tuple[str, ...], ...] = (
    (_BY_CHANNEL, _TABLES), (_SMOOTHED, _TABLES), (_BY_BLOCK, _TABLES), (_TABLES,),
)  # fmt: skip
Feeds = Sequence[Mapping[str, np.ndarray]]
"""Inputs of a graph, one sample each."""


def attempts(source: Path, folder: Path, feeds: Feeds) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Write quantised versions of a graph to `folder`, fastest first; yields each with the quantised node types.

    `feeds` show how large the inputs of products are. Versions that would not change the graph are skipped. Raises
    UserError if onnx is missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError(f"{source.name}: needs onnx and onnxruntime; pip install 'clip-italian[export]'") from error
    before: frozenset[str] | None = None
    for kinds in KINDS:
        graph = onnx.load(source).graph
        weights = {one.name for one in graph.initializer}
        present = tuple(kind for kind in kinds if any(_has_weights(node, kind, weights) for node in graph.node))
        if not present or frozenset(present) == before or (_SMOOTHED in present and _is_big(source)):
            continue
        before = frozenset(present)
        target = folder / f"{source.stem}-{'-'.join(present)}.onnx".lower().replace(" ", "-").replace(",", "")
        with quiet():
            _quantise(source, target, present, feeds)
        yield target, present


def _has_weights(node: Any, kind: str, weights: set[str]) -> bool:
    """Return True if a node is a product or lookup of the given kind with constant weights."""
    product = kind != _TABLES and node.op_type in (("MatMul",) if kind == _SMOOTHED else _PRODUCTS)
    if not (product or node.op_type == kind) or len(node.input) < 2:
        return False
    return (node.input[1] if product else node.input[0]) in weights


def _quantise(source: Path, target: Path, kinds: tuple[str, ...], feeds: Feeds) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    big, step = _is_big(source), source
    if _SMOOTHED in kinds:
        step = target.with_suffix(".smooth.onnx")
        onnx.save(_smooth(source, feeds), step)
    products = _PRODUCTS if _BY_CHANNEL in kinds or _SMOOTHED in kinds else ()
    by_channel = [*products, *([_TABLES] if _TABLES in kinds else [])]
    if by_channel:
        done = target.with_suffix(".channels.onnx")
        quantize_dynamic(
            step, done, op_types_to_quantize=by_channel, per_channel=True, weight_type=QuantType.QInt8,
            use_external_data_format=big,
        )  # fmt: skip
        step = done
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
        quantiser.model.save_model_to_file(str(target), big)
    else:
        step.rename(target)


def _is_big(source: Path) -> bool:
    """Return True if the weights of a graph are in a file beside it, or will be."""
    return source.stat().st_size > SINGLE_FILE_LIMIT or source.with_name(source.name + ".data").exists()


def _smooth(source: Path, feeds: Feeds) -> Any:
    """Return a graph that divides the inputs of each product by a factor per channel and multiplies its weights by it.

    The result is the same, but inputs and weights have channels of more equal size.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(source)
    graph = model.graph
    weights = {one.name: one for one in graph.initializer}
    products = [node for node in graph.node if _has_weights(node, _SMOOTHED, set(weights))]
    largest = _largest_inputs(model, sorted({node.input[0] for node in products}), feeds)
    nodes = []
    for node in graph.node:
        if any(node is product for product in products):
            matrix, inputs = numpy_helper.to_array(weights[node.input[1]]), largest[node.input[0]]
            rows = np.maximum(np.abs(matrix).max(axis=1), _LEAST)
            factor = np.maximum(inputs, _LEAST) ** _SMOOTHING / rows ** (1 - _SMOOTHING)
            factor = (factor / np.exp(np.log(factor).mean())).astype(np.float32)
            smooth, name = f"{node.output[0]}_smooth", f"{node.output[0]}_weights"
            graph.initializer.append(numpy_helper.from_array(1 / factor, f"{smooth}_factor"))
            graph.initializer.append(numpy_helper.from_array(matrix * factor[:, None], name))
            nodes.append(helper.make_node("Mul", [node.input[0], f"{smooth}_factor"], [smooth]))
            node.input[0], node.input[1] = smooth, name
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    used = {name for node in graph.node for name in node.input}
    kept = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def _largest_inputs(model: Any, names: Sequence[str], feeds: Feeds) -> dict[str, np.ndarray]:
    """Return the largest absolute value of each channel of some values (…, channels) in a graph."""
    import onnx
    import onnxruntime
    from onnx import helper

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    found: dict[str, np.ndarray] = {}
    for feed in feeds:
        for name, values in zip(names, session.run(list(names), dict(feed)), strict=True):
            most = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
            found[name] = np.maximum(found.get(name, 0), most)
    return found
