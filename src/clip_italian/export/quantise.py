"""Weights of a graph in 8 bits, for onnxruntime: matrix products and tables, as much as the embeddings can bear.

Matrix products keep a scale for every 32 weights of an output channel, and onnxruntime takes their inputs in 8 bits
too, with a scale for as many numbers. That is finer than one scale a channel with one for the whole input, which costs
small models much more (docs/release.md). Convolutions stay in float32.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clip_italian.errors import UserError
from clip_italian.export.graphs import IN_ONE_FILE, quiet

_BLOCK = 32
_INTEGER = 4  # onnxruntime's accuracy level for products in int8

# From the most to the least.
KINDS: tuple[tuple[str, ...], ...] = (("MatMul", "Gather"), ("Gather",))


def attempts(source: Path, room: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Quantised versions of a graph, the smallest first, written to `room`; with the kinds of nodes that changed.

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
        target = room / f"{source.stem}-{'-'.join(there)}.onnx".lower()
        with quiet():
            _quantise(source, target, there)
        yield target, there


def _has_weights(node: Any, kind: str, weights: set[str]) -> bool:
    """Whether a node multiplies by, or looks up in, weights that are part of the graph."""
    if node.op_type != kind or len(node.input) < 2:
        return False
    return (node.input[1] if kind == "MatMul" else node.input[0]) in weights


def _quantise(source: Path, target: Path, kinds: tuple[str, ...]) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    big = source.stat().st_size > IN_ONE_FILE or source.with_name(source.name + ".data").exists()
    step = source
    if "Gather" in kinds:
        step = target.with_suffix(".tables.onnx")
        quantize_dynamic(
            source, step, op_types_to_quantize=["Gather"], per_channel=True, weight_type=QuantType.QInt8,
            use_external_data_format=big,
        )  # fmt: skip
    if "MatMul" in kinds:
        settings = DefaultWeightOnlyQuantConfig(
            block_size=_BLOCK, is_symmetric=True, accuracy_level=_INTEGER, bits=8, op_types_to_quantize=("MatMul",)
        )
        quantiser = MatMulNBitsQuantizer(onnx.load(step), algo_config=settings)
        quantiser.process()
        quantiser.model.save_model_to_file(str(target), big)
    else:
        step.rename(target)
