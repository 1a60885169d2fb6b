"""DeepL through its official client, with our own retries: the client's ignore Retry-After."""

import json
import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import deepl
import requests
from deepl.http_client import HttpClient

from clip_italian import __version__, privacy
from clip_italian.errors import UsageError, UserError
from clip_italian.http import retry_after_seconds
from clip_italian.translate.engine import Engine, Identity

KEY_VARIABLE = "DEEPL_AUTH_KEY"
MAX_TEXTS = 50  # in a request, https://developers.deepl.com/api-reference/translate
_MAX_BODY = 128 * 1024
_BODY_REST = 2_000  # bytes for the other fields of the body
_TRIES = 8
_FIRST_WAIT = 1.0  # seconds, doubled each time
_LONGEST_WAIT = 60.0
_LONGEST_RETRY_AFTER = 600.0  # of a Retry-After; after a longer one the run stops
_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 120.0
_AGAIN = "translations are kept: run the same command again to resume"


@dataclass(frozen=True)
class Options:
    """Options that decide a translation.

    Languages are DeepL's codes ("EN", "IT"), `formality` is "more", "prefer_less" …, `context` a text that is not
    translated itself.
    """

    source: str
    target: str
    formality: str | None = None
    context: str | None = None


class DeepL(Engine):
    """Translates with DeepL, or with a compatible server at `server_url`.

    Raises UsageError if that is not a URL.
    """

    def __init__(
        self, options: Options, server_url: str | None = None, parallel: int = 4,
        sleep: Callable[[float], object] | None = None,
    ) -> None:  # fmt: skip
        address = urlsplit(server_url or "https://")
        if server_url is not None and not (address.scheme in ("http", "https") and address.hostname):
            raise UsageError(f"--server-url {server_url}: not a URL; give one like https://api.deepl.com")
        self.parallel = parallel
        self._options = options
        self._server_url = server_url
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._room = _MAX_BODY - _BODY_REST - _bytes(options.context or "")

    @property
    def identity(self) -> Identity:
        """Engine, languages, formality and context, without the server's URL."""
        chosen = self._options
        return {
            "engine": "deepl",
            "source": chosen.source,
            "target": chosen.target,
            "formality": chosen.formality,
            "context": chosen.context,
        }

    def characters(self, text: str) -> int:
        """Number of code points, which DeepL bills; 0 for a text longer than a request."""
        return len(text) if _bytes(text) <= self._room else 0

    def quota(self) -> int | None:
        """Characters left in this billing period, None if the server does not report it.

        Raises UserError if the key is missing or refused, or if the server cannot be reached.
        """
        try:
            used = self._client.get_usage().character
        except deepl.AuthorizationException as error:
            raise _user_error(error) from error
        except deepl.ConnectionException as error:
            if isinstance(error.__cause__, requests.Timeout):
                return None
            raise _user_error(error) from error
        except (deepl.DeepLException, TypeError, ValueError, AttributeError, KeyError):
            return None  # compatible servers may lack this endpoint or answer in another format
        return max(0, used.limit - used.count) if used.limit is not None and used.count is not None else None

    def batches(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """Batches of up to 50 texts that fit into a request."""
        batch: list[str] = []
        size = 0
        for text in texts:
            length = _bytes(text)
            if batch and (len(batch) == MAX_TEXTS or size + length > self._room):
                yield batch
                batch, size = [], 0
            batch.append(text)
            size += length
        if batch:
            yield batch

    def translate(self, texts: Sequence[str]) -> list[str | None]:
        """One request, retried while the server is busy or cannot be reached; None for a text longer than a request.

        Raises UserError with advice if retrying is useless.
        """
        if len(texts) == 1 and _bytes(texts[0]) > self._room:
            return [None]
        chosen = self._options
        try:
            answer = self._client.translate_text(
                list(texts),
                source_lang=chosen.source,
                target_lang=chosen.target,
                formality=chosen.formality,
                context=chosen.context,
            )
        except deepl.DeepLException as error:
            raise _user_error(error) from error
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise UserError(f"DeepL's server returned an unexpected response ({error}); {_AGAIN}") from error
        found = answer if isinstance(answer, list) else [answer]
        if len(found) != len(texts):
            raise UserError(f"DeepL's server returned {len(found)} of {len(texts)} texts; check --server-url; {_AGAIN}")
        return [result.text or "" for result in found]

    def stop(self) -> None:
        """Make threads that wait for a retry give up."""
        self._stopped.set()

    @cached_property
    def _client(self) -> deepl.DeepLClient:
        privacy.refuse_offline(
            "DeepL", "translate on this machine with --engine marian", self._server_url or "https://api.deepl.com"
        )
        key = os.environ.get(KEY_VARIABLE, "").strip()
        if not key.isascii() or not key:
            raise UserError(f"{KEY_VARIABLE}: no key; set this variable to the key of your DeepL account (API plan)")
        client = deepl.DeepLClient(key, server_url=self._server_url, send_platform_info=False)
        # The client has no option for how it retries, but it calls only the public methods of its HttpClient.
        client._client = _RetryingClient(self._sleep, self._stopped.is_set, self.parallel)
        client.set_app_info("clip-italian", __version__)
        return client


class _RetryingClient(HttpClient):
    """Retries after 429, 5xx and broken connections: after the time in Retry-After, else with exponential backoff.

    /v2/usage is requested once.
    """

    def __init__(self, sleep: Callable[[float], object], stopped: Callable[[], bool], connections: int) -> None:
        super().__init__()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=connections))
        self._sleep = sleep
        self._stopped = stopped

    def request_with_backoff(
        self, method: str, url: str, data: dict | None, json: dict | None, headers: dict, stream: bool = False,
        **kwargs: Any,
    ) -> tuple[int, str | requests.Response]:  # fmt: skip
        request = self._prepare_request(method, url, data, json, headers, **kwargs)
        tries = 1 if url.endswith("/usage") else _TRIES
        for number in range(1, tries + 1):
            retry_after: float | None = None
            try:
                answer = self._session.send(request, timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS))
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                if number == tries or self._stopped():
                    raise deepl.ConnectionException(f"Connection failed: {error}", should_retry=True) from error
            except (requests.RequestException, UnicodeError) as error:
                raise deepl.ConnectionException(f"Request failed: {error}") from error
            else:
                answer.encoding = "UTF-8"
                busy = answer.status_code == requests.codes.too_many_requests or answer.status_code >= 500
                retry_after = retry_after_seconds(answer.headers.get("Retry-After"), datetime.now(UTC))
                if not busy or number == tries or self._stopped() or (retry_after or 0) > _LONGEST_RETRY_AFTER:
                    is_translation = answer.status_code == requests.codes.ok and url.endswith("/translate")
                    return answer.status_code, _complete(answer.text) if is_translation else answer.text
            self._sleep(_backoff(number) if retry_after is None else retry_after)
        raise AssertionError("not reached")


