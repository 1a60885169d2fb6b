"""Photos with captions in an article's HTML: `<figure>`, or WordPress's markup from before it existed."""

import math
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from requests.utils import requote_uri
from selectolax.lexbor import LexborHTMLParser, LexborNode

from clip_italian.sources.text import one_line

_FIGURES = "figure, .wp-caption, .gallery-item"
_CAPTIONS = "figcaption, .wp-caption-text, .gallery-caption"
_ASIDE = ("aside", "nav", "footer", "header")  # of the page; an article's own header holds its photo
_NO_PHOTO = "table, video, audio, iframe, blockquote, pre"
_NO_TEXT = "script, style, noscript, button, .credit, .credits, .copyright, .photo-credit, .media-credit"
_CREDITS = ".credit, .credits, .copyright, .photo-credit, .media-credit"
_LINES = "br, p, div, li, small, h2, h3, h4"  # elements that start or end a line
# Attributes with picture URLs, the most reliable first: lazy loading puts a placeholder into src.
_ORIGINALS = ("data-orig-file", "data-full-url")
_SETS = ("data-srcset", "data-lazy-srcset", "srcset")
_SINGLE = ("data-src", "data-lazy-src", "data-original", "src")
_UNREAD_TYPES = ("image/avif", "image/svg+xml")  # offered beside a format that every browser reads
_SPACE = " \t\n\f\r"
_ADDRESS = re.compile(rf"[{_SPACE},]*([^{_SPACE}]+)")
_DESCRIPTOR = re.compile(r"((?:\([^)]*\)?|[^(,])*),?")
# WordPress: photo-1024x683.jpg; Il Post: 2026/05/25/680x453/photo.jpg
_SIZE_IN_NAME = re.compile(r"(?:-(\d{2,5})x\d{2,5}(?:\.\w{3,4})+|/(\d{2,5})x\d{2,5}/[^/]+)$")

_WORDPRESS_SIZE = re.compile(r"-\d{2,5}x\d{2,5}((?:\.\w{3,4})+)$")
_PICTURE_FILE = re.compile(r"\.(?:jpe?g|png|webp|gif|tiff?)$", re.IGNORECASE)


class Figure(NamedTuple):
    """A figure: URLs of its pictures as written, the best first, its caption, and the credit in an element of its own.

    Caption and credit are "" if missing.
    """

    images: tuple[str, ...]
    caption: str
    credit: str = ""


class Article(NamedTuple):
    """A page's canonical URL, base of relative URLs and own picture, each if declared, and its figures."""

    canonical: str | None
    base: str | None
    picture: str | None
    figures: tuple[Figure, ...]


def article(html: str) -> Article:
    """The figures of a page in order, without those of tables, videos and quotations."""
    tree = LexborHTMLParser(html)
    canonical = _attribute(tree, "link[rel~=canonical]", "href") or _attribute(tree, "[property='og:url']", "content")
    return Article(
        canonical,
        _attribute(tree, "base[href]", "href"),
        _attribute(tree, "[property='og:image']", "content"),
        tuple(_figures(tree)),
    )


def absolute(address: str, base: str | None) -> str | None:
    """An absolute http URL; None if the address is invalid, or relative without a base."""
    try:
        whole = urljoin(base or "https:", address.strip())
        parts = urlsplit(whole)
        return requote_uri(whole) if parts.scheme in ("http", "https") and parts.hostname else None
    except ValueError:
        return None


def srcset(text: str) -> list[tuple[str, str]]:
    """URLs and descriptors ("640w", "2x", "") of a `srcset`; a URL may contain commas (HTML, 4.8.4)."""
    found = []
    at = 0
    while address := _ADDRESS.match(text, at):
        at = address.end()
        url, descriptor = address.group(1).rstrip(","), ""
        if url == address.group(1) and (rest := _DESCRIPTOR.match(text, at)):
            descriptor, at = rest.group(1).strip(_SPACE), rest.end()
        if url:
            found.append((url, descriptor))
    return found


def _figures(tree: LexborHTMLParser) -> Iterator[Figure]:
    for node in _all_figures(tree):
        if len(_all_figures(node)) > 2 or _is_inside_other(node) or _is_aside(node):
            continue
        images = tuple(_images(node))
        if images or not node.css_first(_NO_PHOTO):
            caption = node.css_first(_CAPTIONS)
            credit = node.css_first(_CREDITS)
            credit_text = one_line(credit.text()) if credit else ""
            yield Figure(images, _text(caption) if caption else "", credit_text)


