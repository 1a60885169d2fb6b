"""Which language a caption is in, by one of two libraries behind one function.

py3langid compares with all the languages that it knows: told to choose among a few, it takes the others'
captions for the nearest of these. langdetect is what the paper used; it is seeded here, since by itself it
answers the same caption differently from one call to the next.

Neither is sure of short captions with names in them ("Statua di Garibaldi a Palermo" is Basque to one of them). So
`foreign` asks how far another language is ahead, and lets function words and word lists witness for either side.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple

from simplemma import is_known

from clip_italian.errors import UserError
from clip_italian.languages import Language

UNKNOWN = "und"


class Guess(NamedTuple):
    """An ISO 639-1 code ("und" where there is nothing to tell it by) and how sure the library is (0..1)."""

    language: str
    probability: float


Identifier = Callable[[Sequence[str]], list[Guess]]


def identifier(backend: Literal["py3langid", "langdetect"]) -> Identifier:
    """The function that guesses the languages of captions; it can be sent to other processes.

    Raises UserError where langdetect is not installed.
    """
    if backend == "langdetect":
        _langdetect()
        return with_langdetect
    return with_py3langid


def with_py3langid(captions: Sequence[str]) -> list[Guess]:
    """One guess a caption, among all languages of py3langid."""
    classify = _py3langid().classify
    return [Guess(*classify(caption)) if caption.strip() else Guess(UNKNOWN, 0.0) for caption in captions]


def with_langdetect(captions: Sequence[str]) -> list[Guess]:
    """One guess a caption, the same at every call."""
    factory = _langdetect()
    guesses = []
    for caption in captions:
        detector = factory.create()
        detector.append(caption)
        found = detector.get_probabilities() if any(map(str.isalpha, caption)) else []
        guesses.append(Guess(found[0].lang[:2], found[0].prob) if found else Guess(UNKNOWN, 0.0))
    return guesses


@cache
def _py3langid() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def _langdetect() -> Any:
    try:
        from langdetect import DetectorFactory, detector_factory
    except ImportError as error:
        raise UserError('langdetect is not installed: pip install "clip-italian[langdetect]"') from error
    DetectorFactory.seed = 0
    detector_factory.init_factory()
    return detector_factory._factory


# Words by which a neighbour is known: articles, prepositions, conjunctions. What languages share says nothing.
_FUNCTION_WORDS = {
    "en": "the of and in at by from with on an is are for to his her its near during seen",
    "fr": "le la les du des de et à au aux en une un dans sur avec pour par chez d l",
    "es": "el la los las de del y en un una con por para su al sobre desde",
    "de": "der die das den dem des und von vom in im am auf mit ein eine einer eines zu zum zur bei für aus",
    "pt": "o os as do da dos das de e em no na nos nas um uma com por para ao à pelo pela",
    "ro": "și din la cu pe lui de un o în al ale spre",
    "ca": "el els les dels de i amb un una al a la per en",
    "nl": "het de een van en met op bij voor uit te naar aan door",
    "oc": "lo los las de dels e amb un una sus del",
    "sv": "och av på i en ett med den det",
    "pl": "i w z na do ze pod przy",
}
_WORDS = re.compile(r"[^\W\d_]+")
_NEIGHBOURS = ("en", "fr", "es", "de", "pt")  # whose word lists are asked; simplemma keeps eight in memory
_LIMIT = 6.0  # log ratio beyond which the classifier adds nothing
_FUNCTION, _KNOWN, _OWN_KNOWN = 2.0, 1.0, 0.8  # weights of the witnesses beside the log ratio
_AHEAD = 1.0  # of the sum, from which a caption is in another language


class Doubt(NamedTuple):
    """The language that is ahead, its probability, and whether that is clear for a short caption, too."""

    language: str
    probability: float
    clear: bool


def foreign(captions: Sequence[str], language: Language) -> list[Doubt | None]:
    """For each caption the language that is ahead of `language` (py3langid, words as witnesses), or None."""
    return [_foreign(caption, language) if caption.strip() else None for caption in captions]


def _foreign(caption: str, language: Language) -> Doubt | None:
    own_words, neighbours = _function_words(language)
    best, _ = _py3langid().classify(caption)
    words = _WORDS.findall(caption)
    shout = caption.isupper()
    # Inside a caption a capital is a name's: "Alcide De Gasperi".
    small = [w.lower() for n, w in enumerate(words) if shout or n == 0 or w[0].islower() or language.capital_nouns]
    strange = sum(word in neighbours for word in small)
    own = sum(word in own_words for word in small)
    if best == language.code and own and not strange:
        return None
    ranked = _py3langid().rank(caption)
    probabilities = dict(ranked)
    other = next(name for name, _ in ranked if name != language.code)
    ratio = math.log(max(probabilities[other], 1e-9) / max(probabilities.get(language.code, 0.0), 1e-9))
    ahead = max(-_LIMIT, min(_LIMIT, ratio)) + _FUNCTION * (strange - own)
    if ahead > _AHEAD - 4 * _KNOWN and ahead < _AHEAD + 8 * _OWN_KNOWN:
        content = [w for w in small if w not in own_words and w not in neighbours and len(w) > 2]
        for word in content:
            if _is_known(word, language.code):
                ahead -= _OWN_KNOWN
            elif any(_is_known(word, code) for code in _NEIGHBOURS if code != language.code):
                ahead += _KNOWN
    return Doubt(other, probabilities[other], strange > own) if ahead > _AHEAD else None


@cache
def _function_words_of(code: str, own: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    others = frozenset(w for name, some in _FUNCTION_WORDS.items() if name != code for w in some.split())
    return own - others, others - own - frozenset(_FUNCTION_WORDS.get(code, "").split())


def _function_words(language: Language) -> tuple[frozenset[str], frozenset[str]]:
    """Function words of the language alone, and those of its neighbours alone."""
    return _function_words_of(language.code, language.function_words)


@lru_cache(maxsize=200_000)
def _is_known(word: str, code: str) -> bool:
    return is_known(word, code)
