"""8-bit quantisation of matrix products and embedding tables in ONNX graphs, for onnxruntime.

Per channel: weights have one scale per output channel, and onnxruntime quantises the inputs with a single scale. This
is twice as fast as float32 on processors with int8 instructions, and accurate enough for a ViT-B/32, but not for small
models (docs/release.md). Per block: one scale for every 32 weights and every 32 inputs. This is not faster than
float32, but a quarter of its size. Convolutions stay in float32.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clip_italian.errors import UserError
from clip_italian.export.graphs import SINGLE_FILE_LIMIT, quiet

_BLOCK = 32
_PRODUCTS = ("MatMul", "Gemm")
_INT8_LEVEL = 4  # onnxruntime's accuracy level for int8 products

_BY_CHANNEL, _BY_BLOCK, _TABLES = "MatMul by channel", "MatMul by block", "Gather"

# From the fastest to the most accurate.
KINDS: tuple[tuple[str, ...], ...] = ((_BY_CHANNEL, _TABLES), (_BY_BLOCK, _TABLES), (_TABLES,))


def attempts(source: Path, folder: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Write quantised versions of a graph to `folder`, fastest first; yields each with the quantised node types.

    Versions that would not change the graph are skipped. Raises UserError if onnx is missing.
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
        if not present or frozenset(present) == before:
            continue
        before = frozenset(present)
        target = folder / f"{source.stem}-{'-'.join(present)}.onnx".lower().replace(" ", "-")
        with quiet():
            _quantise(source, target, present)
        yield target, present


def _has_weights(node: Any, kind: str, weights: set[str]) -> bool:
    """Return True if a node is a product or lookup of the given kind with constant weights."""
    product = node.op_type in _PRODUCTS and kind != _TABLES
    if not (product or node.op_type == kind) or len(node.input) < 2:
        return False
    return (node.input[1] if product else node.input[0]) in weights


def _quantise(source: Path, target: Path, kinds: tuple[str, ...]) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    big = source.stat().st_size > SINGLE_FILE_LIMIT or source.with_name(source.name + ".data").exists()
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
