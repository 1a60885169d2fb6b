"""Contact sheets: an HTML page with the hits of one or more queries."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_italian import languages
from clip_italian.languages import SheetWords
from clip_italian.pages import thumbnail, write_page
from clip_italian.pictures.decoding import PictureError
from clip_italian.search.index import Hit


def rows(
    results: Sequence[tuple[str, Sequence[Hit]]], words: SheetWords, captions: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Queries and hits for the templates; `captions`, by picture id, replace the ids."""
    known = captions or {}
    return [
        {
            "query": query,
            "quoted": words.quoted.format(query=query),
            "lead": words.found.format(count=len(hits)) if hits else words.none,
            "gone": words.gone,
            "hits": [_shown(hit, words, known.get(hit.id)) for hit in hits],
        }
        for query, hits in results
    ]


def write_sheet(path: Path, results: Sequence[tuple[str, Sequence[Hit]]], language: str = languages.DEFAULT) -> None:
    """Write a self-contained contact sheet in the words of a language."""
    words = languages.get(language).sheet
    write_page(path, "contact_sheet.html", results=rows(results, words), language=language)


def _shown(hit: Hit, words: SheetWords, caption: str | None) -> dict[str, Any]:
    notes = [words.score.format(score=f"{hit.score:.3f}".replace(".", words.point))]
    if hit.probability is not None:
        notes.append(words.probability.format(probability=hit.probability))
    if hit.copies:
        notes.append(words.copies.format(count=len(hit.copies)))
    return {"hit": hit, "thumbnail": _thumbnail(hit), "caption": caption, "notes": notes}


def _thumbnail(hit: Hit) -> str | None:
    try:
        return thumbnail(hit.open(at_least=256))
    except PictureError:
        return None
