"""Contact sheets: an HTML page with the hits of one or more queries, or with copies and bursts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_italian import languages
from clip_italian.languages import DuplicateWords, SheetWords
from clip_italian.pages import thumbnail, write_page
from clip_italian.pictures.decoding import PictureError, prefetch
from clip_italian.search.duplicates import Group, Picture
from clip_italian.search.index import Hit

# Groups and pictures of one on a page of copies and bursts; a thumbnail takes some 10 KB.
MOST_GROUPS, MOST_PICTURES = 300, 60


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


def write_duplicates(path: Path, groups: Sequence[Group], language: str = languages.DEFAULT) -> None:
    """Write a self-contained page of groups with a list of the checked paths: of copies all but the best.

    It shows the first `MOST_GROUPS` groups, and the first `MOST_PICTURES` pictures of each.
    """
    chosen = languages.get(language)
    words, point = chosen.duplicates, chosen.sheet.point
    shown = groups[:MOST_GROUPS]
    pictures = [one for group in shown for one in group.pictures[:MOST_PICTURES]]
    thumbnails = (found for batch in prefetch(pictures, 64, lambda one: _thumbnail(one.hit)) for _, found in batch)
    items = [
        {
            "title": (words.copies if group.kind == "copies" else words.bursts).format(count=len(group.pictures)),
            "pictures": [
                {
                    "picture": one,
                    "thumbnail": next(thumbnails),
                    "notes": _facts(one, words, point),
                    "best": one is group.best,
                    "checked": number > 0 and one.removable and group.kind == "copies",
                }
                for number, one in enumerate(group.pictures[:MOST_PICTURES])
            ],
        }
        for group in shown
    ]
    copies = sum(group.kind == "copies" for group in groups)
    write_page(
        path, "duplicates.html", groups=items, words=words, language=language,
        lead=words.lead.format(copies=copies, bursts=len(groups) - copies) if groups else words.none,
        rest=words.shown.format(shown=len(shown), count=len(groups)) if len(shown) < len(groups) else None,
    )  # fmt: skip


def _facts(one: Picture, words: DuplicateWords, point: str) -> list[str]:
    notes = [words.pixels.format(width=one.width, height=one.height)] if one.width else []
    notes += [one.weight.replace(".", point)] if one.bytes else []
    notes += [f"{one.taken:%Y-%m-%d %H:%M:%S}"] if one.taken else []
    notes += [words.inside] if one.hit.part else []
    problems = {"missing": words.missing, "changed": words.changed, "unreadable": words.unreadable}
    return notes + ([problems[one.problem]] if one.problem else [])


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
