"""Language identification of captions, with py3langid or langdetect.

py3langid compares with all its languages: restricted to a few, it would assign captions in other languages to the
nearest of these. langdetect, which the paper used, is seeded here, since its results vary from call to call.

Both are unreliable for short captions with names ("Statua di Garibaldi a Palermo" is Basque for one of them). So
`foreign` scores how far another language is ahead, with function words and word lists as further evidence.
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
    """An ISO 639-1 code ("und" if undetermined) and the library's probability (0..1)."""

    language: str
    probability: float


Identifier = Callable[[Sequence[str]], list[Guess]]


def identifier(backend: Literal["py3langid", "langdetect"]) -> Identifier:
    """The function that guesses the languages of captions; it can be pickled.

    Raises UserError if langdetect is not installed.
    """
    if backend == "langdetect":
        _langdetect()
        return with_langdetect
    return with_py3langid


def with_py3langid(captions: Sequence[str]) -> list[Guess]:
    """One guess per caption, among all languages of py3langid."""
    classify = _py3langid().classify
    return [Guess(*classify(caption)) if caption.strip() else Guess(UNKNOWN, 0.0) for caption in captions]


def with_langdetect(captions: Sequence[str]) -> list[Guess]:
    """One guess per caption, deterministic."""
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


# Articles, prepositions and conjunctions that identify a related language. Shared words do not count.
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
_NEIGHBOURS = ("en", "fr", "es", "de", "pt")  # whose word lists are consulted; simplemma keeps eight in memory
_LIMIT = 6.0  # to which the classifier's log ratio is clipped
_FUNCTION, _KNOWN, _OWN_KNOWN = 2.0, 1.0, 0.8  # weights of words beside the log ratio
_AHEAD = 1.0  # score above which a caption is in another language


class Doubt(NamedTuple):
    """A more likely other language, its probability, and whether this is clear even for a short caption."""

    language: str
    probability: float
    clear: bool


def foreign(captions: Sequence[str], language: Language) -> list[Doubt | None]:
    """For each caption the language that is more likely than `language`, or None (py3langid and words)."""
    return [_foreign(caption, language) if caption.strip() else None for caption in captions]


def _foreign(caption: str, language: Language) -> Doubt | None:
    own_words, neighbours = _function_words(language)
    best, _ = _py3langid().classify(caption)
    words = _WORDS.findall(caption)
    all_capitals = caption.isupper()
    # Inside a caption a capitalised word is a name: "Alcide De Gasperi".
    small = [
        w.lower() for n, w in enumerate(words) if all_capitals or n == 0 or w[0].islower() or language.capital_nouns
    ]
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
    """Function words of only this language, and of only its related languages."""
    return _function_words_of(language.code, language.function_words)


@lru_cache(maxsize=200_000)
def _is_known(word: str, code: str) -> bool:
    return is_known(word, code)
