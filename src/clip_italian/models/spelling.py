"""Texts as tokenizers should get them: valid Unicode, and not in capitals throughout."""

import re
from collections.abc import Callable, Sequence

_WORD = re.compile(r"[^\W\d_]{2,}")


def readable(texts: Sequence[str]) -> list[str]:
    """Texts without lone surrogates, which tokenizers refuse: halves of a pair are joined, others become U+FFFD.

    Raises TypeError for one text in place of a list, and for what is no text.
    """
    if isinstance(texts, str | bytes):
        raise TypeError("encode_text takes a list of texts, not one text")
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


def without_capitals(text: str, pieces: Callable[[str], int]) -> str:
    """The text in small letters where it is written in capitals throughout, and is no acronym.

    Models learn from captions in small letters: tokenizers that keep capitals divide "GATTO" into pieces that seldom
    occurred. A single word is lowered where `pieces` (tokens of a word) says that it then has fewer, as ordinary words
    have; acronyms (NATO, FIAT 500) are known in capitals and stay.
    """
    if text.upper() != text or text.lower() == text:
        return text
    words = _WORD.findall(text)
    if not words or (len(words) == 1 and pieces(words[0]) <= pieces(words[0].lower())):
        return text
    return text.lower()