def _all_figures(node: LexborHTMLParser | LexborNode) -> list[LexborNode]:
    """Figures in document order, including the node itself; the parser gives a node once per matching selector."""
    return list({found.mem_id: found for found in node.css(_FIGURES)}.values())


def _is_aside(node: LexborNode) -> bool:
    """True if the figure is in a sidebar, a menu, or the page's header or footer."""
    parent = node.parent
    inside: set[str] = set()
    while parent is not None:
        inside.add(parent.tag or "")
        if parent.tag in ("article", "main"):
            return bool(inside & {"aside", "nav", "footer"})
        parent = parent.parent
    return bool(inside.intersection(_ASIDE))


def _is_inside_other(node: LexborNode) -> bool:
    """True if the node is the only figure inside another, which then represents both; galleries have several."""
    own = {found.mem_id for found in _all_figures(node)}
    parent = node.parent
    while parent is not None and {found.mem_id for found in _all_figures(parent)} == own:
        parent = parent.parent
    return parent is not None and len(_all_figures(parent)) == 2 and _all_figures(parent)[0].mem_id == parent.mem_id


def _images(figure: LexborNode) -> list[str]:
    """URLs of a figure's pictures, the widest first, then by reliability."""
    found: dict[str, tuple[float, float]] = {}
    widths = False  # if a srcset declares widths, it is complete
    for node in figure.css("img, picture source"):
        if (node.attributes.get("type") or "") in _UNREAD_TYPES:
            continue
        for name in (*_ORIGINALS, *_SETS, *_SINGLE):
            value = (node.attributes.get(name) or "").strip()
            some = srcset(value) if name in _SETS else [(value, "")]
            widths = widths or any(descriptor.endswith("w") for _, descriptor in some)
            for url, descriptor in some:
                if url and not url.lower().startswith(("data:", "blob:", "about:", "javascript:")):
                    found.setdefault(url, (math.inf, 1.0) if name in _ORIGINALS else _size(url, descriptor))
    # The name of a thumbnail ("photo-300x200.jpg") shows which of the others is the original: "photo.jpg".
    whole = {_without_size(url) for url in found} - {None}
    for link in _links(figure):
        if link in found or _without_size(link) in found or link in whole or not found or _has_placeholders(found):
            found.setdefault(link, (math.inf, 0.0))
    for url in found:
        if url in whole and not widths:
            found[url] = (math.inf, 0.5)
    return sorted(found, key=lambda url: found[url], reverse=True)


def _links(figure: LexborNode) -> list[str]:
    """URLs of picture files that the figure's pictures link to, as written."""
    links = figure.css("a[href]")
    if figure.parent is not None and figure.parent.tag == "a":
        links = [figure.parent, *links]
    urls = [(link.attributes.get("href") or "").strip() for link in links if link.css_first("img")]
    return [url for url in urls if _PICTURE_FILE.search(url.partition("?")[0].partition("#")[0])]


def _without_size(url: str) -> str | None:
    """WordPress's "photo.jpg" for "photo-300x200.jpg"; None if the name has no size."""
    path, mark, query = url.partition("?")
    bare = _WORDPRESS_SIZE.sub(r"\1", path)
    return None if bare == path else f"{bare}{mark}{query}"


def _has_placeholders(found: Iterable[str]) -> bool:
    return all(re.search(r"blank|placeholder|spacer|pixel", url, re.IGNORECASE) for url in found)


def _size(url: str, descriptor: str) -> tuple[float, float]:
    """Width in pixels, 0 if unknown, and pixel density."""
    if width := re.search(r"(\d+)w\b", descriptor):
        return float(width.group(1)), 1.0
    named = _SIZE_IN_NAME.search(url.partition("?")[0])
    density = re.search(r"(\d+(?:\.\d+)?)x\b", descriptor)
    return float(named.group(1) or named.group(2)) if named else 0.0, float(density.group(1)) if density else 1.0


def _text(node: LexborNode) -> str:
    for unwanted in node.css(_NO_TEXT):
        if unwanted.mem_id != node.mem_id:
            unwanted.decompose()
    for line in node.css(_LINES):
        if line.mem_id != node.mem_id:
            line.insert_before(" ")
            line.insert_after(" ")
    return one_line(node.text())


def _attribute(tree: LexborHTMLParser, selector: str, name: str) -> str | None:
    node = tree.css_first(selector)
    return ((node.attributes.get(name) or "").strip() or None) if node else None
