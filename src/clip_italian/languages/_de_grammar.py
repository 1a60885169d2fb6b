"""German nouns: recognition, capitalisation, gender and article.

The gender is determined by an adjective before the noun ("rotes Herz", "roter Punkt"), else by a table of word endings,
else by rules for suffixes. In a compound, the last part decides.
"""

import re

import simplemma

from clip_italian.languages._de_nouns import (
    ADJECTIVES,
    BARE,
    GENDERS,
    NOUNS_LIKE_ADJECTIVES,
    PLURALS,
    SINGULARS,
    SMALL,
)

_ARTICLES = frozenset(
    "der die das den dem des ein eine einen einem einer eines kein keine mein meine dein deine unser".split()
)
_ENDINGS = ("es", "er", "em", "en", "e")
_PARTICIPLE = re.compile(r"\w+(?:end|elnd|ernd)(?:es|er|e)")
_SHOWN = {"es": "n", "er": "m"}
# Suffixes with a fixed gender, longest first.
_RULES = sorted(
    (
        (end, gender)
        for gender, ends in (
            ("f", "ung heit keit schaft ion tät anz enz ik ur itis ade age ette ine in ei"),
            ("n", "chen lein zeug ment um ett ma tum ing gerät nis"),
            ("m", "ling ismus ant ent ist eur or ich ig er el en"),
        )
        for end in ends.split()
    ),
    key=lambda rule: -len(rule[0]),
)
INDEFINITE = {"m": "ein", "f": "eine", "n": "ein"}


def is_adjective(word: str, following: str | None) -> bool:
    """Return True if a lower-case word is an inflected adjective of the following noun or adjective."""
    if word in ADJECTIVES and following is not None:
        return True
    if following is None or following in SMALL or following[0].isdigit() or word in NOUNS_LIKE_ADJECTIVES:
        return False
    ending = next((one for one in _ENDINGS if word.endswith(one)), None)
    if ending is None or len(word) - len(ending) < 3:
        return False
    if not simplemma.is_known(word, lang="de"):
        return True
    lemma = simplemma.lemmatize(word, lang="de")
    return lemma[0].islower() and len(lemma) < len(word) + (ending == "e") and lemma[:3] == word[:3] and lemma != word


def nouns_of(words: list[str]) -> list[bool]:
    """Return for each word of a phrase whether it is a noun; if some are capitalised, exactly those are."""
    if any(word[:1].isupper() for word in words):
        return [word[:1].isupper() for word in words]
    return [
        word not in SMALL
        and word[0].isalpha()
        and not is_adjective(word, words[at + 1] if at + 1 < len(words) else None)
        for at, word in enumerate(words)
    ]


def capitalise(noun: str) -> str:
    """Capitalise a noun: "apfel" → "Apfel", "back-pfeil" → "Back-Pfeil", "dvd" → "DVD"."""
    return "-".join(_ABBREVIATIONS.get(part, part[:1].upper() + part[1:]) for part in noun.split("-"))


_ABBREVIATIONS = {name.lower(): name for name in "CD DNA DVD ID IT NG OK SOS VS VW WC WLAN".split()}


def _last_part(noun: str) -> str:
    return noun.lower().strip("-,").split("-")[-1]


def gender(noun: str) -> str:
    """Return the gender (m, f or n) by the longest ending in the table, or else by the rules."""
    word = _last_part(noun)
    known = next((GENDERS[end] for end in _ends(word) if end in GENDERS), None)
    ruled = (name for end, name in _RULES if word.endswith(end) and len(word) > len(end) + 1)
    return known or next(ruled, None) or ("f" if word.endswith("e") else "m")


def _ends(word: str) -> list[str]:
    """Return all endings of a word, longest first, starting with the whole word marked by "^"."""
    return [f"^{word}", *(word[at:] for at in range(len(word)))]


def is_plural(noun: str) -> bool:
    """Return True for plurals such as "Augen"; words that are also singulars, such as "Fenster", are not plurals."""
    word = _last_part(noun)
    ends = set(_ends(word))
    if ends & PLURALS:
        return True
    if word in SINGULARS or ends & GENDERS.keys():
        return False
    lemma = simplemma.lemmatize(word.capitalize(), lang="de")
    return lemma[0].isupper() and lemma.lower() != word and lemma.lower()[:2] == word[:2] and len(lemma) < len(word)


def head_of(words: list[str], nouns: list[bool]) -> int | None:
    """Return the index of the head noun: the noun after a leading participle, or else the first noun."""
    for at, word in enumerate(words[:-1]):
        if word in _PREPOSITIONS and at and nouns[at - 1]:
            break
        if not nouns[at] and _PARTICIPLE.fullmatch(word):
            return next((later for later in range(at + 1, len(words)) if nouns[later]), None)
    return next((at for at, noun in enumerate(nouns) if noun), None)


_PREPOSITIONS = frozenset("mit in im ohne von vor über auf hinter nach für beim und aus unter zu zum".split())


def kind(words: list[str], nouns: list[bool]) -> str | None:
    """Return the gender of a phrase (m, f or n), p for a plural, or None if it takes no article."""
    head = head_of(words, nouns)
    if head is None or words[head].lower() in BARE:
        return None
    noun = words[head]
    if is_plural(noun):
        return "p"
    before = words[head - 1] if head and not nouns[head - 1] else ""
    shown = _SHOWN.get(before[-2:]) if before not in SMALL else None
    return shown or gender(noun)


def written(phrase: str) -> str:
    """Capitalise the nouns of a phrase: "nach oben" → "nach oben", "kein trinkwasser" → "kein Trinkwasser"."""
    words = phrase.split()
    return " ".join(capitalise(word) if noun else word for word, noun in zip(words, nouns_of(words), strict=True))


def with_article(phrase: str) -> str:
    """Add the indefinite article to a noun phrase and capitalise its nouns: "rotes herz" → "ein rotes Herz".

    Plurals, substances, games, and phrases that begin with an article or a number get no article.
    """
    words = phrase.split()
    text = written(phrase)
    first = words[0].lower()
    if first in _ARTICLES or first in BARE or first[0].isdigit():
        return text
    found = kind(words, nouns_of(words))
    return text if found in (None, "p") else f"{INDEFINITE[found]} {text}"
