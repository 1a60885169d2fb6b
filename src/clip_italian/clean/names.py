"""Share of proper nouns in captions: captions that consist of a name teach nothing (paper, section 3.1.1).

Numbers count as tokens but not as proper nouns: "Roma 1944" is half a name and passes the paper's threshold of 0.8.

`tagger` offers two backends. spaCy tags captions in normal case; it recognises names by their capitals and would take
"I RAGAZZI GIOCANO" for one. The lexicon needs no download: a word is a proper noun if the language's word list lacks
it, or if its capital letter shows it. It also judges captions in unusual case for spaCy.
"""

import importlib.util
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from simplemma import is_known

from clip_italian.errors import UserError
from clip_italian.languages import Language

# An elided word keeps its apostrophe: "dall'alto" is two tokens.
_TOKEN = re.compile(r"[^\W\d_]+['’]?|\d+")
_PROPER = "PROPN"


class Tagger(ABC):
    """Computes the share (0..1) of proper nouns among a caption's tokens, without punctuation; 0 without tokens."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Library and version, for the record."""

    @abstractmethod
    def __call__(self, captions: Sequence[str]) -> list[float]:
        """The share of each caption; runs in any process."""


class Casing(StrEnum):
    """How a caption uses capitals, which decides if they indicate names."""

    NORMAL = "normal"
    LOWER = "lower"
    CAPS = "caps"
    TITLE = "title"


def tagger(backend: Literal["auto", "spacy", "lexicon"], language: Language, pipeline: str | None = None) -> Tagger:
    """The tagger of a language.

    "auto" is spaCy if `pipeline` (name or folder) is given or one of `language.spacy_pipelines` is installed, else the
    lexicon. Raises UserError if spaCy is requested and cannot be used.
    """
    lexicon = Lexicon(language.code, language.function_words, language.number_words, language.capital_nouns)
    if backend == "lexicon":
        return lexicon
    found = pipeline or next(filter(_is_installed, language.spacy_pipelines), None)
    if found is not None:
        _load(found)
        return Spacy(found, lexicon)
    if backend == "spacy":
        if not language.spacy_pipelines:
            raise UserError(f"{language.name}: the language file names no spaCy pipeline; give one (names.pipeline)")
        example = language.spacy_pipelines[-1]
        raise UserError(f"no spaCy pipeline for {language.name}; install one: python -m spacy download {example}")
    return lexicon


def tokens(caption: str) -> list[str]:
    """Words and numbers."""
    return _TOKEN.findall(caption.replace("’", "'"))


def casing(caption: str, function_words: frozenset[str]) -> Casing:
    """Casing of a caption; TITLE needs three words or more with a function word among them ("Un Gatto Sul Muro").

    So "Anna Maria Mozzoni" is NORMAL: names are written like this in a sentence.
    """
    words = [token for token in tokens(caption) if not token.isdigit()]
    if not any(map(str.isupper, caption)):
        return Casing.LOWER
    if all(map(str.isupper, words)) and sum(map(len, words)) > 3:
        return Casing.CAPS
    all_capitals = len(words) > 2 and all(word[0].isupper() for word in words)
    if all_capitals and any(word.lower() in function_words for word in words):  # not the D' of "D'Annunzio"
        return Casing.TITLE
    return Casing.NORMAL


@dataclass(frozen=True)
class Lexicon(Tagger):
    """Proper nouns by simplemma's word list, and by capitals unless all nouns have one (`capital_nouns`)."""

    code: str
    function_words: frozenset[str]
    number_words: frozenset[str]
    capital_nouns: bool = False

    @property
    def name(self) -> str:
        """Library and version."""
        return f"lexicon (simplemma {version('simplemma')})"

    def __call__(self, captions: Sequence[str]) -> list[float]:
        """The share of each caption."""
        return [_share(self.proper(tokens(caption), casing(caption, self.function_words))) for caption in captions]

    def proper(self, words: Sequence[str], how: Casing) -> list[bool]:
        """True for each token that is a proper noun, or a particle inside one ("Leonardo da Vinci")."""
        functional = [_bare(word) in self.function_words for word in words]

        def unknown(place: int) -> bool:
            word = words[place]
            return not functional[place] and not word.isdigit() and not self._knows(word.lower())

        if how is Casing.NORMAL and not self.capital_nouns:
            return _with_particles(_by_capitals(words, functional, unknown), functional)
        proper = [unknown(place) for place in range(len(words))]
        # Without usable capitals, a caption without function words, half of whose words are unknown, is a name
        # ("dora riparia", where "dora" is also a verb): descriptions have articles and prepositions.
        if not any(functional) and 2 * sum(proper) >= len(words):
            return [not self._is_number(word) for word in words]
        return _with_particles(proper, functional)

    def _is_number(self, word: str) -> bool:
        return word.isdigit() or word.lower() in self.number_words

    def _knows(self, word: str) -> bool:
        return word in self.number_words or _known(word, self.code)


