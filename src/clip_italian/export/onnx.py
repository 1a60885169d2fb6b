"""A folder with two ONNX graphs and all that is needed to use them, in whatever language.

    image.onnx, text.onnx        dynamic batch; texts of any length
    tokenizer.json               with cutting and padding in it
    preprocessor_config.json     what is done to pictures, as `transformers` writes it
    export.json                  opset, sizes, source, and how far the embeddings are from the source's
    clip_italian.json            what the source tells of itself: recipe, data, metrics

Nothing takes its place before its embeddings of a sample have been compared with the source's.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from clip_italian.errors import UserError
from clip_italian.export import graphs, parity, quantise, texts
from clip_italian.export.parity import Sample
from clip_italian.files.atomic import staged
from clip_italian.models import exported, runtimes
from clip_italian.models.exported import Exported, Graph, Parity, Precision
from clip_italian.models.folders import INFO_FILE
from clip_italian.models.onnx import OnnxEncoder
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.hashes import settings_hash

_NOT_YET = Parity(sample=0, largest_difference=0.0, least_cosine=1.0, mean_cosine=1.0)


@dataclass(frozen=True)
class Source:
    """The model that is exported, what it is called, and the sample that the result is measured on."""

    encoder: DualEncoder
    name: str
    sample: Sample


def export(source: Source, folder: Path, quantised: bool = False) -> Exported:
    """Write the folder, with weights in 8 bits where `quantised`. Returns what `export.json` says.

    Raises UserError where the embeddings are too far from the model's, or the architecture cannot be expressed.
    """
    with staged(folder) as temporary:
        settings = write(source, temporary)
        return shrink(source, temporary, settings) if quantised else settings


def write(source: Source, folder: Path) -> Exported:
    """Write a folder that is not there yet, in float32. Raises UserError as `export`."""
    encoder, sample = source.encoder, source.sample
    folder.mkdir()
    texts.write(encoder, folder / exported.TOKENIZER_FILE)
    encoder.image_processor.save_pretrained(folder)
    write_json(folder / INFO_FILE, encoder.info)
    pixels = torch.stack([encoder.preprocess(picture) for picture in sample.pictures[:2]])
    files = {name: folder / f"{name}.onnx" for name in ("image", "text")}
    inputs = {
        "image": graphs.write_image(encoder, pixels, files["image"]),
        "text": graphs.write_text(encoder, encoder.tokenize(sample.texts[:2]), files["text"]),
    }
    plain = {
        name: Graph(file=file.name, inputs=inputs[name], precision="float32", parity=_NOT_YET)
        for name, file in files.items()
    }
    settings = describe(source, "onnx", plain["image"], plain["text"])
    write_settings(folder, settings)
    return measured(source, folder, settings)


def describe(source: Source, kind: str, image: Graph, text: Graph) -> Exported:
    """What `export.json` says, before anything was measured."""
    encoder, facts = source.encoder, source.encoder.facts()
    libraries = ("torch", "transformers", "onnx", "onnxruntime", "openvino", "clip-italian")
    used = [name for name in libraries if name != "openvino" or kind == "openvino"]
    made_with = {name: version(name) for name in used}
    return Exported.model_validate(
        {
            "format": kind,
            "source": Path(source.name).name if Path(source.name).exists() else source.name,
            "source_weights_sha256": encoder.weights_hash,
            "weights_sha256": weights_hash(encoder, image, text),
            "tokenizer_sha256": facts["tokenizer_sha256"],
            "preprocessing_sha256": facts["preprocessing_sha256"],
            "dim": encoder.dim,
            "max_tokens": encoder.max_tokens,
            "logit_scale": encoder.logit_scale,
            "logit_bias": encoder.logit_bias,
            "parameters": encoder.parameters,
            "opset": graphs.OPSET,
            "image": image,
            "text": text,
            "made_with": made_with,
        }
    )


def weights_hash(encoder: DualEncoder, image: Graph, text: Graph) -> str:
    """The source's own hash where all is in float32, since the embeddings are the same; else another one."""
    changes = {"image": (image.precision, image.quantised), "text": (text.precision, text.quantised)}
    if all(precision == "float32" for precision, _ in changes.values()):
        return encoder.weights_hash
    return settings_hash({"source": encoder.weights_hash} | changes)


def measured(source: Source, folder: Path, settings: Exported) -> Exported:
    """`settings` with the parity of the folder's graphs, also written. Raises UserError where it is not enough."""
    found = parity.compare(OnnxEncoder.load(folder), source.encoder, source.sample)
    graphs_now = []
    for graph, one in zip((settings.image, settings.text), found, strict=True):
        parity.check(graph.file, one, lossless=graph.precision == "float32")
        graphs_now.append(graph.model_copy(update={"parity": one}))
    settings = settings.model_copy(update={"image": graphs_now[0], "text": graphs_now[1]})
    write_settings(folder, settings)
    return settings


def write_settings(folder: Path, settings: Exported) -> None:
    """Write `export.json`."""
    write_json(folder / exported.EXPORT_FILE, settings.model_dump(mode="json"))


def write_json(file: Path, content: object) -> None:
    """Readable JSON."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def shrink(source: Source, folder: Path, settings: Exported) -> Exported:
    """Put the weights of a folder's graphs into 8 bits, as far as the sample's embeddings bear it.

    Returns what `export.json` says then. Raises UserError where they bear nothing.
    """
    encoder = source.encoder
    plain = OnnxEncoder.load(folder)
    sample = source.sample
    image = first_good(
        folder, settings.image, lambda run: replace(plain, image_graph=run).encode_images(sample.pictures),
        encoder.encode_images(sample.pictures),
    )  # fmt: skip
    text = first_good(
        folder, settings.text, lambda run: replace(plain, text_graph=run).encode_text(sample.texts),
        encoder.encode_text(sample.texts),
    )  # fmt: skip
    if not image.quantised and not text.quantised:
        raise UserError(
            f"{source.name}: in 8 bits neither graph keeps a cosine of {parity.LEAST_COSINE:g}, or has anything to "
            "quantise; nothing was written, export without --quantise"
        )
    changed = describe(source, "onnx", image, text)
    write_settings(folder, changed)
    return measured(source, folder, changed)


def first_good(folder: Path, graph: Graph, embed: Callable[[runtimes.Run], np.ndarray], expected: np.ndarray) -> Graph:
    """Replace a graph's file by its smallest version that is good enough; the graph itself where none is."""
    file = folder / graph.file
    with tempfile.TemporaryDirectory(dir=folder.parent) as room:
        for candidate, kinds in quantise.attempts(file, Path(room)):
            found = parity.of(embed(runtimes.onnx(candidate, torch.get_num_threads())), expected)
            if found.least_cosine >= parity.LEAST_COSINE:
                precision: Precision = "int8"
                candidate.replace(file)
                return graph.model_copy(update={"precision": precision, "quantised": kinds})
    return graph
