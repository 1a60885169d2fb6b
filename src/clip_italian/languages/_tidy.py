"""Helpers of all languages for captions from emoji names and sentences of Tux Paint stamps."""

import re
from collections.abc import Callable, Iterable

_LONGEST = 90  # characters; longer sentences do not describe the picture
_SPEECH = ("–", "-", ",", '"', "«", "“", "„")


def tidy_sentence(sentence: str, begins_small: Callable[[str], bool]) -> str | None:
    """Turn the sentence of a stamp into a caption: "Una mela rossa." → "una mela rossa".

    `begins_small` is called with the first word, in lower case, and returns True if captions do not capitalise it, as
    with articles and numbers. Returns None for sentences that do not describe the picture, such as rules of a game.
    """
    text = " ".join(sentence.split()).rstrip(". ")
    if not text or len(text) > _LONGEST or text.startswith(_SPEECH):
        return None
    return text[0].lower() + text[1:] if begins_small(text.split()[0].lower()) else text


def by_pattern(name: str, patterns: Iterable[tuple[re.Pattern[str], Callable[..., str]]]) -> str | None:
    """Call the function of the first pattern that matches the whole name with its groups; None if none matches."""
    for pattern, make in patterns:
        if match := pattern.fullmatch(name):
            return make(*match.groups())
    return None
