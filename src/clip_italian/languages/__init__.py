"""Language data for the rest of the package: one `Language` per language, in a file of its own."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from clip_italian.errors import UsageError

DEFAULT = "it"


@dataclass(frozen=True)
class ImageClass:
    """A class of ImageNet-1k: WordNet id (n01440764), label and synonyms, each with its article."""

    wordnet: str
    label: str
    synonyms: tuple[str, ...]


@dataclass(frozen=True)
class Thing:
    """An object in the pictures of the probes: code of its OpenMoji drawing, name, and grammatical gender (m, f or n).

    `paints` are the fill colours that can be replaced, from light to dark; empty if the object is not recoloured.
    """

    code: str
    paints: tuple[str, ...]
    singular: str
    plural: str
    gender: str


@dataclass(frozen=True)
class Probes:
    """Words and grammar of the probes (`evaluate probe`, `evaluate bias`).

    Each function returns equivalent phrases, whose embeddings are averaged. `counted` gets a thing and a number from 1
    to 6, `coloured` a thing and one of `colours` (name: #rrggbb), `related` a thing, its position ("left", "right",
    "above" or "below") and the thing that it is relative to. `person` is the neutral prompt to compare `people` with.
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
    """Texts of a contact sheet, as templates for `count`, `score` or `probability`.

    `point` is the decimal separator; `quoted` adds the quotation marks of the language to a query.
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
class DuplicateWords:
    """Texts of the page of `index duplicates`, as templates for the names in braces; English by default."""

    title: str = "Copies and bursts"
    lead: str = "Groups of copies: {copies}, bursts: {bursts}. The best picture of each comes first."
    none: str = "No copies and no bursts found."
    shown: str = (
        "This page shows {shown} of {count} groups, those that take most space; the command lists all with --json."
    )
    safe: str = "Nothing is deleted: the checked paths are only listed below. All copies but the best are checked."
    copies: str = "Copies: {count} pictures"
    bursts: str = "Burst: {count} shots"
    best: str = "the best"
    pixels: str = "{width} × {height} pixels"
    missing: str = "the file is missing"
    changed: str = "the file has changed since it was indexed"
    unreadable: str = "the file cannot be read"
    inside: str = "inside an archive"
    paths: str = "Checked paths, one per line"
    copy: str = "Copy the paths"
    copied: str = "Copied."
    selected: str = "Press Ctrl+C to copy."


@dataclass(frozen=True, kw_only=True)
class Language:
    """Words, prompts and grammar of a language. docs/languages.md shows how to add one.

    `with_article` turns a bare noun phrase into a caption ("mela" → "una mela"). `describe_emoji` turns a CLDR emoji
    name into a caption. `describe_stamp` turns the sentence of a Tux Paint stamp into a caption, or returns None if it
    does not describe the picture.

    `paper_queries` are the queries shown in the paper. `sheet` are the texts of contact sheets. `neutral` are prompts
    without content, to compare labels and queries with. `function_words` are words without visual meaning (articles,
    conjunctions, prepositions other than those of place). `number_words` are numerals, which word lists often lack.
    `deepl_code` and `marian_model` are used by `translate`; `flores_code` is the code in FLORES-200 and in NLLB's
    tokenizer.

    Optional: `page` are the texts of the web page, `duplicates` those of the page of `index duplicates`; both default
    to English. `imagenet` are the 1,000 classes of ImageNet-1k in the usual order. `footnote_words` are words in
    bracketed notes of encyclopaedias ("[nota 3]"). `stemmer` is the language's algorithm in Snowball, without which
    words are not stemmed, and `months` are the names of the twelve months. `regions` are names of regions by
    their code in GeoNames (country and first level, IT.14). All three are for searching by words.
    `spacy_pipelines` are names of pipelines, the first installed of which is used. `capital_nouns` is True if all nouns
    are capitalised.
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
    duplicates: DuplicateWords = DuplicateWords()
    imagenet: tuple[ImageClass, ...] = ()
    probes: Probes | None = None
    footnote_words: tuple[str, ...] = ()
    stemmer: str = ""
    months: tuple[str, ...] = ()
    regions: Mapping[str, str] = field(default_factory=dict)
    spacy_pipelines: tuple[str, ...] = ()
    capital_nouns: bool = False


def image_classes(file: str) -> tuple[ImageClass, ...]:
    """Read a table in this folder with index, WordNet id, label, and synonyms separated by "; "."""
    rows = (Path(__file__).parent / file).read_text(encoding="utf-8").splitlines()[1:]
    fields = (row.split("	") for row in rows)
    return tuple(ImageClass(wordnet, label, tuple(others.split("; "))) for _, wordnet, label, others in fields)


def page_words(file: str) -> dict[str, str]:
    """Read the texts of the web page from a JSON file in this folder, with the keys of templates/serve/words.json."""
    words: dict[str, str] = json.loads((Path(__file__).parent / file).read_text(encoding="utf-8"))
    return words


def available() -> list[str]:
    """Return the codes of all languages."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))


def get(code: str) -> Language:
    """Return the language with an ISO 639-1 code. Raises UsageError if there is none."""
    if code not in available():
        raise UsageError(f"language {code!r}: unknown; available: {', '.join(available())}")
    language: Language = import_module(f"{__name__}.{code}").LANGUAGE
    return language
