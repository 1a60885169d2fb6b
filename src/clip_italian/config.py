"""Training recipes: typed settings of a training run, read from TOML. Unknown keys are errors.

recipe = load_recipe("recipes/mini.toml", ["data.pairs=photos.jsonl", "output=runs/photos"])
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from clip_italian.errors import UsageError
from clip_italian.files.names import as_stored
from clip_italian.languages import DEFAULT

RECIPES = Path(__file__).parent / "recipes"

T = TypeVar("T", bound="Strict")
StoredPath = Annotated[Path, AfterValidator(as_stored)]


class Strict(BaseModel):
    """Base class of settings: immutable, rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Strict):
    """Training data."""

    pairs: StoredPath = Field(
        description="pairs file (.parquet or .jsonl), folder of WebDataset shards (.tar), or, for captions alone, two "
        "columns of text (.tsv or .txt, also .gz): original, tab, translation"
    )
    validation: float = Field(0.1, gt=0, lt=1, description="share held out if the file has no splits")
    original_captions: float = Field(0.0, ge=0, le=1, description="share of captions drawn from the untranslated ones")
    workers: int = Field(0, ge=0, description="number of processes for decoding pictures; 0: threads in this process")
    copies: bool = Field(False, description="save features of the pictures, to detect copies in later evaluations")


