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
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import requests
from PIL import Image

from clip_italian.clean.pictures import PictureLimits, header_failure
from clip_italian.http import USER_AGENT, FetchError, get
from clip_italian.pictures.colours import differs
from clip_italian.pictures.decoding import as_displayed, orientation, retry_without_metadata

_GONE = 5  # connections in a row that fail before a host is asked only once a picture
_FIRST_WAIT = 1.0  # seconds before another try, doubled each time


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
                    answer = get(self._session, url, self.manners.timeout, self.manners.max_bytes)
                host.unreachable = 0
                answer.check_robots_tag()
                with self._decoding:
                    return checked(answer.body, self.manners.limits)
            except FetchError as refused:
                wait = refused.retry_after if refused.retry_after is not None else _FIRST_WAIT * 2**number
                last = number == self.manners.retries or wait > self.manners.longest_wait
                host.unreachable = host.unreachable + 1 if refused.reason == "no-connection" else 0
                if last or host.unreachable > _GONE or not refused.is_retryable:
                    raise
                if refused.retry_after is not None:
                    host.leave_alone(wait)
                else:
                    time.sleep(wait)
        raise AssertionError("not reached")

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

    What OpenCV would read otherwise than a person sees it (turned, transparent, 16 bits, GIF, CMYK, of other colours
    than sRGB, with damaged metadata) comes back as an upright RGB bitmap.
    """
    failure = header_failure(io.BytesIO(raw), limits)
    if failure is not None:
        raise FetchError(failure[0])

    def work(file: Path | BinaryIO, profile: bytes | None) -> bytes:
        with Image.open(file) as image:
            plain = image.format in ("JPEG", "PNG", "WEBP") and image.mode in ("RGB", "L")
            if profile is not None:
                image.info["icc_profile"] = profile
            if plain and file is whole and orientation(image) == 1 and not differs(image):
                image.draft(image.mode, (1, 1))  # JPEG: an eighth of the work, and still notices a missing end
                image.load()
                return raw
            bitmap = io.BytesIO()
            as_displayed(image).save(bitmap, "BMP")
            return bitmap.getvalue()

    whole = io.BytesIO(raw)
    try:
        return retry_without_metadata(whole, work)
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise FetchError("unreadable") from error


@contextmanager
def _one_of(host: Host) -> Iterator[None]:
    """Wait for a place among the requests to a host, and until it may be asked again."""
    with host.free:
        while (left := host.not_before - time.monotonic()) > 0:
            time.sleep(left)
        yield
