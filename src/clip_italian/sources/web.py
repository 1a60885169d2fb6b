"""Fetch web pages politely, keep them in a folder, and read their text.

robots.txt is read first and respected (RFC 9309: if it cannot be read because of a server error, the host is not
asked). Pauses are counted within one process, so a host must be fetched by one run at a time.
"""

import codecs
import gzip
import hashlib
import re
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from protego import Protego

from clip_italian.files.atomic import staged
from clip_italian.http import USER_AGENT, FetchError, Response, get
from clip_italian.sources.text import decode, flaw

DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error)  # raised for a damaged gzip file
_HOST_DOWN = ("timeout", "no-connection", "http-429", "http-503")  # reasons that concern the host, not only the page
_MOST_FAILED = 5  # pages in a row after which a failing host is given up for this run
_GONE = ("http-404", "http-410", "http-451", "not-html", "robots-tag", "too-many-bytes")
_REMEMBERED = 86_400.0  # seconds for which a page that is gone is not requested again
_REDIRECTS = 5
_HTML = ("text/html", "application/xhtml+xml")
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(rb"<meta[^>]*charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
# Names that mean Windows-1252 in web pages (WHATWG Encoding).
_WINDOWS = dict.fromkeys(("iso-8859-1", "latin-1", "latin1", "ascii", "us-ascii"), "cp1252")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_SAVED = re.compile(r"<!--\s*saved from url=\(\d{4,}\)(\S+)\s*-->")


@dataclass(frozen=True)
class Policy:
    """How to request pages.

    `rate` is the number of requests per second to one host, `timeout` the seconds for a whole page, `retries` the
    number of further tries, `first_pause` the seconds before the first of them (doubled each time), `longest_wait` the
    most seconds of a Retry-After that are waited.
    """

    user_agent: str = USER_AGENT
    rate: float = 1.0
    timeout: float = 30.0
    retries: int = 3
    first_pause: float = 1.0
    longest_wait: float = 120.0
    max_bytes: int = 10_000_000


@dataclass
class _Pace:
    """Spaces requests to one host: `interval` seconds apart, or later if the host asks for it."""

    interval: float
    not_before: float = field(default_factory=time.monotonic)

    def wait(self) -> None:
        """Wait until the next request is due."""
        time.sleep(max(0.0, self.not_before - time.monotonic()))
        self.pause(self.interval)

    def pause(self, seconds: float) -> None:
        """Allow no request for so many seconds."""
        self.not_before = max(self.not_before, time.monotonic() + seconds)


@dataclass
class _Site:
    """State of one scheme, host and port. `closed` is the reason and detail why it gets no more requests."""

    pace: _Pace
    rules: Protego | None = None
    closed: tuple[str, str] | None = None
    failed: int = 0  # pages in a row that failed


class Pages:
    """Pages kept in a folder; missing ones are fetched. `requested` counts the pages fetched. Not thread-safe."""

    def __init__(self, folder: Path, policy: Policy) -> None:
        self.folder = folder
        self.policy = policy
        self.requested = 0
        self._sites: dict[str, _Site] = {}
        self._paces: dict[str, _Pace] = {}  # http and https of one host share a pace
        self._session = requests.Session()
        self._session.headers["User-Agent"] = policy.user_agent

    def get(self, url: str) -> Path:
        """File with the page, for `read_page`; raises FetchError."""
        url = checked(url)
        kept = self.folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.html.gz"
        if kept.is_file() and kept.stat().st_size:
            return kept
        refused = kept.with_suffix(".refused")
        if refused.is_file() and time.time() - refused.stat().st_mtime < _REMEMBERED:
            raise FetchError(refused.read_text(encoding="utf-8"), "in an earlier request, within 24 hours")
        try:
            response = self._page(url)
        except FetchError as error:
            if error.reason in _GONE:
                with staged(refused) as temporary:
                    temporary.write_text(error.reason, encoding="utf-8")
            raise
        text = saved_from(response.url) + decoded(response.body, response.headers.get("Content-Type", ""))
        with staged(kept) as temporary:
            temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
        return kept

    def _page(self, url: str) -> Response:
        """Follow redirects, each only if the robots.txt of its host allows it."""
        self.requested += 1
        for _ in range(_REDIRECTS + 1):
            site = self._site(url)
            if site.closed is not None:
                raise FetchError(*site.closed)
            if site.rules is not None and not site.rules.can_fetch(url, self._name):
                raise FetchError("robots")
            response = self._get(url, site)
            if response.location is None:
                _check(response)
                return response
            url = checked(urljoin(url, response.location))
        raise FetchError("redirects")

    @property
    def _name(self) -> str:
        return self.policy.user_agent.partition("/")[0]

    def _site(self, url: str) -> _Site:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc.lower()}"
        if origin not in self._sites:
            pace = self._paces.setdefault(parts.hostname or "", _Pace(1 / self.policy.rate))
            site = self._sites[origin] = _Site(pace)
            try:
                self._read_rules(f"{origin}/robots.txt", site)
            except FetchError as error:
                if not error.reason.startswith("http-4") or error.reason == "http-429":
                    site.closed = error.reason, f"{origin}/robots.txt"
        return self._sites[origin]

    def _read_rules(self, url: str, site: _Site) -> None:
        for _ in range(_REDIRECTS + 1):
            response = self._get(url, site)
            if response.location is None:
                site.rules = Protego.parse(decode(response.body))
                share = site.rules.request_rate(self._name)
                pauses = (site.rules.crawl_delay(self._name), share.seconds / share.requests if share else None)
                site.pace.interval = max(site.pace.interval, *(float(pause or 0) for pause in pauses))
                site.pace.pause(site.pace.interval)
                return
            url = checked(urljoin(url, response.location))
        raise FetchError("redirects")

    def _get(self, url: str, site: _Site) -> Response:
        """`http.get` with retries; a host that fails for several pages in a row is given up."""
        for number in range(self.policy.retries + 1):
            site.pace.wait()
            try:
                response = get(self._session, url, self.policy.timeout, self.policy.max_bytes, follow_redirects=False)
            except FetchError as error:
                if not error.is_retryable:
                    site.failed = 0
                    raise
                if error.retry_after is not None and error.retry_after > self.policy.longest_wait:
                    site.closed = error.reason, f"the host asks to wait {error.retry_after:.0f} s"
                    raise
                if number == self.policy.retries:
                    site.failed = site.failed + 1 if error.reason in _HOST_DOWN else 0
                    if site.failed == _MOST_FAILED:
                        site.closed = error.reason, f"not requested: the {_MOST_FAILED} pages before it failed"
                    raise
                site.pace.pause(
                    error.retry_after if error.retry_after is not None else self.policy.first_pause * 2**number
                )
            else:
                site.failed = 0
                return response
        raise AssertionError("not reached")


