"""What captions of drawings have in common in all languages: names of emoji, and sentences beside Tux Paint stamps."""

import re
from collections.abc import Callable, Iterable

_LONGEST = 90  # characters; longer ones tell a story
_SPEECH = ("–", "-", ",", '"', "«", "“", "„")


def tidy_sentence(sentence: str, begins_small: Callable[[str], bool]) -> str | None:
    """A stamp's sentence as a caption: "Una mela rossa." → "una mela rossa".

    `begins_small` says of the first word, in lower case, whether captions write it small: articles and numbers.
    Returns None for what describes no picture: jokes on the tombstones, rules of a game.
    """
    text = " ".join(sentence.split()).rstrip(". ")
    if not text or len(text) > _LONGEST or text.startswith(_SPEECH):
        return None
    return text[0].lower() + text[1:] if begins_small(text.split()[0].lower()) else text


def by_pattern(name: str, patterns: Iterable[tuple[re.Pattern[str], Callable[..., str]]]) -> str | None:
    """What the first pattern that fits the whole name makes of its groups; None where none fits."""
    for pattern, make in patterns:
        if match := pattern.fullmatch(name):
            return make(*match.groups())
    return None
