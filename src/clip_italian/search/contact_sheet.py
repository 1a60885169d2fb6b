"""A page with the pictures that were found, for one or more queries."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_italian.pages import thumbnail, write_page
from clip_italian.search.index import Hit


def rows(
    results: Sequence[tuple[str, Sequence[Hit]]], captions: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Queries with their hits as the templates take them; `captions` by picture id, shown instead of the id."""
    known = captions or {}
    return [
        {
            "query": query,
            "hits": [{"hit": h, "thumbnail": thumbnail(h.path), "caption": known.get(h.id)} for h in hits],
        }
        for query, hits in results
    ]


def write_sheet(path: Path, results: Sequence[tuple[str, Sequence[Hit]]], language: str = "it") -> None:
    """Write a self-contained contact sheet."""
    write_page(path, "contact_sheet.html", results=rows(results), language=language)
