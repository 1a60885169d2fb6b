"""Web pages, asked for one at a time with pauses between, and kept so that none is asked for twice.

robots.txt is read first and respected (RFC 9309: a host whose robots.txt cannot be read for a fault of its
own is not asked). Pauses and retries are counted within one process: give all addresses of a host to one run.
"""

import gzip
import hashlib
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from protego import Protego

from clip_italian.assets import staged
from clip_italian.retries import USER_AGENT, seconds_asked
from clip_italian.sources.page_text import decoded, saved_from
from clip_italian.sources.text import decode, flaw

_DOWN = ("timeout", "no-connection", "http-429", "http-503")  # the host, not only the page, is in trouble
_FOR_THE_MOMENT = (*_DOWN, "truncated", "http-5")
_IN_A_ROW = 5  # pages in a row that a host fails before it is asked for no more in this run
_REMEMBERED = 86_400.0  # seconds that a page which is not there is not asked for again
_REDIRECTS = 5
_CHUNK = 1 << 16
_HTML = ("text/html", "application/xhtml+xml")
_DIRECTIVES = frozenset(("noai", "noimageai", "noindex", "noimageindex"))


class PageError(Exception):
    """Why there is no page: a short stable name, and what a person wants to know more."""

    def __init__(self, reason: str, detail: str = "", wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.wait = wait  # seconds that the host asks to be left alone


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
class _Host:
    """What is going on with one host. `closed` is why it is asked for nothing more."""

    interval: float  # seconds from one request to the next
    rules: Protego | None = None
    closed: PageError | None = None
    failed: int = 0  # pages in a row
    not_before: float = field(default_factory=time.monotonic)

    def turn(self) -> None:
        """Wait until the host may be asked."""
        time.sleep(max(0.0, self.not_before - time.monotonic()))
        self.leave_alone(self.interval)

    def leave_alone(self, seconds: float) -> None:
        """No request for so long."""
        self.not_before = max(self.not_before, time.monotonic() + seconds)


@dataclass(frozen=True)
class _Answer:
    url: str
    body: bytes
    content_type: str


class Pages:
    """Pages in a folder, those missing fetched. `asked` counts the requests for pages; not for threads."""

    def __init__(self, folder: Path, manners: Manners) -> None:
        self.folder = folder
        self.manners = manners
        self.asked = 0
        self._hosts: dict[str, _Host] = {}
        self._session = requests.Session()
        self._session.headers["User-Agent"] = manners.user_agent

    def get(self, url: str) -> Path:
        """The file with the page, to be read by `page_text.read_page`; raises PageError."""
        url = checked(url)
        kept = self.folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.html.gz"
        if kept.is_file():
            return kept
        refused = kept.with_suffix(".refused")
        if refused.is_file() and time.time() - refused.stat().st_mtime < _REMEMBERED:
            raise PageError(refused.read_text(encoding="utf-8"), "by an earlier request of the last 24 hours")
        try:
            answer = self._page(url)
        except PageError as error:
            if error.reason == "not-html" or (error.reason.startswith("http-4") and error.reason != "http-429"):
                with staged(refused) as temporary:
                    temporary.write_text(error.reason, encoding="utf-8")
            raise
        text = saved_from(answer.url) + decoded(answer.body, _charset(answer.content_type))
        with staged(kept) as temporary:
            temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
        return kept

    def _page(self, url: str) -> _Answer:
        """Follow redirects, each asked for only where the robots.txt of its host lets us."""
        self.asked += 1
        for _ in range(_REDIRECTS + 1):
            host = self._host(url)
            if host.closed is not None:
                raise host.closed
            if host.rules is not None and not host.rules.can_fetch(url, self._name):
                raise PageError("robots")
            answer = self._patiently(url, host)
            if isinstance(answer, _Answer):
                kind = answer.content_type.partition(";")[0].strip().lower()
                if kind and kind not in _HTML:
                    raise PageError("not-html", kind)
                return answer
            url = answer
        raise PageError("redirects")

    @property
    def _name(self) -> str:
        return self.manners.user_agent.partition("/")[0]

    def _host(self, url: str) -> _Host:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc.lower()}"
        if origin not in self._hosts:
            host = self._hosts[origin] = _Host(1 / self.manners.rate)
            try:
                self._read_rules(f"{origin}/robots.txt", host)
            except PageError as error:
                if not error.reason.startswith("http-4") or error.reason == "http-429":
                    host.closed = PageError(error.reason, f"{origin}/robots.txt")
        return self._hosts[origin]

    def _read_rules(self, url: str, host: _Host) -> None:
        for _ in range(_REDIRECTS + 1):
            answer = self._patiently(url, host)
            if isinstance(answer, _Answer):
                host.rules = Protego.parse(decode(answer.body))
                asked = host.rules.request_rate(self._name)
                pauses = (host.rules.crawl_delay(self._name), asked.seconds / asked.requests if asked else None)
                host.interval = max(host.interval, *(float(pause) for pause in pauses if pause), 0.0)
                host.leave_alone(host.interval)
                return
            url = answer
        raise PageError("redirects")

    def _patiently(self, url: str, host: _Host) -> _Answer | str:
        for number in range(self.manners.retries + 1):
            host.turn()
            try:
                answer = self._ask(url)
            except PageError as error:
                wait = error.wait if error.wait is not None else self.manners.first_wait * 2**number
                if wait > self.manners.longest_wait:
                    host.closed = PageError(error.reason, f"the host asks to be left alone for {wait:.0f} s")
                    raise
                if not error.reason.startswith(_FOR_THE_MOMENT) or number == self.manners.retries:
                    host.failed = host.failed + 1 if error.reason in _DOWN else 0
                    if host.failed == _IN_A_ROW:
                        host.closed = PageError(error.reason, f"not asked: {_IN_A_ROW} pages in a row failed")
                    raise
                host.leave_alone(wait)
            else:
                host.failed = 0
                return answer
        raise AssertionError("not reached")

    def _ask(self, url: str) -> _Answer | str:
        """One request: the answer, or the address that it sends us to."""
        deadline = time.monotonic() + self.manners.timeout
        try:
            with self._session.get(url, stream=True, timeout=self.manners.timeout, allow_redirects=False) as answer:
                if answer.is_redirect:
                    return checked(urljoin(url, answer.headers["Location"]))
                if answer.status_code != requests.codes.ok:
                    asked = seconds_asked(answer.headers.get("Retry-After"), datetime.now(UTC))
                    raise PageError(f"http-{answer.status_code}", wait=asked)
                if _DIRECTIVES & {word.strip().lower() for word in answer.headers.get("X-Robots-Tag", "").split(",")}:
                    raise PageError("robots-tag")
                return _Answer(url, self._body(answer, deadline), answer.headers.get("Content-Type", ""))
        except (requests.Timeout, urllib3.exceptions.ReadTimeoutError) as error:
            raise PageError("timeout") from error
        except (urllib3.exceptions.ProtocolError, urllib3.exceptions.DecodeError) as error:
            raise PageError("truncated") from error
        except requests.ConnectionError as error:
            raise PageError("timeout" if "timed out" in str(error) else "no-connection") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise PageError("bad-address") from error

    def _body(self, answer: requests.Response, deadline: float) -> bytes:
        body = bytearray()
        # What is there by now, however little: a server that drips must not keep us past the deadline.
        while chunk := answer.raw.read1(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > self.manners.max_bytes:
                raise PageError("too-many-bytes")
            if time.monotonic() > deadline:
                raise PageError("timeout")
        return bytes(body)


def checked(url: str) -> str:
    """The address without its fragment; raises PageError where it is none that can be asked for."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 80) > 0
        if usable and not any(c.isspace() for c in parts.geturl()) and flaw(url) is None:
            return parts._replace(fragment="").geturl()
    except ValueError:
        pass
    raise PageError("bad-address")


def _charset(content_type: str) -> str | None:
    found = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", content_type, re.IGNORECASE)
    return found.group(1) if found else None
