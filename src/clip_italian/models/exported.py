"""Schema of `export.json` in an exported folder, written by `clip_italian.export` and read by `OnnxEncoder`."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from clip_italian.errors import UserError

EXPORT_FILE = "export.json"
TOKENIZER_FILE = "tokenizer.json"

Precision = Literal["float32", "int8", "bf16"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parity(_Model):
    """Difference between a graph's embeddings and the source model's on a sample: largest difference, cosines."""

    sample: int
    largest_difference: float
    least_cosine: float
    mean_cosine: float


class Graph(_Model):
    """One of the two graphs; `inputs` are in order, `quantised` names the node types with int8 weights."""

    file: str
    inputs: tuple[str, ...]
    precision: Precision
    quantised: tuple[str, ...] = ()
    parity: Parity


class Exported(_Model):
    """Contents of `export.json`.

    `weights_sha256` identifies the model in an index. It is the source model's if both graphs are in float32, so that
    they can share indexes. `logit_scale` is the factor of the cosines.
    """

    version: Literal[1] = 1
    format: Literal["onnx", "openvino"]
    source: str
    source_weights_sha256: str
    weights_sha256: str
    tokenizer_sha256: str
    preprocessing_sha256: str
    dim: int
    max_tokens: int
    logit_scale: float
    logit_bias: float | None
    parameters: int
    opset: int
    image: Graph
    text: Graph
    made_with: dict[str, str]


def is_exported(folder: Path) -> bool:
    """Return True if a folder holds exported graphs instead of a trainable model."""
    return (folder / EXPORT_FILE).is_file()


def read(folder: Path) -> Exported:
    """Read `export.json`. Raises UserError if it is damaged or of another version, or if a file is missing."""
    file = folder / EXPORT_FILE
    try:
        settings = Exported.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "not JSON"
        raise UserError(f"{file}: damaged or of another version ({where}); export the model again") from error
    for name in (settings.image.file, settings.text.file, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: {name} is missing; export the model again")
    return settings
