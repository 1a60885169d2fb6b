"""Recipes: a typed description of one training run, read from TOML; unknown keys are errors.

recipe = load_recipe("recipes/mini.toml", ["data.pairs=photos.jsonl", "output=runs/photos"])
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clip_italian.errors import UsageError

RECIPES = Path(__file__).parent / "recipes"

T = TypeVar("T", bound="Strict")


class Strict(BaseModel):
    """Base of all settings: immutable, and a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Strict):
    """Which pairs to train on."""

    pairs: Path = Field(description="pairs file (.parquet or .jsonl)")
    validation: float = Field(0.1, gt=0, lt=1, description="share held out where the file names no splits")
    original_captions: float = Field(0.0, ge=0, le=1, description="share of captions drawn from before translation")


class Model(Strict):
    """The two towers and what joins them."""

    base: str = Field("mini", description="'mini', or a folder or Hub id of a VisionTextDualEncoder model")
    projection_dim: int = Field(512, gt=0)
    landmarks: int = Field(0, ge=0, description="at most so many training pictures between pooling and projection")
    class_names: bool = Field(
        False, description="ImageNet's classes, by their names in the language, as a first guess; needs landmarks"
    )
    start: Literal["ridge", "random"] = Field("ridge", description="projections before the first stage")
    logit_scale: float = Field(20.0, gt=0, description="fixed multiplier of the cosines; the paper's is 20")

    @model_validator(mode="after")
    def _class_names_need_a_classifier(self) -> Self:
        if self.class_names and (self.base != "mini" or not self.landmarks or self.start != "ridge"):
            raise ValueError("class_names needs base = 'mini', landmarks and start = 'ridge'")
        return self


class Augmentation(Strict):
    """Distortion of training pictures; every range is the largest deviation from none."""

    degrees: float = Field(15.0, ge=0)
    translate: float = Field(0.1, ge=0, description="share of the side")
    scale: float = Field(0.2, ge=0, lt=1)
    shear: float = Field(10.0, ge=0, description="degrees")
    perspective: float = Field(0.3, ge=0, le=1)
    perspective_p: float = Field(0.3, ge=0, le=1)
    equalize_p: float = Field(0.15, ge=0, le=1)
    brightness: float = Field(0.2, ge=0)
    contrast: float = Field(0.2, ge=0)
    saturation: float = Field(0.2, ge=0)
    hue: float = Field(0.03, ge=0, le=0.5)
    colour_p: float = Field(0.8, ge=0, le=1)
    flip_p: float = Field(0.0, ge=0, le=1, description="0 where text or direction matters")
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
    epochs: int = Field(gt=0)
    patience: int = Field(gt=0, description="evaluations without a better validation loss before the stage ends")
    evaluate_every: int = Field(1, gt=0, description="epochs")
    batch_size: int = Field(gt=1)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0)
    clipping: float = Field(0.01, gt=0, description="adaptive gradient clipping: largest ratio of gradient to weight")
    image_dropout: float = Field(0.0, ge=0, lt=1, description="on the pooled image features")
    text_dropout: float = Field(0.0, ge=0, lt=1, description="on the pooled text features")
    views: int = Field(0, ge=0, description="augmented views an image, beside the plain one, when features are cached")


class Recipe(Strict):
    """One training run."""

    language: str = "it"
    seed: int = 1
    output: Path
    data: Data
    model: Model = Model()
    augmentation: Augmentation = Augmentation()
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
