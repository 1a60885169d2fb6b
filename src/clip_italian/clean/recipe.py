"""What `clean` checks: one table of the recipe a filter; a filter whose table is absent is off."""

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
    """Captions that are nothing but names (paper, section 3.1.1)."""

    share: float = Field(0.8, gt=0, le=1, description="of proper nouns among the tokens, from which a caption goes")
    backend: Literal["auto", "lexicon", "spacy"] = "auto"
    pipeline: str | None = Field(None, description="spaCy pipeline, by name or folder")


class LanguageCheck(Strict):
    """Captions in another language than the recipe's."""

    backend: Literal["py3langid", "langdetect"] = "py3langid"
    short: int = Field(3, ge=0, description="captions of so many words or fewer stay, and their doubt is recorded")


class Duplicates(Strict):
    """The same caption, or nearly the same, at several pictures, and pictures that look the same."""

    pictures_per_caption: int | None = Field(1, ge=1, description="so many pictures keep a caption, the others lose it")
    boilerplate: int | None = Field(10, ge=1, description="a caption at more pictures than this goes from all of them")
    picture_distance: int | None = Field(None, ge=0, le=16, description="bits of 64 in which perceptual hashes differ")
    copies: bool = Field(False, description="also cropped, mirrored, brighter ones; needs picture_distance")


class CleanRecipe(Strict):
    """Filters and thresholds."""

    language: str = DEFAULT
    captions: Captions | None = None
    names: Names | None = None
    language_check: LanguageCheck | None = None
    pictures: PictureLimits | None = None
    duplicates: Duplicates | None = None


def load_clean_recipe(path: str | Path, overrides: Sequence[str] = ()) -> CleanRecipe:
    """A recipe file, or the name of one in the package ("paper"); raises UsageError as `load_recipe` does."""
    return load_settings(CleanRecipe, CLEANING_RECIPES, path, overrides)
