"""Italian articles, by gender and initial sound of a word."""

import re

_VOWELS = "aeiouàèéìòùh"
# Onsets that take "uno" and "lo": s with a consonant, z, gn, ps, x, and glides.
_STRONG_ONSETS = re.compile(r"(s[^aeiouàèéìòù]|z|gn|ps|pn|x|y[^o]?|sci[aeou])", re.IGNORECASE)


def is_strong(word: str) -> bool:
    """Return True if a masculine word takes "uno" and "lo"."""
    return bool(_STRONG_ONSETS.match(word))


def is_elided(word: str) -> bool:
    """Return True if "una", "lo" and "la" are elided before the word; a silent h counts as a vowel."""
    return word[0].lower() in _VOWELS


def indefinite(word: str, feminine: bool) -> str:
    """Return the indefinite article, with the space or apostrophe before `word`."""
    if feminine:
        return "un'" if is_elided(word) and not word.startswith(("h", "yo")) else "una "
    return "uno " if is_strong(word) else "un "


def definite(word: str, feminine: bool) -> str:
    """Return the singular definite article, with the space or apostrophe before `word`."""
    if is_elided(word):
        return "l'"
    if feminine:
        return "la "
    return "lo " if is_strong(word) else "il "


def of_definite(word: str, feminine: bool) -> str:
    """Return "di" contracted with the definite article: "del ", "dello ", "dell'", "della "."""
    return {"l'": "dell'", "la ": "della ", "lo ": "dello ", "il ": "del "}[definite(word, feminine)]