class Model(Strict):
    """Model to train: a joint model as `base`, a `vision` and a `text` tower, or a `teacher` and a new `text` tower."""

    base: str | None = Field(
        "mini", description="'mini', or folder or Hub id of a joint model (CLIP, SigLIP, …); not used with two towers"
    )
    vision: str | None = Field(None, description="folder or Hub id of a vision tower; with `text`, instead of `base`")
    text: str | None = Field(None, description="folder or Hub id of a text tower, or 'mini' for its text tower")
    teacher: str | None = Field(
        None,
        description="'mini', or folder or Hub id of a joint model: keep its pictures, teach `text` its text space",
    )
    text_layers: int | None = Field(
        None, gt=0, description="number of layers of `text` to keep, evenly spaced; default: all"
    )
    init: Literal["pretrained", "random"] = Field("pretrained", description="random: same architecture, random weights")
    projection_dim: int | None = Field(
        None, gt=0, description="embedding size; default: the base's, 512 for two towers"
    )
    projection_layers: Literal[1, 2] = Field(1, description="1: linear, or as in the base; 2: with a hidden layer")
    max_tokens: int = Field(96, gt=2, description="maximum caption length; longer ones are truncated (paper: 96)")
    landmarks: int = Field(
        0, ge=0, description="maximum number of training pictures whose similarity is a feature before projection"
    )
    class_names: bool = Field(
        False, description="start from ImageNet's class names in the recipe's language; needs landmarks"
    )
    start: Literal["ridge", "random", "kept"] = Field(
        "ridge",
        description="projections before the first stage: ridge regression, random, or kept from the base; with a "
        "teacher, the one of texts",
    )
    logit_scale: float | None = Field(
        None, gt=0, description="factor of the cosines, trainable; default: the base's, 20 for two towers"
    )

    @model_validator(mode="before")
    @classmethod
    def _two_towers_have_no_base(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("text") is None:
            return given
        if given.get("vision") is None and given.get("teacher") is None:
            return given
        if given.get("base") not in (None, "mini"):  # older versions wrote the default "mini" in this case
            raise ValueError("base cannot be combined with vision and text, or with a teacher: name one of the three")
        return given | {"base": None}

    @model_validator(mode="after")
    def _class_names_need_a_classifier(self) -> Self:
        if self.class_names and (self.base != "mini" or not self.landmarks or self.start != "ridge"):
            raise ValueError("class_names needs base = 'mini', landmarks and start = 'ridge'")
        return self

    @model_validator(mode="after")
    def _towers_come_in_twos(self) -> Self:
        if self.teacher is not None and (self.vision is not None or self.text is None):
            raise ValueError("a teacher has the pictures already: give it with text, and without vision")
        if self.teacher is None and (self.vision is None) != (self.text is None):
            raise ValueError("vision and text must be given together: name both towers, or a joint model as base")
        if self.text is None and self.base is None:
            raise ValueError("name a joint model as base, or both towers")
        if self.start == "kept" and (self.text is not None or self.init == "random"):
            raise ValueError("start = 'kept' needs a base with projections; use 'random' or 'ridge'")
        return self

    @model_validator(mode="after")
    def _some_settings_need_a_teacher(self) -> Self:
        if self.teacher is None and self.text_layers is not None:
            raise ValueError("text_layers needs a teacher, from which the remaining layers learn")
        if self.teacher is not None and self.landmarks:
            raise ValueError("landmarks would change the teacher's pictures; remove them")
        return self


class Loss(Strict):
    """Loss function."""

    kind: Literal["contrastive", "sigmoid"] = Field(
        "contrastive", description="contrastive (CLIP, InfoNCE) or sigmoid (SigLIP)"
    )
    bias: float = Field(-10.0, description="initial bias of the sigmoid loss")
    negatives: Literal["all", "local"] = Field(
        "all", description="all: negatives from all processes; local: from the same process"
    )
    sizes: tuple[int, ...] = Field(
        (), description="Matryoshka: shorter embedding sizes to train as well, e.g. [256, 128]"
    )
    pictures: float | None = Field(
        None,
        ge=0,
        description="with a teacher: weight of the loss of pictures and texts beside the distance to the teacher's "
        "embeddings; default: 0, pictures are not read",
    )


class Batch(Strict):
    """Batch size, and how much of a batch is in memory at a time."""

    effective: int | None = Field(
        None, gt=1, description="batch size over all processes; default: per_device times processes"
    )
    per_device: int = Field(128, gt=1, description="batch size per process, unless effective is given")
    chunk: int | None = Field(None, gt=0, description="pictures in memory at a time, per process; default: the batch")


class Optimizer(Strict):
    """Optimizer of all stages; the defaults are those of the published script."""

    name: Literal["adabelief", "adamw"] = "adabelief"
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float | None = Field(None, gt=0, description="default: 1e-16 for AdaBelief, 1e-8 for AdamW")


class Checkpoints(Strict):
    """Checkpoints during training."""

    every: int = Field(0, ge=0, description="steps between checkpoints; 0: only at evaluations")
    keep: int | None = Field(
        None, gt=0, description="number of checkpoints to keep; default: 2 during the run, none at its end"
    )


class Tracking(Strict):
    """Experiment trackers, in addition to history.jsonl and report.html."""

    tensorboard: bool = False
    wandb: str | None = Field(None, description="project name at Weights & Biases")
    trackio: str | None = Field(None, description="project name of trackio")


class Cost(Strict):
    """Settings for the cost report of a run."""

    country: str = Field("ITA", pattern="^[A-Z]{3}$", description="location of the machine, ISO 3166 alpha-3")
    hourly: float = Field(0.0, ge=0, allow_inf_nan=False, description="price per device (process) and hour")
    currency: str = Field("$", min_length=1)


class Augmentation(Strict):
    """Augmentation of training pictures. Each range is the maximum deviation from the original."""

    degrees: float = Field(15.0, ge=0)
    translate: float = Field(0.1, ge=0, description="share of the side")
    scale: float = Field(0.2, ge=0, lt=1)
    shear: float = Field(10.0, ge=0, description="degrees")
    perspective: float = Field(0.3, ge=0, le=1)
    perspective_p: float = Field(0.3, ge=0, le=1)
    equalize_p: float = Field(0.15, ge=0, le=1)
    autocontrast_p: float = Field(0.0, ge=0, le=1)
    brightness: float = Field(0.2, ge=0)
    contrast: float = Field(0.2, ge=0)
    saturation: float = Field(0.2, ge=0)
    hue: float = Field(0.03, ge=0, le=0.5)
    colour_p: float = Field(0.8, ge=0, le=1)
    flip_p: float = Field(0.0, ge=0, le=1, description="keep 0 if text or left and right matter")
    random_crop: bool = Field(False, description="random instead of centre crop, if features are not cached")
    share: float = Field(1.0, gt=0, le=1, description="share of the training pictures with cached augmented views")


class Stage(Strict):
    """One stage of training: trainable parameters, optimizer settings, stopping rule.

    `trainable` and `frozen` are shell patterns for parameter names. Together they must match every parameter; a
    parameter that matches both is trainable.
    """

    name: str
    trainable: tuple[str, ...]
    frozen: tuple[str, ...]
    learning_rate: float = Field(gt=0)
    rates: dict[str, float] = Field({}, description="learning rate factors by name pattern; the first match applies")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="learning rate factor per layer, from the top of a tower down"
    )
    epochs: int = Field(gt=0)
    patience: int = Field(gt=0, description="stop after this many evaluations without a better validation loss")
    evaluate_every: int = Field(1, gt=0, description="epochs between evaluations")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0)
    clipping: float = Field(
        0.01, ge=0, description="adaptive gradient clipping: maximum ratio of gradient to weight norm; 0: off"
    )
    average: float = Field(
        0.0, ge=0, lt=1, description="decay of the moving average of weights, which is saved instead; 0: off"
    )
    image_dropout: float = Field(0.0, ge=0, lt=1, description="dropout on pooled image features")
    text_dropout: float = Field(0.0, ge=0, lt=1, description="dropout on pooled text features")
    cached: bool = Field(True, description="true: cache the output of frozen layers; false: run them in every step")
    tower_dropout: bool = Field(False, description="use the towers' own dropout in layers that run in every step")
    views: int = Field(
        0,
        ge=0,
        description="augmented views per image to cache; if not cached, any positive number: a new one per step",
    )


