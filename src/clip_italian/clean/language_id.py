"""Which language a caption is in, by one of two libraries behind one function.

py3langid compares with all the languages that it knows: told to choose among a few, it takes the others'
captions for the nearest of these. langdetect is what the paper used; it is seeded here, since by itself it
answers the same caption differently from one call to the next.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

from clip_italian.errors import UserError

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
