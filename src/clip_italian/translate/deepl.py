"""DeepL by its official client, with our own retries: the client's know no Retry-After."""

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
from clip_italian.translate.engine import Identity

KEY_VARIABLE = "DEEPL_AUTH_KEY"
MAX_TEXTS = 50  # in a request, https://developers.deepl.com/api-reference/translate
_MAX_BODY = 128 * 1024
_BODY_REST = 2_000  # bytes for the other fields of the body
_TRIES = 8
_FIRST_WAIT = 1.0  # seconds, doubled each time
_LONGEST_WAIT = 60.0
_LONGEST_ASKED = 600.0  # of a Retry-After: a longer one is for the user to wait
_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 120.0
_AGAIN = "what is done is kept, the same command goes on from there"


@dataclass(frozen=True)
class Options:
    """What decides a translation: language codes as DeepL writes them ("EN", "IT"), formality ("more",
    "prefer_less", …) and a context that is not translated itself."""

    source: str
    target: str
    formality: str | None = None
    context: str | None = None


class DeepL:
    """The engine. `server_url` is where to send requests instead of DeepL's own servers.

    Raises UsageError where that is no address.
    """

    def __init__(
        self, options: Options, server_url: str | None = None, parallel: int = 4,
        sleep: Callable[[float], object] | None = None,
    ) -> None:  # fmt: skip
        address = urlsplit(server_url or "https://")
        if server_url is not None and not (address.scheme in ("http", "https") and address.hostname):
            raise UsageError(f"--server-url {server_url}: not an address; give one like https://api.deepl.com")
        self.parallel = parallel
        self._options = options
        self._server_url = server_url
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._room = _MAX_BODY - _BODY_REST - _bytes(options.context or "")

    @property
    def identity(self) -> Identity:
        """Engine, languages, formality and context. The server's address is left out."""
        chosen = self._options
        return {
            "engine": "deepl",
            "source": chosen.source,
            "target": chosen.target,
            "formality": chosen.formality,
            "context": chosen.context,
        }

    def characters(self, text: str) -> int:
        """What DeepL bills: code points."""
        return len(text) if _bytes(text) <= self._room else 0

    def quota(self) -> int | None:
        """What the account has left in this billing period, where the server tells.

        Raises UserError where the key is missing or refused, or no server can be reached.
        """
        try:
            used = self._client.get_usage().character
        except deepl.AuthorizationException as error:
            raise _told(error) from error
        except deepl.ConnectionException as error:
            if isinstance(error.__cause__, requests.Timeout):
                return None
            raise _told(error) from error
        except (deepl.DeepLException, TypeError, ValueError, AttributeError, KeyError):
            return None  # a compatible server need not know this address, or answers in another form
        return max(0, used.limit - used.count) if used.limit is not None and used.count is not None else None

    def batches(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """Up to 50 texts that fit into a request."""
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
        """One request, repeated while the server is busy or out of reach; None for a text longer than a request.

        Raises UserError, with what to do, where it is no use to go on.
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
            raise _told(error) from error
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise UserError(
                f"DeepL's server answered with something that is no translation ({error}); {_AGAIN}"
            ) from error
        found = answer if isinstance(answer, list) else [answer]
        if len(found) != len(texts):
            raise UserError(f"DeepL's server answered {len(found)} of {len(texts)} texts; check --server-url, {_AGAIN}")
        return [result.text or "" for result in found]

    def stop(self) -> None:
        """Wake up and end those who wait for another try."""
        self._stopped.set()

    @cached_property
    def _client(self) -> deepl.DeepLClient:
        privacy.refuse_offline(
            "DeepL", "translate on this machine with --engine marian", self._server_url or "https://api.deepl.com"
        )
        key = os.environ.get(KEY_VARIABLE, "").strip()
        if not key.isascii() or not key:
            raise UserError(f"{KEY_VARIABLE}: no key; put the key of your DeepL account (API plan) into this variable")
        client = deepl.DeepLClient(key, server_url=self._server_url, send_platform_info=False)
        # The client offers no way to change how it retries; its HttpClient's public methods are what it calls.
        client._client = _Patient(self._sleep, self._stopped.is_set, self.parallel)
        client.set_app_info("clip-italian", __version__)
        return client


class _Patient(HttpClient):
    """Sends a request again after 429, 5xx and broken connections: after the time that Retry-After asks
    for, else after twice as long as before. /v2/usage is asked once."""

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
            asked: float | None = None
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
                asked = retry_after_seconds(answer.headers.get("Retry-After"), datetime.now(UTC))
                if not busy or number == tries or self._stopped() or (asked or 0) > _LONGEST_ASKED:
                    is_translation = answer.status_code == requests.codes.ok and url.endswith("/translate")
                    return answer.status_code, _complete(answer.text) if is_translation else answer.text
            self._sleep(asked if asked is not None else _wait(number))
        raise AssertionError("not reached")


def _complete(answer: str) -> str:
    """The answer with the optional fields that the client insists on: compatible servers leave them out."""
    try:
        found = json.loads(answer)
        results = found["translations"]
        if not isinstance(results, list):
            return answer
        # A text of its own for each entry: one odd entry must not cost the others, which are paid for.
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


def _wait(number: int) -> float:
    return min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (number - 1)) * random.uniform(0.8, 1.2)


def _bytes(text: str) -> int:
    """Bytes of a text in the body of a request, with its comma."""
    return len(json.dumps(text)) + 2


def _told(error: deepl.DeepLException) -> UserError:
    if isinstance(error, deepl.AuthorizationException):
        return UserError(f"DeepL refuses the key (403); put a right one into {KEY_VARIABLE}, {_AGAIN}")
    if isinstance(error, deepl.QuotaExceededException):
        return UserError(f"the DeepL account's quota is used up (456); when it is raised or renewed, {_AGAIN}")
    if isinstance(error, deepl.TooManyRequestsException):
        return UserError(f"DeepL has too many requests (429); later, or with a smaller --parallel, {_AGAIN}")
    if isinstance(error, deepl.ConnectionException):
        return UserError(f"DeepL cannot be reached ({error}); check the network and --server-url, {_AGAIN}")
    return UserError(f"DeepL: {' '.join(str(error).split())[:300]}; {_AGAIN}")
