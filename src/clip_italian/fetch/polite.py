"""One picture from the web, with the manners that a host may expect, and checked before it is stored.

img2dataset asks as fast as its threads can and tries again at once; this limits the requests that a host
gets at a time, waits as long as Retry-After says, and bounds time, bytes and pixels of one picture.
"""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import requests
import urllib3
from PIL import Image, ImageOps

from clip_italian.clean.pictures import PictureLimits, header_failure
from clip_italian.images import on_white
from clip_italian.retries import USER_AGENT, seconds_asked

# Worth another try: the host is busy or out of reach, the picture may still be there.
FOR_THE_MOMENT = ("timeout", "no-connection", "truncated", "http-429", "http-5")
_CHUNK = 1 << 16
_GONE = 5  # connections in a row that fail before a host is asked only once a picture
_FIRST_WAIT = 1.0  # seconds before another try, doubled each time
_DIRECTIVES = frozenset(("noai", "noimageai", "noindex", "noimageindex"))


class FetchError(Exception):
    """Why there is no picture: a short stable name."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait  # seconds that the host asks to be left alone


@dataclass(frozen=True)
class Manners:
    """How to ask: requests at once to one host, seconds for a whole picture, further tries, the longest wait
    that a host may ask for, bytes of a picture, user agent, and what a picture must be."""

    limits: PictureLimits
    user_agent: str = USER_AGENT
    per_host: int = 2
    timeout: float = 30.0
    retries: int = 3
    longest_wait: float = 120.0
    max_bytes: int = 50_000_000


class Host:
    """What is going on with one host, for all threads."""

    def __init__(self, at_once: int) -> None:
        self.free = threading.BoundedSemaphore(at_once)
        self.not_before = 0.0  # time.monotonic
        self.unreachable = 0  # connections in a row that could not be made

    def leave_alone(self, seconds: float) -> None:
        """No new request for so long."""
        self.not_before = max(self.not_before, time.monotonic() + seconds)


class Fetcher:
    """Fetches pictures; threads may share it."""

    def __init__(self, manners: Manners) -> None:
        self.manners = manners
        self._hosts: dict[str, Host] = {}
        self._lock = threading.Lock()
        self._decoding = threading.Lock()  # one picture at a time in memory as pixels
        self._local = threading.local()

    def fetch(self, url: str) -> bytes:
        """The picture's file, upright and in a form that OpenCV reads; raises FetchError."""
        host = self._host(url)
        for number in range(self.manners.retries + 1):
            try:
                with _one_of(host):
                    raw = self._ask(url, host)
                with self._decoding:
                    return checked(raw, self.manners.limits)
            except FetchError as refused:
                wait = refused.wait if refused.wait is not None else _FIRST_WAIT * 2**number
                last = number == self.manners.retries or wait > self.manners.longest_wait
                if refused.reason == "no-connection":
                    host.unreachable += 1
                    last = last or host.unreachable > _GONE
                if last or not refused.reason.startswith(FOR_THE_MOMENT):
                    raise
                if refused.wait is not None:
                    host.leave_alone(wait)
                else:
                    time.sleep(wait)
        raise AssertionError("not reached")

    def _ask(self, url: str, host: Host) -> bytes:
        deadline = time.monotonic() + self.manners.timeout
        try:
            with self._session.get(url, stream=True, timeout=self.manners.timeout) as answer:
                host.unreachable = 0
                if answer.status_code != requests.codes.ok:
                    asked = seconds_asked(answer.headers.get("Retry-After"), datetime.now(UTC))
                    raise FetchError(f"http-{answer.status_code}", asked)
                if _DIRECTIVES & {word.strip().lower() for word in answer.headers.get("X-Robots-Tag", "").split(",")}:
                    raise FetchError("robots-tag")
                return self._body(answer, deadline)
        except (requests.Timeout, urllib3.exceptions.ReadTimeoutError) as error:
            raise FetchError("timeout") from error
        except (urllib3.exceptions.ProtocolError, urllib3.exceptions.DecodeError) as error:
            raise FetchError("truncated") from error
        except requests.TooManyRedirects as error:
            raise FetchError("redirects") from error
        except requests.ConnectionError as error:
            raise FetchError("timeout" if "timed out" in str(error) else "no-connection") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError, ValueError) as error:
            raise FetchError("bad-address") from error

    def _body(self, answer: requests.Response, deadline: float) -> bytes:
        if int(answer.headers.get("Content-Length") or 0) > self.manners.max_bytes:
            raise FetchError("too-many-bytes")
        body = bytearray()
        # What is there by now, however little: a server that drips must not keep us past the deadline.
        while chunk := answer.raw.read1(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > self.manners.max_bytes:
                raise FetchError("too-many-bytes")
            if time.monotonic() > deadline:
                raise FetchError("timeout")
        return bytes(body)

    def _host(self, url: str) -> Host:
        try:
            name = urlsplit(url).netloc.lower()
        except ValueError as error:
            raise FetchError("bad-address") from error
        with self._lock:
            return self._hosts.setdefault(name, Host(self.manners.per_host))

    @property
    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.headers["User-Agent"] = self.manners.user_agent
        session: requests.Session = self._local.session
        return session


def checked(raw: bytes, limits: PictureLimits) -> bytes:
    """The file, if its picture is whole and within `limits`; raises FetchError.

    What OpenCV would read otherwise than a person sees it (turned, transparent, 16 bits, GIF, CMYK)
    comes back as an upright RGB bitmap.
    """
    failure = header_failure(io.BytesIO(raw), limits)
    if failure is not None:
        raise FetchError(failure[0])
    try:
        with Image.open(io.BytesIO(raw)) as image:
            plain = image.format in ("JPEG", "PNG", "WEBP") and image.mode in ("RGB", "L")
            if plain and image.getexif().get(0x0112, 1) == 1:
                image.draft(image.mode, (1, 1))  # JPEG: an eighth of the work, and still notices a missing end
                image.load()
                return raw
            bitmap = io.BytesIO()
            on_white(ImageOps.exif_transpose(image)).save(bitmap, "BMP")
            return bitmap.getvalue()
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise FetchError("unreadable") from error


@contextmanager
def _one_of(host: Host) -> Iterator[None]:
    """Wait for a place among the requests to a host, and until it may be asked again."""
    with host.free:
        while (left := host.not_before - time.monotonic()) > 0:
            time.sleep(left)
        yield
