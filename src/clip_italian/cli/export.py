"""`clip-italian export`: a model in the format of another library."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clip_italian import console, languages
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Json
from clip_italian.errors import UsageError

with lazy_imports():
    from clip_italian.export import hf, onnx, openvino, sentence_transformers
    from clip_italian.export import parity as agreement
    from clip_italian.models import exported
    from clip_italian.models_torch import dual_encoder


class Format(StrEnum):
    """Target formats."""

    HF = "hf"
    ONNX = "onnx"
    OPENVINO = "openvino"
    SENTENCE_TRANSFORMERS = "sentence-transformers"


class Quantise(StrEnum):
    """Precisions below float32."""

    INT8 = "int8"
    BF16 = "bf16"


_FITTING = {Quantise.INT8: Format.ONNX, Quantise.BF16: Format.OPENVINO}


def export(
    model: Annotated[str, typer.Argument(help="Model folder, Hub id, or mini.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    to: Annotated[Format, typer.Option("--to", help="Target format.")],
    quantise: Annotated[
        Quantise | None,
        typer.Option("--quantise", help="int8 (onnx) or bf16 (openvino): faster; cosine to float32 at least 0.99."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="Folder of pictures to compare on. Default: generated ones.")
    ] = None,
    language: Annotated[
        str, typer.Option("--language", help="Language of the texts to compare on.")
    ] = languages.DEFAULT,
    as_json: Json = False,
) -> None:
    """Write a model for plain transformers, onnxruntime, OpenVINO or sentence-transformers.

    onnx and openvino exports are first compared with the model. They can be used like any model folder:

    Example: clip-italian export mini --to onnx -o mini-onnx

    Example: clip-italian index build ~/Pictures -o photos.idx --model mini-onnx
    """
    if quantise is not None and to is not _FITTING[quantise]:
        raise UsageError(f"--quantise {quantise.value}: only with --to {_FITTING[quantise].value}")
    graphs = to in (Format.ONNX, Format.OPENVINO)
    if pictures is not None and not graphs:
        raise UsageError(f"--pictures: only with --to onnx or openvino; --to {to.value} compares nothing")
    words = languages.get(language)

    sample = agreement.Sample.of(words, pictures) if graphs else None
    encoder = dual_encoder.DualEncoder.load(model)
    if sample is None:
        write = hf.export if to is Format.HF else sentence_transformers.export
        write(encoder, model, output)
        _show(output, to, None, as_json)
        return
    source = onnx.Source(encoder, model, sample)
    if to is Format.ONNX:
        done = onnx.export(source, output, quantised=quantise is Quantise.INT8)
    else:
        done = openvino.export(source, output, "bf16" if quantise is Quantise.BF16 else "float32")
    _show(output, to, done, as_json)


def _show(output: Path, to: Format, done: "exported.Exported | None", as_json: bool) -> None:
    if as_json:
        facts = {"output": str(output), "to": to.value}
        print(json.dumps(facts | ({} if done is None else {"export": done.model_dump(mode="json")})))
        return
    console.output.print(f"{output}: exported for {to.value}", markup=False)
    if done is not None:
        for name, graph in (("pictures", done.image), ("texts", done.text)):
            console.output.print(f"  {name}: {graph.file}, {_describe(graph)}", markup=False)


def _describe(graph: "exported.Graph") -> str:
    parity, precision = graph.parity, graph.precision
    if precision == "float32":
        return f"float32, differs by {parity.largest_difference:.1e} at most over {parity.sample} samples"
    kinds = f" ({', '.join(graph.quantised)})" if graph.quantised else ""
    return (
        f"{precision}{kinds}, cosine to float32 {parity.mean_cosine:.4f} on average, {parity.least_cosine:.4f} at "
        f"worst over {parity.sample} samples"
    )
