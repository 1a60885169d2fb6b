"""Web pages, asked for one at a time with pauses between, and kept so that none is asked for twice.

robots.txt is read first and respected (RFC 9309: a host whose robots.txt cannot be read for a fault of its
own is not asked). Pauses are counted within one process: ask one host by one run only.
"""

import gzip
import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from protego import Protego

from clip_italian.files.atomic import staged
from clip_italian.http import USER_AGENT, FetchError, Response, get
from clip_italian.sources.page_text import decoded, saved_from
from clip_italian.sources.text import decode, flaw

_DOWN = ("timeout", "no-connection", "http-429", "http-503")  # the host, not only the page, is in trouble
_IN_A_ROW = 5  # pages in a row that a host fails before it is asked for no more in this run
_GONE = ("http-404", "http-410", "http-451", "not-html", "robots-tag", "too-many-bytes")
_REMEMBERED = 86_400.0  # seconds that a page which is gone is not asked for again
_REDIRECTS = 5
_HTML = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True)
class Manners:
    """How to ask: requests a second to one host, seconds for a whole page, further tries, seconds before the
    first of them (doubled each time), the longest wait that a host may ask for, bytes of a page."""

    user_agent: str = USER_AGENT
    rate: float = 1.0
    timeout: float = 30.0
    retries: int = 3
    first_wait: float = 1.0
    longest_wait: float = 120.0
    max_bytes: int = 10_000_000


@dataclass
class _Pace:
    """When a host may be asked: `interval` seconds after the last request, or later if it asks for that."""

    interval: float
    not_before: float = field(default_factory=time.monotonic)

    def turn(self) -> None:
        """Wait until the host may be asked."""
        time.sleep(max(0.0, self.not_before - time.monotonic()))
        self.leave_alone(self.interval)

    def leave_alone(self, seconds: float) -> None:
        """No request for so long."""
        self.not_before = max(self.not_before, time.monotonic() + seconds)


@dataclass
class _Site:
    """What is going on with one scheme, host and port. `closed`: reason and detail why it is asked no more."""

    pace: _Pace
    rules: Protego | None = None
    closed: tuple[str, str] | None = None
    failed: int = 0  # pages in a row


class Pages:
    """Pages in a folder, those missing fetched. `asked` counts the requests for pages; not for threads."""

    def __init__(self, folder: Path, manners: Manners) -> None:
        self.folder = folder
        self.manners = manners
        self.asked = 0
        self._sites: dict[str, _Site] = {}
        self._paces: dict[str, _Pace] = {}  # http and https of one host share one
        self._session = requests.Session()
        self._session.headers["User-Agent"] = manners.user_agent

    def get(self, url: str) -> Path:
        """The file with the page, to be read by `page_text.read_page`; raises FetchError."""
        url = checked(url)
        kept = self.folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.html.gz"
        if kept.is_file() and kept.stat().st_size:
            return kept
        refused = kept.with_suffix(".refused")
        if refused.is_file() and time.time() - refused.stat().st_mtime < _REMEMBERED:
            raise FetchError(refused.read_text(encoding="utf-8"), "by an earlier request of the last 24 hours")
        try:
            answer = self._page(url)
        except FetchError as error:
            if error.reason in _GONE:
                with staged(refused) as temporary:
                    temporary.write_text(error.reason, encoding="utf-8")
            raise
        text = saved_from(answer.url) + decoded(answer.body, answer.headers.get("Content-Type", ""))
        with staged(kept) as temporary:
            temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
        return kept

    def _page(self, url: str) -> Response:
        """Follow redirects, each asked for only where the robots.txt of its host lets us."""
        self.asked += 1
        for _ in range(_REDIRECTS + 1):
            site = self._site(url)
            if site.closed is not None:
                raise FetchError(*site.closed)
            if site.rules is not None and not site.rules.can_fetch(url, self._name):
                raise FetchError("robots")
            answer = self._patiently(url, site)
            if answer.location is None:
                _check(answer)
                return answer
            url = checked(urljoin(url, answer.location))
        raise FetchError("redirects")

    @property
    def _name(self) -> str:
        return self.manners.user_agent.partition("/")[0]

    def _site(self, url: str) -> _Site:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc.lower()}"
        if origin not in self._sites:
            pace = self._paces.setdefault(parts.hostname or "", _Pace(1 / self.manners.rate))
            site = self._sites[origin] = _Site(pace)
            try:
                self._read_rules(f"{origin}/robots.txt", site)
            except FetchError as error:
                if not error.reason.startswith("http-4") or error.reason == "http-429":
                    site.closed = error.reason, f"{origin}/robots.txt"
        return self._sites[origin]

    def _read_rules(self, url: str, site: _Site) -> None:
        for _ in range(_REDIRECTS + 1):
            answer = self._patiently(url, site)
            if answer.location is None:
                site.rules = Protego.parse(decode(answer.body))
                share = site.rules.request_rate(self._name)
                asked = (site.rules.crawl_delay(self._name), share.seconds / share.requests if share else None)
                site.pace.interval = max(site.pace.interval, *(float(pause or 0) for pause in asked))
                site.pace.leave_alone(site.pace.interval)
                return
            url = checked(urljoin(url, answer.location))
        raise FetchError("redirects")

    def _patiently(self, url: str, site: _Site) -> Response:
        """`ask` with further tries; a host that is out of reach for several pages is given up."""
        for number in range(self.manners.retries + 1):
            site.pace.turn()
            try:
                answer = get(self._session, url, self.manners.timeout, self.manners.max_bytes, follow_redirects=False)
            except FetchError as error:
                if not error.is_retryable:
                    site.failed = 0
                    raise
                if error.retry_after is not None and error.retry_after > self.manners.longest_wait:
                    site.closed = error.reason, f"the host asks to be left alone for {error.retry_after:.0f} s"
                    raise
                if number == self.manners.retries:
                    site.failed = site.failed + 1 if error.reason in _DOWN else 0
                    if site.failed == _IN_A_ROW:
                        site.closed = error.reason, f"not asked for: {_IN_A_ROW} pages before it did not come"
                    raise
                site.pace.leave_alone(
                    error.retry_after if error.retry_after is not None else self.manners.first_wait * 2**number
                )
            else:
                site.failed = 0
                return answer
        raise AssertionError("not reached")


def checked(url: str) -> str:
    """The address without its fragment; raises FetchError where it is none that can be asked for."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 80) > 0
        if usable and not any(c.isspace() for c in parts.geturl()) and flaw(url) is None:
            return parts._replace(fragment="").geturl()
    except ValueError:
        pass
    raise FetchError("bad-address")


def _check(answer: Response) -> None:
    """Raises FetchError where the page is none, or does not want to be collected."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind and kind not in _HTML:
        raise FetchError("not-html", kind)
    if not answer.body.strip():
        raise FetchError("empty-page")
    answer.check_robots_tag()
