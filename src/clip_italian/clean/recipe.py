"""Recipes of `clean`: one table per filter; a filter without a table is off."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from clip_italian.clean.pictures import PictureLimits
from clip_italian.config import RECIPES, Strict, load_settings
from clip_italian.languages import DEFAULT

CLEANING_RECIPES = RECIPES / "cleaning"


class Captions(Strict):
    """Length and leftovers."""

    min_words: int = Field(2, ge=1)
    max_words: int = Field(80, ge=1, description="the paper's text tower reads 96 tokens")
    min_letters: float = Field(0.5, ge=0, le=1, description="share of letters among all but spaces")


class Names(Strict):
    """Captions that consist of names (paper, section 3.1.1)."""

    share: float = Field(0.8, gt=0, le=1, description="share of proper nouns from which a caption is rejected")
    backend: Literal["auto", "lexicon", "spacy"] = "auto"
    pipeline: str | None = Field(None, description="spaCy pipeline, by name or folder")


class LanguageCheck(Strict):
    """Captions in a language other than the recipe's."""

    backend: Literal["py3langid", "langdetect"] = "py3langid"
    short: int = Field(3, ge=0, description="captions of at most so many words are kept, with a note in the rejects")


class Duplicates(Strict):
    """Equal or nearly equal captions of several pictures, and pictures that look the same."""

    pictures_per_caption: int | None = Field(1, ge=1, description="number of pictures that keep a caption")
    boilerplate: int | None = Field(10, ge=1, description="a caption of more pictures than this is removed from all")
    picture_distance: int | None = Field(None, ge=0, le=16, description="bits of 64 in which hashes may differ")
    copies: bool = Field(False, description="also find cropped, mirrored, brighter copies; needs picture_distance")


class CleanRecipe(Strict):
    """Filters and thresholds."""

    language: str = DEFAULT
    captions: Captions | None = None
    names: Names | None = None
    language_check: LanguageCheck | None = None
    pictures: PictureLimits | None = None
    duplicates: Duplicates | None = None


def load_clean_recipe(path: str | Path, overrides: Sequence[str] = ()) -> CleanRecipe:
    """Load a recipe file, or one of the package by name ("paper"); raises UsageError as `load_recipe` does."""
    return load_settings(CleanRecipe, CLEANING_RECIPES, path, overrides)
