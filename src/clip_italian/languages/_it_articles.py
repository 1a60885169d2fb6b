"""Articles of Italian, by the sound that a word begins with and its gender."""

import re

_VOWELS = "aeiouàèéìòùh"
# Before these it is "uno" and "lo": s with a consonant, z, gn, ps, x, and the glides.
_STRONG_ONSETS = re.compile(r"(s[^aeiouàèéìòù]|z|gn|ps|pn|x|y[^o]?|sci[aeou])", re.IGNORECASE)


def is_strong(word: str) -> bool:
    """Whether a masculine word takes "uno" and "lo"."""
    return bool(_STRONG_ONSETS.match(word))


def is_elided(word: str) -> bool:
    """Whether "una", "lo" and "la" lose their vowel before the word; a silent h counts as a vowel."""
    return word[0].lower() in _VOWELS


def indefinite(word: str, feminine: bool) -> str:
    """The indefinite article, with the space or apostrophe that joins it to `word`."""
    if feminine:
        return "un'" if is_elided(word) and not word.startswith(("h", "yo")) else "una "
    return "uno " if is_strong(word) else "un "


def definite(word: str, feminine: bool) -> str:
    """The definite article of one thing, with the space or apostrophe that joins it to `word`."""
    if is_elided(word):
        return "l'"
    if feminine:
        return "la "
    return "lo " if is_strong(word) else "il "


def of_definite(word: str, feminine: bool) -> str:
    """ "di" joined to the definite article: "del", "dello", "dell'", "della"."""
    return {"l'": "dell'", "la ": "della ", "lo ": "dello ", "il ": "del "}[definite(word, feminine)]
