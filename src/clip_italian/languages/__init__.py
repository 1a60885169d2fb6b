"""What the rest of the package needs to know of a language: one value per language, one file each."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from clip_italian.errors import UsageError


@dataclass(frozen=True)
class Language:
    """Names, prompts and small grammar of one language.

    `with_article` turns a bare noun phrase into a caption ("mela" → "una mela");
    `describe_emoji` turns a CLDR emoji name into a natural caption; `describe_stamp` tidies
    the sentence beside a Tux Paint stamp, or returns None where it says nothing of the picture.
    `imagenet_names` are the 1,000 classes of ImageNet-1k in their usual order. `function_words` say nothing
    of a picture by themselves (articles, prepositions that do not name a place, conjunctions);
    `number_words` are numbers written out, which word lists tend to lack. `spacy_pipelines` are tried in
    turn by name; `deepl_code` and `marian_model` are what `translate` uses.
    """

    code: str
    name: str
    prompts: tuple[str, ...]
    drawing_prompt: str
    example_queries: tuple[str, ...]
    imagenet_names: tuple[str, ...]
    function_words: frozenset[str]
    number_words: frozenset[str]
    spacy_pipelines: tuple[str, ...]
    deepl_code: str
    marian_model: str
    with_article: Callable[[str], str]
    describe_emoji: Callable[[str], str]
    describe_stamp: Callable[[str], str | None]


def lines(file: str) -> tuple[str, ...]:
    """Lines of a text file that lies beside the language files."""
    return tuple((Path(__file__).parent / file).read_text(encoding="utf-8").splitlines())


def available() -> list[str]:
    """Codes of the languages in the package."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))


def get(code: str) -> Language:
    """The language of an ISO 639-1 code; raises UsageError for one that has no file here."""
    if code not in available():
        raise UsageError(f"language {code!r}: not known; there is {', '.join(available())}")
    language: Language = import_module(f"{__name__}.{code}").LANGUAGE
    return language
