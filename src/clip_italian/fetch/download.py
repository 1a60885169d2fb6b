"""Download single pictures politely, check them, and convert them to JPEG.

Polite: a limited number of requests at once to one host, retries with growing pauses, Retry-After and X-Robots-Tag
respected, and bounds on the time, bytes and pixels of one picture.
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
from clip_italian.pictures.decoding import decode, orientation, retry_without_metadata

_UNREACHABLE = 5  # failed connections in a row after which a host gets one try per picture
_FIRST_PAUSE = 1.0  # seconds before the first retry, doubled for each further one


@dataclass(frozen=True)
class Policy:
    """How to request pictures, which to accept, and how to store them.

    `per_host` is the number of requests at once to one host, `timeout` the seconds for a whole picture, `retries` the
    number of further tries, `longest_wait` the most seconds of a Retry-After that are waited, `size` the pixels of the
    shorter side above which a picture is reduced, `quality` that of the JPEG.
    """

    limits: PictureLimits
    user_agent: str = USER_AGENT
    per_host: int = 2
    timeout: float = 30.0
    retries: int = 3
    longest_wait: float = 120.0
    max_bytes: int = 50_000_000
    size: int = 256
    quality: int = 95


@dataclass(frozen=True)
class StoredPicture:
    """A JPEG with its size, and the size of the picture that it was made of, in pixels, upright."""

    jpeg: bytes
    width: int
    height: int
    original_width: int
    original_height: int


class _Host:
    """State of one host, shared by all threads."""

    def __init__(self, at_once: int) -> None:
        self.slots = threading.BoundedSemaphore(at_once)
        self.not_before = 0.0  # time.monotonic
        self.unreachable = 0  # failed connections in a row

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Context of one request: waits for a free slot, and until the host may be asked again."""
        with self.slots:
            while (left := self.not_before - time.monotonic()) > 0:
                time.sleep(left)
            yield

    def pause(self, seconds: float) -> None:
        """Allow no new request for so many seconds."""
        self.not_before = max(self.not_before, time.monotonic() + seconds)


class Fetcher:
    """Fetches pictures; threads may share it."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()
        self._decoding = threading.Lock()  # bounds memory to the pixels of one picture
        self._local = threading.local()

    def fetch(self, url: str) -> StoredPicture:
        """The picture at `url`, ready to be stored; raises FetchError with the reason."""
        content = self.download(url)
        with self._decoding:
            return to_jpeg(content, self.policy.limits, self.policy.size, self.policy.quality)

    def download(self, url: str) -> bytes:
        """The file at `url` as it was sent; raises FetchError with the reason."""
        host = self._host(url)
        for number in range(self.policy.retries + 1):
            try:
                with host.slot():
                    response = get(self._session, url, self.policy.timeout, self.policy.max_bytes)
                host.unreachable = 0
                response.check_robots_tag()
                return response.body
            except FetchError as error:
                pause = _FIRST_PAUSE * 2**number if error.retry_after is None else error.retry_after
                last = number == self.policy.retries or pause > self.policy.longest_wait
                host.unreachable = host.unreachable + 1 if error.reason == "no-connection" else 0
                if last or host.unreachable > _UNREACHABLE or not error.is_retryable:
                    raise
                if error.retry_after is None:
                    time.sleep(pause)
                else:
                    host.pause(pause)
        raise AssertionError("not reached")

    def _host(self, url: str) -> _Host:
        try:
            name = urlsplit(url).netloc.lower()
        except ValueError as error:
            raise FetchError("bad-address") from error
        with self._lock:
            return self._hosts.setdefault(name, _Host(self.policy.per_host))

    @property
    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.headers["User-Agent"] = self.policy.user_agent
        session: requests.Session = self._local.session
        return session


def to_jpeg(content: bytes, limits: PictureLimits, size: int = 256, quality: int = 95) -> StoredPicture:
    """A picture file as an upright sRGB JPEG whose shorter side has at most `size` pixels.

    Raises FetchError if the picture is damaged or outside `limits`.
    """
    failure = header_failure(io.BytesIO(content), limits)
    if failure is not None:
        raise FetchError(failure[0])
    try:
        # A JPEG of at least four times the size is decoded at a fraction of its sides.
        image = decode(io.BytesIO(content), "picture", at_least=2 * size)
        width, height = retry_without_metadata(io.BytesIO(content), lambda file, _: _upright_size(file))
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise FetchError("unreadable") from error
    shorter = min(width, height)
    if shorter > size:
        target = (max(1, round(width * size / shorter)), max(1, round(height * size / shorter)))
        image = image.resize(target, Image.Resampling.HAMMING)  # of Pillow's filters the nearest to area averaging
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return StoredPicture(file.getvalue(), *image.size, width, height)


def _upright_size(file: Path | BinaryIO) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size if orientation(image) < 5 else (image.height, image.width)
