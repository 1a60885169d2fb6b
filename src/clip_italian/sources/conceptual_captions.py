"""Conceptual Captions: English captions with image URLs, to be translated.

https://ai.google.com/research/ConceptualCaptions. Lines of caption, tab and URL without quoting; the file with labels
has three more columns. The authors allow any use of the captions; each image has its own licence.
"""

from collections.abc import Iterator
from pathlib import Path

from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.text import Line, key_id, lines, one_line, place

LICENSE = "captions: free for any use; image: unknown"
_COLUMNS = (2, 5)


def read(path: Path) -> Iterator[Pair | Reject]:
    """The pairs of one file, one per line; malformed lines are rejects."""
    for line in lines(path):
        if isinstance(line, Reject):
            yield line
        elif line.text and not (line.number == 1 and line.text.lower().startswith("caption\t")):
            yield _pair(line, path)


def _pair(line: Line, path: Path) -> Pair | Reject:
    where = place(path, line.number)
    fields = line.text.split("\t")
    if len(fields) not in _COLUMNS:
        return Reject("", "wrong-columns", line.text[:200], f"{where}: {len(fields)} columns, not 2")
    caption, url = one_line(fields[0]), fields[1].strip()
    if not url.startswith(("http://", "https://")) or any(c.isspace() for c in url):
        return Reject("", "no-url", url[:200], where)
    id_ = key_id("cc", url)
    if not caption:
        return Reject(id_, "no-caption", detail=where)
    return Pair(id_, url, (caption,), "conceptual-captions", license=LICENSE)