def _complete(answer: str) -> str:
    """The response with optional fields that the client requires but compatible servers omit."""
    try:
        found = json.loads(answer)
        results = found["translations"]
        if not isinstance(results, list):
            return answer
        # Entry by entry: one malformed entry must not lose the others, which are paid for.
        texts = [result.get("text") if isinstance(result, dict) else None for result in results]
    except (ValueError, TypeError, KeyError, RecursionError):
        return answer
    return json.dumps(
        {
            "translations": [
                {"text": text if isinstance(text, str) else "", "detected_source_language": "", "billed_characters": 0}
                for text in texts
            ]
        }
    )


def _backoff(number: int) -> float:
    return min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (number - 1)) * random.uniform(0.8, 1.2)


def _bytes(text: str) -> int:
    """Bytes of a text in the body of a request, including its comma."""
    return len(json.dumps(text)) + 2


def _user_error(error: deepl.DeepLException) -> UserError:
    if isinstance(error, deepl.AuthorizationException):
        return UserError(f"DeepL rejects the key (403); put a valid one into {KEY_VARIABLE}; {_AGAIN}")
    if isinstance(error, deepl.QuotaExceededException):
        return UserError(f"the DeepL account's quota is used up (456); once it is raised or renewed, {_AGAIN}")
    if isinstance(error, deepl.TooManyRequestsException):
        return UserError(f"DeepL is overloaded (429); try later or with a smaller --parallel; {_AGAIN}")
    if isinstance(error, deepl.ConnectionException):
        return UserError(f"DeepL cannot be reached ({error}); check the network and --server-url; {_AGAIN}")
    return UserError(f"DeepL: {' '.join(str(error).split())[:300]}; {_AGAIN}")
