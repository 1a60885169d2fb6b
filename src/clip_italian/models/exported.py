"""Schema of `export.json` in an exported folder, written by `clip_italian.export` and read by `OnnxEncoder`."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from clip_italian.errors import UserError
from clip_italian.models.precision import Identity, Precision

EXPORT_FILE = "export.json"
TOKENIZER_FILE = "tokenizer.json"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parity(_Model):
    """Difference between a graph's embeddings and the source model's on a sample: largest difference, cosines.

    `low_cosine` is the cosine that 95 % of the sample reach.
    """

    sample: int
    largest_difference: float
    least_cosine: float
    low_cosine: float = 1.0
    mean_cosine: float


class Graph(_Model):
    """One of the graphs; `inputs` are in order, `quantised` names the node types with int8 weights."""

    file: str
    inputs: tuple[str, ...]
    precision: Precision
    quantised: tuple[str, ...] = ()
    parity: Parity


class Maps(_Model):
    """Graphs for `locate` of a tower with a feature map.

    `output` is the second output of the image graph, the map (n, features, rows, columns) for pictures of any size.
    `head` is a graph from pooled parts of a map (n, features) to embeddings. `image_size` is the side of the tower's
    own input.
    """

    output: str
    head: str
    input: str
    image_size: int


class Exported(_Model):
    """Contents of `export.json`.

    `weights_sha256` identifies the model in an index. It is the source model's if both graphs are in float32, so that
    they can share indexes. `agreement` is the share of the ten best hits of a sample that are the same as in float32.
    `logit_scale` is the factor of the cosines. `sizes` of the other files in bytes show damage before they are loaded.
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
    maps: Maps | None = None
    agreement: float | None = None
    sizes: dict[str, int] = {}
    made_with: dict[str, str]

    @property
    def precision(self) -> Precision:
        """The lower precision of the two graphs."""
        return self.image.precision if self.image.precision != "float32" else self.text.precision

    @property
    def identity(self) -> Identity:
        """The model as an index remembers it."""
        agreement = 1.0 if self.precision == "float32" else self.agreement or 0.0
        return Identity(self.weights_sha256, self.source_weights_sha256, self.precision, agreement)


def is_exported(folder: Path) -> bool:
    """Return True if a folder holds exported graphs instead of a trainable model."""
    return (folder / EXPORT_FILE).is_file()


def read(folder: Path) -> Exported:
    """Read `export.json`. Raises UserError if it is damaged or of another version, or a file is missing or cut off."""
    file = folder / EXPORT_FILE
    try:
        settings = Exported.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "not JSON"
        raise UserError(f"{file}: damaged or of another version ({where}); export the model again") from error
    wanted = (settings.image.file, settings.text.file, *([settings.maps.head] if settings.maps else []), TOKENIZER_FILE)
    for name in dict.fromkeys([*wanted, *settings.sizes]):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: {name} is missing; export the model again")
        size = settings.sizes.get(name)
        if size is not None and (folder / name).stat().st_size != size:
            raise UserError(f"{folder / name}: damaged, it does not have {size:,} bytes; export the model again")
    return settings


def write(folder: Path, settings: Exported) -> Exported:
    """Write `export.json`, with the sizes of the other files in the folder; returns its content."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != EXPORT_FILE)
    settings = settings.model_copy(update={"sizes": {path.name: path.stat().st_size for path in files}})
    text = settings.model_dump_json(indent=2)
    (folder / EXPORT_FILE).write_text(text + "\n", encoding="utf-8")
    return settings
