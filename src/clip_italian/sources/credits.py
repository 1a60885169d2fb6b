"""Credits of press photos at the end of a caption: "(AP Photo/Mario Rossi)", "(ANSA)"."""

import re

# Agencies and archives in lower case; names of several words by their most distinctive one.
_AGENCIES = frozenset(
    """afp ap agf agi alamy anadolu ansa associated bloomberg contrasto corbis dpa epa flickr fotogramma getty
    imagoeconomica ipa keystone kyodo lapresse magnum mondadori nurphoto photomasi photoshot photoviews picture-alliance
    reuters rex ritzau rtr shutterstock sipa splash sputnik swns tass unsplash upi wikicommons wikimedia wire xinhua
    zuma zumapress""".split()
)
# Words that introduce a name in a credit.
_MARKS = frozenset(("photo", "photos", "foto", "fotografia", "photograph", "photography", "via", "courtesy", "credit"))
# Other words in lower case inside a credit.
_SMALL = frozenset(
    """a al alla and by da dai dal de degli del della der di e ed file for from gentile concessione i il in la le of on
    per pool read should the van von via x""".split()
)
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


def without_credit(caption: str) -> str:
    """A caption without the credits in parentheses at its end; other parentheses stay."""
    return divide(caption)[0]


def divide(caption: str) -> tuple[str, str]:
    """A caption without the credits in parentheses at its end, and these credits ("" if none)."""
    credits: list[str] = []
    while (start := _last_parenthesis(caption)) is not None and is_credit(credit := caption[start:].strip("(). ")):
        credits.insert(0, credit)
        caption = caption[:start].rstrip()
    return caption, "; ".join(credits)


def is_credit(text: str) -> bool:
    """True if a text in parentheses only names a photographer or agency."""
    words = _WORD.findall(text)
    named = any(word.lower() in _AGENCIES and word[0].isupper() for word in words)
    marked = any(word.lower() in _MARKS for word in words) and any(word[0].isupper() for word in words[1:])
    own = text.lower().endswith("il post")
    if not (named or marked or own or "©" in text):
        return False
    return all(word[0].isupper() or word in _SMALL or word in _MARKS for word in words)


def _last_parenthesis(text: str) -> int | None:
    """Index of the opening parenthesis whose closing one ends the text (before an optional full stop), or None."""
    depth = 0
    end = len(text.rstrip(" ."))
    for at in range(end - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(text[at], 0)
        if depth <= 0:
            return at if at < end - 1 and text[at] == "(" else None
    return None
