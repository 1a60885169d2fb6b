"""Exports a folder with two ONNX graphs and everything needed to use them from any programming language.

    image.onnx, text.onnx        dynamic batch size and text length
    head.onnx                    for `locate`, where the vision tower has a feature map
    tokenizer.json               with truncation and padding
    preprocessor_config.json     image preprocessing, in the format of `transformers`
    export.json                  opset, sizes, source, and the difference to the source's embeddings
    clip_italian.json            metadata of the source: recipe, data, metrics

The folder is written only if its embeddings of a sample match the source's.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from clip_italian.errors import UserError
from clip_italian.export import graphs, parity, quantise, texts
from clip_italian.export.parity import Embedded, Sample
from clip_italian.files.atomic import staged
from clip_italian.models import exported, runtimes
from clip_italian.models.exported import Exported, Graph, Maps, Parity
from clip_italian.models.folders import INFO_FILE
from clip_italian.models.onnx import OnnxEncoder
from clip_italian.models.precision import Precision
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.hashes import settings_hash

HEAD_FILE = "head.onnx"
_UNMEASURED = Parity(sample=0, largest_difference=0.0, least_cosine=1.0, mean_cosine=1.0)


@dataclass(frozen=True)
class Source:
    """Model to export, its name, and the sample to compare the result on."""

    encoder: DualEncoder
    name: str
    sample: Sample

    @cached_property
    def expected(self) -> Embedded:
        """The model's own embeddings of the sample."""
        return self.encoder.encode_images(self.sample.pictures), self.encoder.encode_text(self.sample.texts)


def export(source: Source, folder: Path, quantised: bool = False) -> Exported:
    """Write the folder, with int8 weights if `quantised`. Returns the content of `export.json`.

    Raises UserError if the embeddings differ too much from the model's, or if the architecture cannot be exported.
    """
    with staged(folder) as temporary:
        settings = write(source, temporary)
        return quantise_graphs(source, temporary, settings) if quantised else settings


def write(source: Source, folder: Path) -> Exported:
    """Write a new folder in float32. Raises UserError as `export` does."""
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
        name: Graph(file=file.name, inputs=inputs[name], precision="float32", parity=_UNMEASURED)
        for name, file in files.items()
    }
    settings = describe(source, "onnx", plain["image"], plain["text"])
    if encoder.has_maps:
        names = graphs.write_head(encoder, folder / HEAD_FILE)
        maps = Maps(output=graphs.MAP, head=HEAD_FILE, input=names[0], image_size=encoder.image_size)
        settings = settings.model_copy(update={"maps": maps})
    exported.write(folder, settings)
    return measure_parity(source, folder, settings)


def describe(source: Source, kind: str, image: Graph, text: Graph) -> Exported:
    """Return the content of `export.json`, with the graphs as given."""
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
    """Return the source's hash if both graphs are in float32, because the embeddings are equal, or else a new one."""
    changes = {"image": (image.precision, image.quantised), "text": (text.precision, text.quantised)}
    if all(precision == "float32" for precision, _ in changes.values()):
        return encoder.weights_hash
    return settings_hash({"source": encoder.weights_hash} | changes)


def measure_parity(source: Source, folder: Path, settings: Exported) -> Exported:
    """Measure the graphs against the source, write and return the updated settings.

    Raises UserError if the embeddings differ too much.
    """
    image, text, agreement = parity.compare(OnnxEncoder.load(folder), source.sample, source.expected)
    updated = {}
    for name, graph, result in (("image", settings.image, image), ("text", settings.text, text)):
        parity.check(graph.file, result, lossless=graph.precision == "float32")
        updated[name] = graph.model_copy(update={"parity": result})
    return exported.write(folder, settings.model_copy(update=updated | {"agreement": agreement}))


def write_json(file: Path, content: object) -> None:
    """Write indented JSON."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def quantise_graphs(source: Source, folder: Path, settings: Exported) -> Exported:
    """Quantise the weights of both graphs to 8 bits, as far as 95 % of the sample reach a cosine of 0.99.

    Returns the new content of `export.json`. Raises UserError if neither graph can be quantised.
    """
    plain = OnnxEncoder.load(folder)
    sample = source.sample
    image = first_accepted(
        folder, settings.image, lambda run: replace(plain, image_graph=run).encode_images(sample.pictures),
        source.expected[0],
    )  # fmt: skip
    text = first_accepted(
        folder, settings.text, lambda run: replace(plain, text_graph=run).encode_text(sample.texts),
        source.expected[1], batch=True,
    )  # fmt: skip
    if not image.quantised and not text.quantised:
        raise UserError(
            f"{source.name}: no quantised graph has a cosine of {parity.LEAST_COSINE:g} or more to the source; "
            "nothing was written, export without --quantise"
        )
    changed = describe(source, "onnx", image, text).model_copy(update={"maps": settings.maps})
    exported.write(folder, changed)
    return measure_parity(source, folder, changed)


def first_accepted(
    folder: Path, graph: Graph, embed: Callable[[runtimes.Run], np.ndarray], expected: np.ndarray, batch: bool = False
) -> Graph:
    """Replace a graph by its first quantised version that is accurate enough; returns it unchanged if there is none.

    `embed` embeds the sample by a graph, which runs rows in batches or by themselves, as in use (`OnnxGraph`).
    """
    file = folder / graph.file
    with tempfile.TemporaryDirectory(dir=folder.parent) as directory:
        for candidate, kinds in quantise.attempts(file, Path(directory), embed):
            run = runtimes.OnnxGraph(candidate, 1 if batch else runtimes.default_threads(), batch)
            result = parity.of(embed(run), expected)
            if result.low_cosine >= parity.LEAST_COSINE:
                precision: Precision = "int8"
                candidate.replace(file)
                return graph.model_copy(update={"precision": precision, "quantised": kinds})
    return graph
