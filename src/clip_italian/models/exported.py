"""What an exported folder tells of itself: `export.json`, written by `clip_italian.export`, read by `OnnxEncoder`."""

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
    """How far a graph's embeddings of a sample are from the source's: greatest difference, cosines."""

    sample: int
    largest_difference: float
    least_cosine: float
    mean_cosine: float


class Graph(_Model):
    """One of the two graphs. `quantised` names the kinds of nodes whose weights are int8; inputs in their order."""

    file: str
    inputs: tuple[str, ...]
    precision: Precision
    quantised: tuple[str, ...] = ()
    parity: Parity


class Exported(_Model):
    """Contents of `export.json`.

    `weights_sha256` is what an index remembers: the source's own where both graphs are in float32, so that they share
    indexes; another one where they are not. `logit_scale` multiplies cosines.
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
    """Whether a folder holds graphs instead of a model that can be trained."""
    return (folder / EXPORT_FILE).is_file()


def read(folder: Path) -> Exported:
    """Read a folder's `export.json`. Raises UserError where it is damaged or of another version, or a file is gone."""
    file = folder / EXPORT_FILE
    try:
        found = Exported.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "not JSON"
        raise UserError(f"{file}: damaged, or of another version ({where}); export the model again") from error
    for name in (found.image.file, found.text.file, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: lacks {name}; export the model again")
    return found
