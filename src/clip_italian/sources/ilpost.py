"""Il Post's "La Foto del Giorno": photos and captions of its pages, https://www.ilpost.it.

Read are lists of addresses (their pages are asked for politely and kept), saved pages, folders of them, and
tables that someone collected already. The pictures themselves are left to `clip-italian fetch`. All rights in
photos and captions stay with their owners: the pairs say no licence but the credit, where there is one.
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
from clip_italian.sources.page_text import DAMAGE, origin, read_page
from clip_italian.sources.text import flaw, key_id, lines, place, read_all, rows
from clip_italian.sources.web import Manners, Pages, checked

SOURCE = "ilpost"
_PAGES = (".html", ".htm", ".xhtml")
_TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_IMAGES = ("image", "image_url", "img", "img_url", "image_path", "photo", "foto", "immagine", "picture", "src", "url")
_CAPTIONS = ("captions", "caption", "didascalia", "text", "testo", "description", "descrizione", "title", "titolo")
_NOTICE = 100  # requested pages from one notice to the next


@dataclass(frozen=True)
class IlPost:
    """Reads one list of addresses, saved page, folder of pages or table. Pages are kept in the folder `pages`.

    Pauses between requests hold within one list: lists of one host must not be read at the same time.
    """

    pages: Path
    manners: Manners

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
        pages = Pages(self.pages, self.manners)
        seen: set[str] = set()
        told = 0
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
            if pages.asked - told >= _NOTICE:
                told = pages.asked
                console.notice(f"{path.name}: line {line.number}, {told:,} pages asked for")
            yield from photos(article(html), url, origin(html) or url)


def saved(path: Path) -> Iterator[Pair | Reject]:
    """A page that was saved, gzipped or not. Its address is what it says itself, if it does."""
    try:
        html = read_page(path)
    except (*DAMAGE, OSError) as error:
        yield Reject("", "damaged-gzip" if isinstance(error, DAMAGE) else "unreadable", str(path), str(error))
        return
    found, marked = article(html), origin(html)
    page = absolute(found.canonical, marked) if found.canonical else marked
    yield from photos(found, page, marked or page, path)


def photos(found: Article, page: str | None, base: str | None, file: Path | None = None) -> Iterator[Pair | Reject]:
    """The photos of a page at `page`, whose relative addresses start from `base`; `file` is where it lies if saved."""
    where = page or str(file)
    base = absolute(found.base, base) or base if found.base else base
    if not found.figures:
        yield Reject("", "no-photo", where)
    for figure in found.figures:
        # The page's own picture can only be told to be that of a figure where there is one figure.
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
    """JSON lines, a JSON list or CSV that was collected already; the columns are known by their names.

    Raises UserError where no column has a name that pictures or captions go by.
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
    """The columns with picture and caption among `names`; raises UserError where there are none."""
    known = {name.casefold(): name for name in reversed(names)}
    image = next((known[name] for name in _IMAGES if name in known), None)
    caption = next((known[name] for name in _CAPTIONS if name in known), None)
    if names and (image is None or caption is None):
        what = "picture" if image is None else "caption"
        raise UserError(
            f"{path}: no column for the {what} among {', '.join(names)[:200]!r}; rename it to "
            f"{'image' if image is None else 'caption'}, or name it to clip-italian collect csv or jsonl"
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
    """The names in the first line, by the delimiter that makes the most of them."""
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
    """A picture's address, or path where a browser saved it beside the page."""
    if file is not None and "://" not in address and not address.startswith("/"):
        try:
            local = file.parent / unquote(address.partition("?")[0])
            if local.is_file():
                return str(local.resolve())
        except (OSError, ValueError):
            pass
    return absolute(address, base)


def _suffix(path: Path) -> str:
    """The ending in lower case, without .gz."""
    return Path(path.name.lower().removesuffix(".gz")).suffix