class Recipe(Strict):
    """All settings of a training run."""

    language: str = DEFAULT
    seed: int = 1
    output: StoredPath
    data: Data
    model: Model = Model()
    loss: Loss = Loss()
    batch: Batch = Batch()
    optimizer: Optimizer = Optimizer()
    augmentation: Augmentation = Augmentation()
    checkpoints: Checkpoints = Checkpoints()
    tracking: Tracking = Tracking()
    cost: Cost = Cost()
    license: str | None = Field(None, min_length=1, description="license of the weights, as on the Hub: cc-by-sa-4.0")
    sharding: bool = Field(False, description="shard the weights across processes (FSDP2) instead of replicating them")
    device: str = Field("auto", description="auto, cpu, cuda or mps")
    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto", description="auto: bf16 on devices where it is faster"
    )
    stage: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _a_weight_of_pictures_needs_a_teacher(self) -> Self:
        if self.loss.pictures is not None and self.model.teacher is None:
            raise ValueError("loss.pictures weighs pictures beside a teacher; name one as model.teacher, or remove it")
        return self

    @property
    def reads_pictures(self) -> bool:
        """False for a run that learns from captions alone."""
        return self.model.teacher is None or bool(self.loss.pictures)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe from a file, or a packaged recipe by name, and apply `key=value` overrides.

    Keys are dotted (`data.pairs=…`, `stage.0.epochs=3`); values are TOML, or plain text if they are not valid TOML.
    Raises UsageError for a missing file, an unknown key or an invalid value.
    """
    return load_settings(Recipe, RECIPES, path, overrides)


def load_settings(kind: type[T], folder: Path, path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Load settings of any `kind`, like `load_recipe`; `folder` contains the packaged files."""
    file = _find(folder, path)
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not TOML ({error})") from error
    for override in overrides:
        _apply(values, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{file}: {_explain(error)}") from error


def _find(folder: Path, path: str | Path) -> Path:
    for candidate in (Path(path), folder / Path(path).name, folder / f"{path}.toml"):
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(p.stem for p in folder.glob("*.toml")))
    raise UsageError(f"{path}: no such recipe; give a .toml file or one of: {known}")


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UsageError(f"{override!r}: not key=value (for example data.pairs=photos.jsonl)")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.split(".")
    target: Any = values
    try:
        for parent in parents:
            target = target[int(parent)] if isinstance(target, list) else target.setdefault(parent, {})
        target[int(last) if isinstance(target, list) else last] = value
    except (ValueError, IndexError, TypeError, AttributeError):
        raise UsageError(f"{override!r}: the recipe has no key {key}") from None


def _explain(error: ValidationError) -> str:
    """Format the first error of pydantic on one line, with the dotted key."""
    errors = error.errors()
    first = errors[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        text = f"unknown key {key}"
    elif first["type"] == "missing":
        text = f"{key} is missing; add it to the file or give {key}=… after the recipe"
    elif first["type"] == "value_error":
        text = f"{key}: {first['ctx']['error']}" if key else str(first["ctx"]["error"])
    else:
        text = f"{key}: {first['msg'].lower()} (got {first['input']!r})"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return text + more
