"""Exports the folder of `export.onnx` with graphs in OpenVINO's format: image.xml and text.xml, weights in .bin files.

OpenVINO's core reads the graphs from ONNX. `openvino.convert_model` is not used, because it reports its use to Intel.
"""

from pathlib import Path

from clip_italian.errors import UserError
from clip_italian.export import onnx
from clip_italian.export.onnx import Source
from clip_italian.files.atomic import staged
from clip_italian.models import exported
from clip_italian.models.exported import Exported
from clip_italian.models.precision import Precision
from clip_italian.models.runtimes import openvino_core, precision_hint


def export(source: Source, folder: Path, precision: Precision = "float32") -> Exported:
    """Write the folder; with `precision` "bf16" the graphs run in bf16 on processors that support it.

    Returns the content of `export.json`. Raises UserError as `onnx.export` does, and if OpenVINO is missing.
    """
    with staged(folder) as temporary:
        return convert(source, temporary, onnx.write(source, temporary), precision)


def convert(source: Source, folder: Path, settings: Exported, precision: Precision) -> Exported:
    """Replace the ONNX graphs of a folder by OpenVINO graphs; returns the new content of `export.json`."""
    core = openvino_core(folder)
    import openvino as ov

    files = {}
    for name in (settings.image.file, settings.text.file, *([settings.maps.head] if settings.maps else [])):
        file = folder / name
        target = file.with_suffix(".xml")
        try:
            model = core.read_model(file)
            # A hint for other readers of the file; without it, `compile_model` uses bf16 where available.
            model.set_rt_info(precision_hint(precision), ["runtime_options", "INFERENCE_PRECISION_HINT"])
            ov.save_model(model, target, compress_to_fp16=False)
        except RuntimeError as error:
            lines = [line for line in str(error).splitlines() if line.startswith("--")] or ["see --debug"]
            raise UserError(f"{name}: OpenVINO cannot read it ({lines[0].strip('- ')})") from error
        for leftover in folder.glob(f"{file.name}*"):
            leftover.unlink()
        files[name] = target.name
    image, text = (
        graph.model_copy(update={"file": files[graph.file], "precision": precision})
        for graph in (settings.image, settings.text)
    )
    maps = settings.maps and settings.maps.model_copy(update={"head": files[settings.maps.head]})
    settings = onnx.describe(source, "openvino", image, text).model_copy(update={"maps": maps})
    exported.write(folder, settings)
    return onnx.measure_parity(source, folder, settings)