@dataclass(frozen=True)
class Spacy(Tagger):
    """Proper nouns by the part-of-speech tags of a spaCy pipeline; captions in unusual case by `lexicon`."""

    pipeline: str
    lexicon: Lexicon

    @property
    def name(self) -> str:
        """Pipeline and version."""
        about = _load(self.pipeline).meta
        return f"spaCy ({about['lang']}_{about['name']} {about['version']})"

    def __call__(self, captions: Sequence[str]) -> list[float]:
        """The share of each caption."""
        normal = [casing(caption, self.lexicon.function_words) is Casing.NORMAL for caption in captions]
        tagged = iter(self._tagged([caption for caption, is_normal in zip(captions, normal, strict=True) if is_normal]))
        others = iter(
            self.lexicon([caption for caption, is_normal in zip(captions, normal, strict=True) if not is_normal])
        )
        return [next(tagged if is_normal else others) for is_normal in normal]

    def _tagged(self, captions: Sequence[str]) -> Iterator[float]:
        for document in _load(self.pipeline).pipe(captions, batch_size=256):
            yield _share([token.pos_ == _PROPER for token in document if not token.is_punct and not token.is_space])


def _by_capitals(words: Sequence[str], functional: Sequence[bool], unknown: Callable[[int], bool]) -> list[bool]:
    """True for words that capitals show to be proper nouns.

    These are words capitalised inside the caption, a first word that is unknown or precedes a capitalised one, and
    unknown lower-case words right after one of these ("Johann Wolfgang von Goethe").
    """
    proper = [word[0].isupper() and not skip for word, skip in zip(words, functional, strict=True)]
    if proper and proper[0]:
        proper[0] = (len(words) > 1 and proper[1]) or unknown(0)
    for place in range(1, len(words)):
        proper[place] = proper[place] or (proper[place - 1] and unknown(place))
    return proper


def _with_particles(proper: list[bool], functional: Sequence[bool]) -> list[bool]:
    """Also True for function words between two proper nouns: they belong to the name."""
    joined = list(proper)
    for place in range(1, len(proper) - 1):
        before = joined[place - 1]
        after = next((proper[later] for later in range(place + 1, len(proper)) if not functional[later]), False)
        joined[place] = proper[place] or (functional[place] and before and after)
    return joined


def _share(proper: Sequence[bool]) -> float:
    return sum(proper) / len(proper) if proper else 0.0


def _bare(word: str) -> str:
    return word.rstrip("'").lower()


@lru_cache(maxsize=200_000)
def _known(word: str, code: str) -> bool:
    return is_known(word, code) or is_known(word.rstrip("'"), code)


def _is_installed(pipeline: str) -> bool:
    return importlib.util.find_spec("spacy") is not None and importlib.util.find_spec(pipeline) is not None


@cache
def _load(pipeline: str) -> Any:
    try:
        import spacy
    except ImportError as error:
        raise UserError('spaCy is not installed: pip install "clip-italian[spacy]"') from error
    try:
        # Part-of-speech tags do not need these components, which take most of the time.
        return spacy.load(pipeline, exclude=["parser", "ner", "lemmatizer", "senter"])
    except (OSError, ValueError) as error:
        where = "folder" if Path(pipeline).exists() else "name"
        raise UserError(f"{pipeline}: no spaCy pipeline by this {where} ({str(error).splitlines()[0]})") from error
