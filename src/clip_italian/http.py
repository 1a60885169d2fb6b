"""One request to a web server by a program that says who it is: the body, or a short reason why there is none."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
import urllib3

from clip_italian import __version__, privacy

USER_AGENT = f"clip-italian/{__version__} (collects captioned pictures for research; asks a host politely)"
# Reasons that another try may help: the host is busy or out of reach, what was asked for may still be there.
FOR_THE_MOMENT = ("timeout", "no-connection", "truncated", "http-429", "http-5")
_CHUNK = 1 << 16
_DIRECTIVES = frozenset(("noai", "noimageai", "noindex", "noimageindex"))


class AskError(Exception):
    """Why there is no answer: a short stable name ("http-404", "timeout", "bad-address" …), what a person wants
    to know more, and seconds that the host asks to be left alone."""

    def __init__(self, reason: str, detail: str = "", wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.wait = wait

    @property
    def for_the_moment(self) -> bool:
        """Whether another try may help."""
        return self.reason.startswith(FOR_THE_MOMENT)


@dataclass(frozen=True)
class Answer:
    """A body with its headers, or, where redirects are not followed, the `location` that it sends us to."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    location: str | None = None

    def check_robots_tag(self) -> None:
        """Raises AskError ("robots-tag") where the header X-Robots-Tag forbids such a use."""
        if _DIRECTIVES & {word.strip().lower() for word in self.headers.get("X-Robots-Tag", "").split(",")}:
            raise AskError("robots-tag")


def ask(session: requests.Session, url: str, seconds: float, max_bytes: int, follow: bool = True) -> Answer:
    """Get `url` within so many seconds and bytes, following redirects or not; raises AskError.

    In offline mode raises UserError, before any connection.
    """
    privacy.refuse_offline(url, "use pages and pictures that are on this machine", url)
    deadline = time.monotonic() + seconds
    try:
        with session.get(url, stream=True, timeout=seconds, allow_redirects=follow) as answer:
            if answer.is_redirect:
                return Answer(url, b"", answer.headers, answer.headers["Location"])
            if answer.status_code != requests.codes.ok:
                wait = seconds_asked(answer.headers.get("Retry-After"), datetime.now(UTC))
                raise AskError(f"http-{answer.status_code}", wait=wait)
            return Answer(url, _body(answer, deadline, max_bytes), answer.headers)
    except (requests.Timeout, urllib3.exceptions.ReadTimeoutError) as error:
        raise AskError("timeout") from error
    except (urllib3.exceptions.ProtocolError, urllib3.exceptions.DecodeError) as error:
        raise AskError("truncated") from error
    except requests.TooManyRedirects as error:
        raise AskError("redirects") from error
    except requests.ConnectionError as error:
        raise AskError("timeout" if "timed out" in str(error) else "no-connection") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError, ValueError) as error:
        raise AskError("bad-address") from error


def _body(answer: requests.Response, deadline: float, max_bytes: int) -> bytes:
    length = answer.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise AskError("too-many-bytes")
    body = bytearray()
    # What is there by now, however little: a server that drips must not keep us past the deadline.
    while chunk := answer.raw.read1(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > max_bytes:
            raise AskError("too-many-bytes")
        if time.monotonic() > deadline:
            raise AskError("timeout")
    return bytes(body)


def seconds_asked(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks to wait, in either of its forms (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):
        return None
