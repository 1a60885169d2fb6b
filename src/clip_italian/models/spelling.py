"""Normalises texts for tokenizers: valid Unicode, and lower case instead of all capitals."""

import re
from collections.abc import Callable, Sequence

_WORD = re.compile(r"[^\W\d_]{2,}")


def replace_surrogates(texts: Sequence[str]) -> list[str]:
    """Replace lone surrogates, which tokenizers reject: pairs are joined, others become U+FFFD.

    Raises TypeError for a single string instead of a list, and for items that are not strings.
    """
    if isinstance(texts, str | bytes):
        raise TypeError("encode_text takes a list of texts, not a single text")
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"encode_text takes a list of texts, not of {type(text).__name__}")
    return [text if text.isascii() else _joined(text) for text in texts]


def _joined(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def lower_all_caps(text: str, pieces: Callable[[str], int]) -> str:
    """Lowercase a text written in all capitals, unless it is an acronym.

    Models are trained on lower-case captions; case-sensitive tokenizers split "GATTO" into rare pieces. `pieces` counts
    the tokens of a word: a single word is lowercased if that reduces their number. Acronyms (NATO, FIAT 500) have fewer
    tokens in capitals and stay unchanged.
    """
    if text.upper() != text or text.lower() == text:
        return text
    words = _WORD.findall(text)
    if not words or (len(words) == 1 and pieces(words[0]) <= pieces(words[0].lower())):
        return text
    return text.lower()
