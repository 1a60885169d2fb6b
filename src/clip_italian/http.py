"""HTTP GET for polite clients: the body, or a short stable reason why there is none."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
import urllib3

from clip_italian import __version__, privacy

USER_AGENT = f"clip-italian/{__version__} (collects captioned pictures for research; asks a host politely)"
# Prefixes of reasons after which a retry may succeed: the host is busy or cannot be reached.
RETRYABLE = ("timeout", "no-connection", "truncated", "http-429", "http-5")
_CHUNK = 1 << 16
_NO_USE = frozenset(("noai", "noimageai", "noindex", "noimageindex"))


class FetchError(Exception):
    """A request that failed.

    `reason` is a short stable name ("http-404", "timeout", "bad-address" …), `detail` an explanation for people,
    `retry_after` the seconds that the host asks to wait.
    """

    def __init__(self, reason: str, detail: str = "", retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after

    @property
    def is_retryable(self) -> bool:
        """True if another try may succeed."""
        return self.reason.startswith(RETRYABLE)


@dataclass(frozen=True)
class Response:
    """Body and headers; `location` is the target of a redirect that was not followed."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    location: str | None = None

    def check_robots_tag(self) -> None:
        """Raise FetchError ("robots-tag") if the header X-Robots-Tag forbids the use of the content."""
        if _NO_USE & {word.strip().lower() for word in self.headers.get("X-Robots-Tag", "").split(",")}:
            raise FetchError("robots-tag")


def get(session: requests.Session, url: str, timeout: float, max_bytes: int, follow_redirects: bool = True) -> Response:
    """The response to a GET request, read within `timeout` seconds in total; raises FetchError.

    In offline mode it raises UserError before any connection.
    """
    privacy.refuse_offline(url, "use pages and pictures that are on this machine", url)
    deadline = time.monotonic() + timeout
    try:
        with session.get(url, stream=True, timeout=timeout, allow_redirects=follow_redirects) as response:
            if response.is_redirect:
                return Response(url, b"", response.headers, response.headers["Location"])
            if response.status_code != requests.codes.ok:
                wait = retry_after_seconds(response.headers.get("Retry-After"), datetime.now(UTC))
                raise FetchError(f"http-{response.status_code}", retry_after=wait)
            return Response(url, _body(response, deadline, max_bytes), response.headers)
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


def _body(response: requests.Response, deadline: float, max_bytes: int) -> bytes:
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise FetchError("too-many-bytes")
    body = bytearray()
    # read1 returns what has arrived: a server that sends byte by byte must not hold us past the deadline.
    while chunk := response.raw.read1(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > max_bytes:
            raise FetchError("too-many-bytes")
        if time.monotonic() > deadline:
            raise FetchError("timeout")
    return bytes(body)


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After header in either format (RFC 9110, 10.2.3); None if absent or malformed."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):
        return None
