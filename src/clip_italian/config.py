"""Recipes: a typed description of one training run, read from TOML; unknown keys are errors.

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
Place = Annotated[Path, AfterValidator(as_stored)]


class Strict(BaseModel):
    """Base of all settings: immutable, and a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Strict):
    """Which pairs to train on."""

    pairs: Place = Field(description="pairs file (.parquet or .jsonl), or a folder of WebDataset shards (.tar)")
    validation: float = Field(0.1, gt=0, lt=1, description="share held out where the file names no splits")
    original_captions: float = Field(0.0, ge=0, le=1, description="share of captions drawn from before translation")
    workers: int = Field(0, ge=0, description="processes that decode pictures; 0: threads of this one")
    copies: bool = Field(False, description="keep features of the pictures, to find copies of them in later tests")


class Model(Strict):
    """The two towers and what joins them: a joint model as `base`, or one `vision` and one `text` tower."""

    base: str | None = Field(
        "mini", description="'mini', or a folder or Hub id of a joint model (CLIP, SigLIP, …); none with two towers"
    )
    vision: str | None = Field(None, description="folder or Hub id of a vision tower, with `text` instead of `base`")
    text: str | None = Field(None, description="folder or Hub id of a text tower")
    init: Literal["pretrained", "random"] = Field("pretrained", description="random: the same shapes, no weights read")
    projection_dim: int | None = Field(None, gt=0, description="by default the base's own, 512 for two towers")
    projection_layers: Literal[1, 2] = Field(1, description="linear (or as the base has it), or with a hidden layer")
    max_tokens: int = Field(96, gt=2, description="longer captions are cut off and counted; the paper's limit")
    landmarks: int = Field(0, ge=0, description="at most so many training pictures between pooling and projection")
    class_names: bool = Field(
        False, description="ImageNet's classes, by their names in the language, as a first guess; needs landmarks"
    )
    start: Literal["ridge", "random", "kept"] = Field(
        "ridge", description="projections before the first stage: closed form, random, or those of the base"
    )
    logit_scale: float | None = Field(
        None,
        gt=0,
        description="multiplier of the cosines, learned where a stage trains it; by default the base's or 20",
    )

    @model_validator(mode="before")
    @classmethod
    def _two_towers_have_no_base(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("vision") is None or given.get("text") is None:
            return given
        if given.get("base") not in (None, "mini"):  # "mini" was the default in what older versions wrote
            raise ValueError("base and two towers exclude each other: name a joint model, or vision and text")
        return given | {"base": None}

    @model_validator(mode="after")
    def _class_names_need_a_classifier(self) -> Self:
        if self.class_names and (self.base != "mini" or not self.landmarks or self.start != "ridge"):
            raise ValueError("class_names needs base = 'mini', landmarks and start = 'ridge'")
        return self

    @model_validator(mode="after")
    def _towers_come_in_twos(self) -> Self:
        if (self.vision is None) != (self.text is None):
            raise ValueError("vision and text belong together: name both towers, or a joint model as base")
        if self.vision is None and self.base is None:
            raise ValueError("name a joint model as base, or both towers")
        if self.start == "kept" and (self.vision is not None or self.init == "random"):
            raise ValueError("start = 'kept' needs a base that has projections; set it to 'random' or 'ridge'")
        return self


class Loss(Strict):
    """What is minimised."""

    kind: Literal["contrastive", "sigmoid"] = Field("contrastive", description="CLIP's (InfoNCE), or SigLIP's")
    bias: float = Field(-10.0, description="start of the sigmoid loss's bias")
    negatives: Literal["all", "local"] = Field("all", description="of all processes, or of each process alone")
    sizes: tuple[int, ...] = Field((), description="Matryoshka: first dimensions that must do alone, e.g. [256, 128]")


class Batch(Strict):
    """How many pictures a step takes, and how many of them are in memory at a time."""

    effective: int | None = Field(None, gt=1, description="over all processes; by default per_device each")
    per_device: int = Field(128, gt=1, description="of each process, where effective is not given")
    chunk: int | None = Field(None, gt=0, description="in memory at a time in a process; by default all of them")


class Optimizer(Strict):
    """The optimiser of all stages; defaults are the published script's."""

    name: Literal["adabelief", "adamw"] = "adabelief"
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float | None = Field(None, gt=0, description="by default 1e-16 for AdaBelief, 1e-8 for AdamW")


class Checkpoints(Strict):
    """What is kept so that nothing is lost."""

    every: int = Field(0, ge=0, description="steps between checkpoints; 0: at each evaluation only")
    keep: int | None = Field(
        None, gt=0, description="the last so many stay, after the end too; by default 2 during the run, then none"
    )


class Tracking(Strict):
    """Where figures go beside history.jsonl and report.html."""

    tensorboard: bool = False
    wandb: str | None = Field(None, description="project name at Weights & Biases")
    trackio: str | None = Field(None, description="project name of trackio")


class Cost(Strict):
    """What a run's hours and energy are counted with."""

    country: str = Field("ITA", pattern="^[A-Z]{3}$", description="where the machine stands: ISO 3166, three letters")
    hourly: float = Field(0.0, ge=0, allow_inf_nan=False, description="price of a device (one process) an hour")
    currency: str = Field("$", min_length=1)


class Augmentation(Strict):
    """Distortion of training pictures; every range is the largest deviation from none."""

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
    flip_p: float = Field(0.0, ge=0, le=1, description="0 where text or direction matters")
    random_crop: bool = Field(False, description="from anywhere instead of the middle, where pictures are not kept")
    share: float = Field(1.0, gt=0, le=1, description="share of the training pictures that have kept augmented views")


class Stage(Strict):
    """One leg of the run: which parameters move, and how.

    `trainable` and `frozen` are shell patterns over parameter names; together they must cover
    every parameter, and a parameter that both match is trainable.
    """

    name: str
    trainable: tuple[str, ...]
    frozen: tuple[str, ...]
    learning_rate: float = Field(gt=0)
    rates: dict[str, float] = Field({}, description="factors of the learning rate by name pattern; the first counts")
    layer_decay: float = Field(1.0, gt=0, le=1, description="factor of the learning rate with each layer down a tower")
    epochs: int = Field(gt=0)
    patience: int = Field(gt=0, description="evaluations without a better validation loss before the stage ends")
    evaluate_every: int = Field(1, gt=0, description="epochs")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0)
    clipping: float = Field(0.01, ge=0, description="adaptive gradient clipping: largest ratio to the weight; 0: off")
    average: float = Field(0.0, ge=0, lt=1, description="decay of the weights' moving average, which is kept; 0: off")
    image_dropout: float = Field(0.0, ge=0, lt=1, description="on the pooled image features")
    text_dropout: float = Field(0.0, ge=0, lt=1, description="on the pooled text features")
    cached: bool = Field(True, description="run frozen layers once over everything; false: at every step, augmented")
    tower_dropout: bool = Field(False, description="the towers' own dropout, where they run at every step")
    views: int = Field(
        0,
        ge=0,
        description="distorted views of an image beside the plain one; not cached, any number: a fresh one each time",
    )


