"""Weights of a graph in 8 bits, for onnxruntime: matrix products and tables, as much as the embeddings can bear.

By channel, matrix products keep one scale for each output channel, and onnxruntime takes their inputs in 8 bits with
one scale for all: twice as fast as float32 where the processor multiplies bytes, and good enough for a ViT-B/32, but
not for small models (docs/release.md). By block, there is a scale for every 32 weights, and for as many inputs: no
faster than float32, but a quarter of its size. Convolutions stay in float32.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clip_italian.errors import UserError
from clip_italian.export.graphs import IN_ONE_FILE, quiet

_BLOCK = 32
_PRODUCTS = ("MatMul", "Gemm")
_INTEGER = 4  # onnxruntime's accuracy level for products in int8

_BY_CHANNEL, _BY_BLOCK, _TABLES = "MatMul by channel", "MatMul by block", "Gather"

# From the fastest to what changes least.
KINDS: tuple[tuple[str, ...], ...] = ((_BY_CHANNEL, _TABLES), (_BY_BLOCK, _TABLES), (_TABLES,))


def attempts(source: Path, room: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Quantised versions of a graph, the fastest first, written to `room`; with the kinds of nodes that changed.

    Those in which nothing would change are left out. Raises UserError where onnxruntime is missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError(f"{source.name}: needs onnx and onnxruntime; pip install 'clip-italian[onnx]'") from error
    before: frozenset[str] | None = None
    for kinds in KINDS:
        graph = onnx.load(source).graph
        weights = {one.name for one in graph.initializer}
        there = tuple(kind for kind in kinds if any(_has_weights(node, kind, weights) for node in graph.node))
        if not there or frozenset(there) == before:
            continue
        before = frozenset(there)
        target = room / f"{source.stem}-{'-'.join(there)}.onnx".lower().replace(" ", "-")
        with quiet():
            _quantise(source, target, there)
        yield target, there


def _has_weights(node: Any, kind: str, weights: set[str]) -> bool:
    """Whether a node multiplies by, or looks up in, weights that are part of the graph."""
    product = node.op_type in _PRODUCTS and kind != _TABLES
    if not (product or node.op_type == kind) or len(node.input) < 2:
        return False
    return (node.input[1] if product else node.input[0]) in weights


def _quantise(source: Path, target: Path, kinds: tuple[str, ...]) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    big = source.stat().st_size > IN_ONE_FILE or source.with_name(source.name + ".data").exists()
    step = source
    by_channel = [*(_PRODUCTS if _BY_CHANNEL in kinds else ()), *([_TABLES] if _TABLES in kinds else [])]
    if by_channel:
        step = target.with_suffix(".channels.onnx")
        quantize_dynamic(
            source, step, op_types_to_quantize=by_channel, per_channel=True, weight_type=QuantType.QInt8,
            use_external_data_format=big,
        )  # fmt: skip
    if _BY_BLOCK in kinds:
        settings = DefaultWeightOnlyQuantConfig(
            block_size=_BLOCK, is_symmetric=True, accuracy_level=_INTEGER, bits=8, op_types_to_quantize=("MatMul",)
        )
        quantiser = MatMulNBitsQuantizer(onnx.load(step), algo_config=settings)
        quantiser.process()
        quantiser.model.save_model_to_file(str(target), big)
    else:
        step.rename(target)