def checked(url: str) -> str:
    """The URL without its fragment; raises FetchError ("bad-address") if it cannot be requested."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 80) > 0
        if usable and not any(c.isspace() for c in parts.geturl()) and flaw(url) is None:
            return parts._replace(fragment="").geturl()
    except ValueError:
        pass
    raise FetchError("bad-address")


def _check(response: Response) -> None:
    """Raise FetchError if a response is not an HTML page, is empty, or forbids its use."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind and kind not in _HTML:
        raise FetchError("not-html", kind)
    if not response.body.strip():
        raise FetchError("empty-page")
    response.check_robots_tag()


def saved_from(url: str) -> str:
    """The comment with which browsers record the URL of a saved page."""
    return f"<!-- saved from url=({len(url):04d}){url.replace('>', '%3E')} -->\n"


def read_page(path: Path) -> str:
    """Text of a page's file, gzipped or not; raises OSError, or one of `DAMAGE` if its compression is damaged."""
    raw = path.read_bytes()
    return decoded(gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw)


def decoded(raw: bytes, content_type: str = "") -> str:
    """HTML as text without NUL.

    Encodings are tried in this order: byte order mark, UTF-8, the declaration in the header or the page, Windows-1252.
    UTF-8 precedes the declaration, which is often wrong, while text in another encoding is never valid UTF-8 by chance.
    """
    marked = next((name for mark, name in _BYTE_ORDER_MARKS if raw.startswith(mark)), None)
    header, meta = _CHARSET.search(content_type), _META.search(raw[:4096])
    declared = header.group(1).lower() if header else ""
    found = meta.group(1).decode("ascii", "replace").lower() if meta else ""
    wide = declared if declared.startswith(("utf-16", "utf-32")) else None
    for name in filter(None, (marked, wide, "utf-8", declared, found)):
        try:
            text = raw.decode(_WINDOWS.get(name, name)).replace("\0", "").removeprefix("\ufeff")
        except (LookupError, ValueError):
            continue
        if flaw(text) is None:
            return text
    return decode(raw).replace("\0", "")


def origin(html: str) -> str | None:
    """URL in the comment of `saved_from`, if there is one near the start."""
    found = _SAVED.search(html, 0, 4096)
    return found.group(1) if found else None