class Recipe(Strict):
    """One training run."""

    language: str = DEFAULT
    seed: int = 1
    output: Place
    data: Data
    model: Model = Model()
    loss: Loss = Loss()
    batch: Batch = Batch()
    optimizer: Optimizer = Optimizer()
    augmentation: Augmentation = Augmentation()
    checkpoints: Checkpoints = Checkpoints()
    tracking: Tracking = Tracking()
    cost: Cost = Cost()
    license: str | None = Field(None, min_length=1, description="of the weights, by the Hub's name: cc-by-sa-4.0")
    sharding: bool = Field(False, description="divide the weights among processes (FSDP2) instead of copying them")
    device: str = Field("auto", description="auto, cpu, cuda or mps")
    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto", description="auto: bf16 where the device is faster in it"
    )
    stage: tuple[Stage, ...] = Field(min_length=1)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file (or the name of one in the package) and apply `key=value` overrides.

    Keys are dotted (`data.pairs=…`, `stage.0.epochs=3`); values are TOML, or plain text where
    they are no TOML. Raises UsageError for a missing file, an unknown key or a wrong value.
    """
    return load_settings(Recipe, RECIPES, path, overrides)


def load_settings(kind: type[T], folder: Path, path: str | Path, overrides: Sequence[str] = ()) -> T:
    """The same for any settings: `folder` holds the files of the package that are known by name."""
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
    raise UsageError(f"{path}: no such recipe; give a .toml file or one of {known}")


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UsageError(f"{override!r}: not key=value (for example data.pairs=photos.jsonl)")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.split(".")
    place: Any = values
    try:
        for parent in parents:
            place = place[int(parent)] if isinstance(place, list) else place.setdefault(parent, {})
        place[int(last) if isinstance(place, list) else last] = value
    except (ValueError, IndexError, TypeError, AttributeError):
        raise UsageError(f"{override!r}: the recipe has nothing called {key}") from None


def _explain(error: ValidationError) -> str:
    """The first complaint of pydantic in our words, with the dotted key."""
    complaints = error.errors()
    first = complaints[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        text = f"unknown key {key}"
    elif first["type"] == "missing":
        text = f"{key} is missing; add it to the file or give {key}=… after the recipe"
    elif first["type"] == "value_error":
        text = f"{key}: {first['ctx']['error']}"
    else:
        text = f"{key}: {first['msg'].lower()} (got {first['input']!r})"
    more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    return text + more
