"""Cheap checks of one caption by its characters: each returns the reason why it fails, or None."""

import html
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

import ftfy
from ftfy.badness import is_bad

# Reason (a short stable name) and detail for people, as in `Reject`.
Failure = tuple[str, str]
Check = Callable[[str], Failure | None]

_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<!--.*?-->", re.DOTALL)
_MARKUP = re.compile(r"\[\[|\]\]|\{\{|\}\}|'''?|__\w+__|&\w+;|</?[a-zA-Z][^<>]*$")
_URL = re.compile(r"(?:https?|ftp)://|\bwww\.[\w-]+\.|\b[\w.+-]+@[\w-]+\.\w{2,}", re.IGNORECASE)
_FILE_NAME = re.compile(r"(?:^|[\s:(/\\])[^\s/\\]+\.(?:jpe?g|png|gif|svg|tiff?|bmp|webp|pdf|ogg|djvu)\b", re.IGNORECASE)
_CAMERA_NAME = re.compile(r"^(?:IMG|DSC[NF]?|DSCF|P|PICT|PXL|MVI|DJI|WP)[_-]?\d{3,}\w*$", re.IGNORECASE)
# UTF-8 read as Windows-1252 or Latin-1 begins with one of these.
_MOJIBAKE = re.compile(r"[ÃÂâÄÅËÐðï][^A-Za-z\s]|Ã\s|[a-z]Ã$|\x80|\x99")
_WORD = re.compile(r"[^\W_]+")


def normalise(caption: str, footnote_words: tuple[str, ...] = ()) -> str:
    """The caption without HTML, footnote marks, control characters and runs of spaces, in NFC.

    UTF-8 that was decoded with another encoding ("caffÃ¨") is repaired.

    `footnote_words` are a language's words in such marks, besides numbers and English ("[27]", "[note 3]", "[a]").
    Applying it twice gives the same result as once.
    """
    before = None
    while caption != before:
        before = caption
        # Testing for one character spares most captions the regular expressions.
        if "&" in caption:
            caption = html.unescape(caption)
        if not caption.isascii() and _MOJIBAKE.search(caption):
            caption = ftfy.fix_encoding(caption)
        if "<" in caption:
            caption = _TAG.sub(" ", caption)
        if "[" in caption:
            caption = _footnote(footnote_words).sub("", caption)
        caption = unicodedata.normalize("NFC", caption)
        if not caption.isprintable():
            caption = "".join(" " if _is_control(c) else c for c in caption)
        caption = " ".join(caption.split())
    return caption


@lru_cache
def _footnote(words: tuple[str, ...]) -> re.Pattern[str]:
    said = "|".join(map(re.escape, ("note", "n.", "citation needed", "sic", "edit", *words)))
    return re.compile(rf"\s?\[(?:\d+|[a-z]|(?:{said})\.?(?:\s*\d+)?)\]", re.IGNORECASE)


def _is_control(character: str) -> bool:
    # Cc control, Cf invisible format (zero-width, bidi), Cs surrogates, Co private use, Cn unassigned.
    return unicodedata.category(character).startswith("C")


def words(caption: str) -> int:
    """Number of runs of letters or digits."""
    return len(_WORD.findall(caption))


def length(least: int, most: int) -> Check:
    """Fails captions of fewer than `least` or more than `most` words."""

    def check(caption: str) -> Failure | None:
        count = words(caption)
        if count < least:
            return "too-short", f"{count} words"
        return ("too-long", f"{count} words") if count > most else None

    return check


def letters(least: float) -> Check:
    """Fails captions with a share of letters below `least` (0..1), not counting spaces."""

    def check(caption: str) -> Failure | None:
        visible = caption.replace(" ", "")
        share = sum(map(str.isalpha, visible)) / len(visible) if visible else 0.0
        return ("few-letters", f"{share:.2f}") if share < least else None

    return check


def no_url(caption: str) -> Failure | None:
    """Fails captions with a web or e-mail address."""
    return ("url", found[0]) if (found := _URL.search(caption)) else None


def no_file_name(caption: str) -> Failure | None:
    """Fails captions that contain the name of a picture file."""
    found = _FILE_NAME.search(caption) or _CAMERA_NAME.search(caption)
    return ("file-name", found[0].strip()) if found else None


def no_markup(caption: str) -> Failure | None:
    """Fails captions with remains of wiki or HTML markup that `normalise` could not remove."""
    return ("markup", found[0]) if (found := _MARKUP.search(caption)) else None


def no_damage(caption: str) -> Failure | None:
    """Fails captions with U+FFFD, or with signs of a wrong decoding that `normalise` could not repair."""
    if "\ufffd" in caption:
        return "wrong-encoding", ""
    found = None if caption.isascii() else _MOJIBAKE.search(caption)
    # "cittÃ" has lost the no-break space that its repair needs.
    return ("wrong-encoding", found[0]) if found and (found[0].endswith("Ã") or is_bad(caption)) else None
