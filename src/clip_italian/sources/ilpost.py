"""Il Post's "La Foto del Giorno": photos and captions from its pages, https://www.ilpost.it.

Reads lists of URLs (the pages are fetched politely and kept), saved pages, folders of saved pages, and tables that were
collected earlier. `clip-italian fetch` downloads the pictures. Photos and captions belong to their owners: the pairs
have no licence, only the credit, if there is one.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.files.digests import sha256_of
from clip_italian.http import FetchError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources import tables
from clip_italian.sources.credits import divide
from clip_italian.sources.figures import Article, absolute, article
from clip_italian.sources.text import flaw, key_id, lines, place, read_all, rows
from clip_italian.sources.web import DAMAGE, Pages, Policy, checked, origin, read_page

SOURCE = "ilpost"
_PAGES = (".html", ".htm", ".xhtml")
_TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_IMAGES = ("image", "image_url", "img", "img_url", "image_path", "photo", "foto", "immagine", "picture", "src", "url")
_CAPTIONS = ("captions", "caption", "didascalia", "text", "testo", "description", "descrizione", "title", "titolo")
_NOTICE_EVERY = 100  # requested pages


@dataclass(frozen=True)
class IlPost:
    """Reads one list of URLs, saved page, folder of pages or table. Fetched pages are kept in the folder `pages`.

    Pauses between requests are kept within one list: do not read two lists of one host at the same time.
    """

    pages: Path
    policy: Policy

    def __call__(self, path: Path) -> Iterator[Pair | Reject]:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if _suffix(file) in _PAGES and file.is_file():
                    yield from saved(file)
        elif _suffix(path) in _TABLES:
            yield from table(path)
        elif _suffix(path) in _PAGES:
            yield from saved(path)
        else:
            yield from self._listed(path)

    def _listed(self, path: Path) -> Iterator[Pair | Reject]:
        pages = Pages(self.pages, self.policy)
        seen: set[str] = set()
        reported = 0
        for line in lines(path):
            if isinstance(line, Reject):
                yield line
                continue
            url, where = line.text.strip(), place(path, line.number)
            if not url or url.startswith("#"):
                continue
            try:
                url = checked(url)
                id_ = key_id("url", url)
                if id_ in seen:
                    yield Reject("", "duplicate-address", url, where)
                    continue
                seen.add(id_)
                html = read_page(pages.get(url))
            except FetchError as error:
                yield Reject("", error.reason, url[:500], f"{where}: {error.detail}" if error.detail else where)
                continue
            except DAMAGE as error:
                yield Reject("", "damaged-gzip", url, f"{where}: {error}; remove it from {self.pages}")
                continue
            if pages.requested - reported >= _NOTICE_EVERY:
                reported = pages.requested
                console.notice(f"{path.name}: line {line.number}, {reported:,} pages requested")
            yield from photos(article(html), url, origin(html) or url)


def saved(path: Path) -> Iterator[Pair | Reject]:
    """Pairs of a saved page, gzipped or not; its URL is the one that it declares, if any."""
    try:
        html = read_page(path)
    except (*DAMAGE, OSError) as error:
        yield Reject("", "damaged-gzip" if isinstance(error, DAMAGE) else "unreadable", str(path), str(error))
        return
    found, marked = article(html), origin(html)
    page = absolute(found.canonical, marked) if found.canonical else marked
    yield from photos(found, page, marked or page, path)


def photos(found: Article, page: str | None, base: str | None, file: Path | None = None) -> Iterator[Pair | Reject]:
    """Pairs of the page at `page`; relative URLs start from `base`, and `file` is the page's file if it was saved."""
    where = page or str(file)
    base = absolute(found.base, base) or base if found.base else base
    if not found.figures:
        yield Reject("", "no-photo", where)
    for figure in found.figures:
        # The page's own picture can only be matched with a figure if there is one figure.
        spare = (found.picture,) if found.picture and len(found.figures) == 1 and figure.caption else ()
        image = next(filter(None, (_picture(one, base, file) for one in (*figure.images, *spare))), None)
        caption, credit = divide(figure.caption)
        credit = "; ".join(dict.fromkeys(filter(None, (credit, figure.credit.strip("() ")))))
        reason = flaw(caption) or flaw(where)
        if image is None:
            yield Reject("", "no-photo", figure.caption, where)
            continue
        id_ = f"img-{sha256_of(Path(image))[:16]}" if image.startswith("/") else key_id("url", image)
        if reason or not caption:
            yield Reject(id_, reason or "no-caption", image, where)
        else:
            licence = f"credit: {credit}" if credit and flaw(credit) is None else None
            yield Pair(id_, image, (caption,), SOURCE, license=licence, page=page)


def table(path: Path) -> Iterator[Pair | Reject]:
    """Pairs of JSON lines, a JSON list or CSV; columns are recognised by their names.

    Raises UserError if no column has a known name for pictures or captions.
    """
    suffix = _suffix(path)
    if suffix in (".csv", ".tsv"):
        found: Iterator[Pair | Reject] = tables.Csv(columns(_header(path), path))(path)
    elif suffix == ".json" and (whole := read_all(path)).lstrip().startswith("["):
        found = _json_list(whole, path)
    else:
        found = tables.JsonLines(columns(_first_keys(path), path))(path)
    for item in found:
        yield replace(item, source=SOURCE) if isinstance(item, Pair) else item


def columns(names: list[str], path: Path) -> tables.Columns:
    """The columns with picture and caption among `names`; raises UserError if one is missing."""
    known = {name.casefold(): name for name in reversed(names)}
    image = next((known[name] for name in _IMAGES if name in known), None)
    caption = next((known[name] for name in _CAPTIONS if name in known), None)
    if names and (image is None or caption is None):
        what = "picture" if image is None else "caption"
        raise UserError(
            f"{path}: no column for the {what} among {', '.join(names)[:200]!r}; rename it to "
            f"{'image' if image is None else 'caption'}, or use clip-italian collect csv or jsonl and name it"
        )
    return tables.Columns(image, caption, source=SOURCE)


def _json_list(text: str, path: Path) -> Iterator[Pair | Reject]:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield Reject("", "not-json", text[:200], f"{path.name}: {error}")
        return
    names = columns(list(next((item for item in items if isinstance(item, dict)), {})), path)
    for number, item in enumerate(items, start=1):
        where = f"{path.name}, item {number}"
        if isinstance(item, dict):
            yield tables.from_row(item, names, path, where)
        else:
            yield Reject("", "no-object", str(item)[:200], where)


def _header(path: Path) -> list[str]:
    """Column names in the first line, with the delimiter that gives most columns."""
    best: list[str] = []
    for delimiter in tables.DELIMITERS:
        read = rows(lines(path), delimiter)
        found = next(([name.strip() for name in row.fields] for row in read if not isinstance(row, Reject)), [])
        best = max(best, found, key=len)
    return best


def _first_keys(path: Path) -> list[str]:
    for line in lines(path):
        try:
            values = json.loads(line.text) if not isinstance(line, Reject) else None
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict):
            return list(values)
    return []


def _picture(address: str, base: str | None, file: Path | None) -> str | None:
    """URL of a picture, or its path if a browser saved it beside the page."""
    if file is not None and "://" not in address and not address.startswith("/"):
        try:
            local = file.parent / unquote(address.partition("?")[0])
            if local.is_file():
                return str(local.resolve())
        except (OSError, ValueError):
            pass
    return absolute(address, base)


def _suffix(path: Path) -> str:
    """File suffix in lower case, without .gz."""
    return Path(path.name.lower().removesuffix(".gz")).suffix
