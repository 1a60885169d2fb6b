"""What the rest of the package needs to know of a language: one value per language, one file each."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from clip_italian.errors import UsageError

DEFAULT = "it"


@dataclass(frozen=True)
class ImageClass:
    """A class of ImageNet-1k: its WordNet id (n01440764), its label with article, and other names with article."""

    wordnet: str
    label: str
    synonyms: tuple[str, ...]


@dataclass(frozen=True)
class Thing:
    """Something that the probes draw: an OpenMoji drawing by its code, and how it is called; `gender` is m, f or n.

    `paints` are the drawing's fills that a colour replaces, from light to dark; a thing that has none keeps its own.
    """

    code: str
    paints: tuple[str, ...]
    singular: str
    plural: str
    gender: str


@dataclass(frozen=True)
class Probes:
    """Words and grammar of the probes (`evaluate probe`, `evaluate bias`).

    Every function returns the ways to say one thing, whose embeddings are averaged. `counted` gets a thing and
    1 to 6, `coloured` a thing and one of `colours` (name: #rrggbb), `related` a thing, one of "left", "right", "above",
    "below", and the thing that stands there. `person` is the neutral prompt that `people` are compared with.
    """

    things: tuple[Thing, ...]
    colours: Mapping[str, str]
    counted: Callable[[Thing, int], tuple[str, ...]]
    coloured: Callable[[Thing, str], tuple[str, ...]]
    related: Callable[[Thing, str, Thing], tuple[str, ...]]
    person: str
    people: tuple[str, ...]


@dataclass(frozen=True)
class SheetWords:
    """What a page of found pictures says beside them: templates take `count`, `score` or `probability`.

    `point` is the decimal one, `quoted` puts a query into the language's quotation marks.
    """

    found: str
    none: str
    gone: str
    copies: str
    score: str
    probability: str
    point: str
    quoted: str


@dataclass(frozen=True, kw_only=True)
class Language:
    """Names, prompts and small grammar of one language; docs/languages.md says how to add one.

    `with_article` turns a bare noun phrase into a caption ("mela" → "una mela");
    `describe_emoji` turns a CLDR emoji name into a natural caption; `describe_stamp` tidies
    the sentence beside a Tux Paint stamp, or returns None where it says nothing of the picture.

    `paper_queries` are those that the paper shows; `sheet` is what contact sheets say.
    `neutral` are prompts that name nothing, which labels and queries are compared with. `function_words` say nothing
    of a picture by themselves (articles, prepositions that do not name a place, conjunctions);
    `number_words` are numbers written out, which word lists tend to lack. `deepl_code` and `marian_model` are what
    `translate` uses, `flores_code` is the language's name in FLORES-200 and so in NLLB's tokenizer.

    Optional: `page` are the words of the web page, which is in English without them. `imagenet` are the 1,000 classes
    of ImageNet-1k in their usual order. `footnote_words` stand in brackets in encyclopaedias ("[nota 3]").
    `spacy_pipelines` are tried in turn by name. `capital_nouns` says that all nouns are written with a capital.
    """

    code: str
    name: str
    english_name: str
    prompts: tuple[str, ...]
    neutral: tuple[str, ...]
    drawing_prompt: str
    example_queries: tuple[str, ...]
    paper_queries: tuple[str, ...]
    sheet: SheetWords
    function_words: frozenset[str]
    number_words: frozenset[str]
    deepl_code: str
    marian_model: str
    flores_code: str
    with_article: Callable[[str], str]
    describe_emoji: Callable[[str], str]
    describe_stamp: Callable[[str], str | None]
    page: Mapping[str, str] = field(default_factory=dict)
    imagenet: tuple[ImageClass, ...] = ()
    probes: Probes | None = None
    footnote_words: tuple[str, ...] = ()
    spacy_pipelines: tuple[str, ...] = ()
    capital_nouns: bool = False


def image_classes(file: str) -> tuple[ImageClass, ...]:
    """The classes in a table that lies beside the language files: index, WordNet id, label, synonyms by "; "."""
    rows = (Path(__file__).parent / file).read_text(encoding="utf-8").splitlines()[1:]
    fields = (row.split("	") for row in rows)
    return tuple(ImageClass(wordnet, label, tuple(others.split("; "))) for _, wordnet, label, others in fields)


def page_words(file: str) -> dict[str, str]:
    """The web page's words in a table that lies beside the language files: those of templates/serve/words.json."""
    words: dict[str, str] = json.loads((Path(__file__).parent / file).read_text(encoding="utf-8"))
    return words


def available() -> list[str]:
    """Codes of the languages in the package."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))


def get(code: str) -> Language:
    """The language of an ISO 639-1 code; raises UsageError for one that has no file here."""
    if code not in available():
        raise UsageError(f"language {code!r}: not known; there is {', '.join(available())}")
    language: Language = import_module(f"{__name__}.{code}").LANGUAGE
    return language
