"""Makes the graphs that `models.graphs` keeps in the cache, and checks them before they are used."""

import os
import shutil
from pathlib import Path

from clip_italian import console, languages
from clip_italian.errors import UserError
from clip_italian.export import onnx
from clip_italian.export.onnx import Source
from clip_italian.export.parity import Sample
from clip_italian.files.atomic import staged
from clip_italian.models import exported
from clip_italian.models.exported import Exported
from clip_italian.models.graphs import NoGraphsError
from clip_italian.models.precision import LEAST_AGREEMENT, Precision
from clip_italian.models_torch.dual_encoder import DualEncoder

_SMALL = 1024  # bytes; smaller weights stay in the graph
_STEPS = 3  # load, write, quantise


def make(name: str, precision: Precision, target: Path) -> None:
    """Write the graphs of a model to `target`, an exported folder.

    For int8, 95 % of a sample must reach a cosine of 0.99, and the ten best hits must agree with the model's
    (`LEAST_AGREEMENT`); otherwise the graphs stay in float32, and it is said. Raises NoGraphsError if even float32
    graphs do not give the model's embeddings, or if the architecture cannot be exported.
    """
    with console.progress(f"preparing {name}", _STEPS) as advance, staged(target) as temporary:
        source = Source(DualEncoder.load(name), name, Sample.of(languages.get(languages.DEFAULT)))
        advance(1)
        try:
            settings = onnx.write(source, temporary)
        except UserError as error:
            raise NoGraphsError(str(error), lasts=not isinstance(error.__cause__, ImportError)) from error
        advance(1)
        if precision == "int8":
            settings = _quantise(source, temporary, settings)
        for graph in temporary.glob("*.onnx"):
            _split(graph)
        exported.write(temporary, settings)
        advance(1)


def _split(file: Path) -> None:
    """Move the weights of a graph to a file beside it, which onnxruntime maps into memory instead of copying it."""
    import onnx

    data = file.with_name(f"{file.name}.data")
    if not data.exists():
        model = onnx.load(file)
        onnx.save(model, file, save_as_external_data=True, location=data.name, size_threshold=_SMALL)


def _quantise(source: Source, folder: Path, plain: Exported) -> Exported:
    """Replace the graphs of a folder by int8 graphs, if they agree with the model; returns the settings."""
    originals = {name: folder / f"{name}.float32" for name in (plain.image.file, plain.text.file)}
    for name, original in originals.items():
        try:
            os.link(folder / name, original)
        except OSError:  # a file system without links
            shutil.copyfile(folder / name, original)
    settings, why = plain, ""
    try:
        settings = onnx.quantise_graphs(source, folder, plain)
        agreement = settings.agreement or 0.0
    except UserError as error:
        agreement, why = 0.0, str(error)
    for name, original in originals.items():
        if agreement >= LEAST_AGREEMENT:
            original.unlink()
        else:
            original.replace(folder / name)
    if agreement < LEAST_AGREEMENT:
        settings = plain
        why = why or f"{agreement:.0%} of the ten best hits are the same, less than {LEAST_AGREEMENT:.0%}"
        console.notice(f"{source.name}: runs in float32, since int8 changes its results too much ({why})")
    return settings
