"""ASGI middleware: a proxy's prefix, HEAD requests, security headers, access, and the limits of requests."""

import asyncio
import hashlib
import hmac
import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar
from urllib.parse import urlsplit

from anyio import CapacityLimiter, WouldBlock, fail_after, to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clip_italian.serve.encoder import deadline
from clip_italian.serve.settings import Access, Limits

T = TypeVar("T")

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# Open without a key: the page, which contains no data, and the health check.
_OPEN = frozenset({"/", "/health", "/docs", "/openapi.json", "/page.css", "/page.js", "/search.js"})
PREFIX = "clip_italian.prefix"  # key in the scope: the prefix of the service's paths in public addresses


class Prefixed:
    """Serves below a path prefix, whether the proxy in front strips it or not.

    The app sees paths without the prefix, and the prefix in `scope[PREFIX]`. Redirects become relative, since the
    public scheme, host and prefix are the proxy's. `prefix` is empty or like "/foto"; the server's `root_path` also
    counts.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        prefix, path = self._prefix or scope.get("root_path", "").rstrip("/"), scope["path"]
        if prefix and path == prefix:  # relative addresses of the page need the slash
            query = f"?{scope['query_string'].decode('latin-1')}" if scope.get("query_string") else ""
            return await RedirectResponse(f"{_last(prefix)}/{query}")(scope, receive, send)
        if prefix and path.startswith(f"{prefix}/"):
            path = path[len(prefix) :]
        inner = {**scope, "path": path, "root_path": "", PREFIX: prefix}
        inner.pop("raw_path", None)

        async def with_relative(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                target = urlsplit(headers.get("location", ""))
                if target.netloc and path == f"{target.path}/":
                    headers["location"] = f"../{_last(target.path)}" + (f"?{target.query}" if target.query else "")
            await send(message)

        return await self._app(inner, receive, with_relative)


class HeadAsGet:
    """Answers HEAD like GET, without the body: same status and headers, including the length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 405:
                headers = MutableHeaders(scope=message)
                allowed = headers.get("allow", "").split(", ")
                if "GET" in allowed and "HEAD" not in allowed:
                    headers["allow"] = ", ".join([*allowed, "HEAD"])
            elif is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"} if is_head else scope, receive, without_body)


class SecurityHeaders:
    """Adds security headers to every response. Only pages of `origins` may show the service's pictures."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        policy = "cross-origin" if access.origins else "same-origin"
        self._headers = _HEADERS | {"Cross-Origin-Resource-Policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)


class Requests:
    """The bounds of all requests: at most `most` at once, and `seconds` for the work of each.

    A request counts from its arrival until it is answered and its thread has ended. The thread of a request that took
    too long ends at its next look at `encoder.deadline`.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._limiter = CapacityLimiter(most)
        self._seconds = seconds
        self._threads = CapacityLimiter(math.inf)  # bounded by the requests

    @property
    def running(self) -> int:
        """The number of requests that count now."""
        return self._limiter.borrowed_tokens

    def enter(self) -> "_Place":
        """The place of a new request; raises `anyio.WouldBlock` where none is left."""
        place = _Place(self._limiter)
        _current.set(place)
        return place

    async def run(self, function: Callable[[], T]) -> T:
        """The result of `function`, run in a thread for the current request. Raises TimeoutError at the time limit."""
        deadline.set(time.monotonic() + self._seconds)
        place = _current.get()
        place.users += 1
        thread = asyncio.ensure_future(to_thread.run_sync(function, limiter=self._threads))
        thread.add_done_callback(lambda _: place.leave())
        with fail_after(self._seconds):
            return await asyncio.shield(thread)


class _Place:
    """A request's token of the limiter, returned when the last of its users leaves: the request, or its thread."""

    def __init__(self, limiter: CapacityLimiter) -> None:
        limiter.acquire_on_behalf_of_nowait(self)
        self.users = 1
        self._limiter = limiter

    def leave(self) -> None:
        self.users -= 1
        if not self.users:
            self._limiter.release_on_behalf_of(self)


_current: ContextVar[_Place] = ContextVar("_current")


class Guard:
    """Refuses unknown host names, missing keys, too many requests, and bodies that are too large or too slow."""

    def __init__(self, app: ASGIApp, access: Access, limits: Limits, requests: Requests) -> None:
        self._app, self._access, self._limits, self._requests = app, access, limits, requests
        self._keys = [_digest(key) for key in access.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # the service has no web sockets
            return None
        if (refusal := self._refusal(scope)) is not None:
            return await refusal(scope, receive, send)
        if scope["path"] == "/health":
            return await self._app(scope, receive, send)
        try:
            place = self._requests.enter()
        except WouldBlock:
            return await problem(503, "too many requests at once; try again in a moment", {"Retry-After": "1"})(
                scope, receive, send
            )
        try:
            await self._app(scope, self._bounded(receive), send)
        finally:
            place.leave()
        return None

    def _bounded(self, receive: Receive) -> Receive:
        """`receive` with an HTTPException for a body that is too large, or that takes too long to arrive."""
        end, size = time.monotonic() + self._limits.seconds, 0

        async def receive_bounded() -> Message:
            nonlocal size
            try:
                with fail_after(max(end - time.monotonic(), 0)):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the request took too long to arrive; send it faster") from None
            size += len(message.get("body", b""))
            if size > self._limits.body_bytes:
                raise HTTPException(413, self._too_large)
            return message

        return receive_bounded

    @property
    def _too_large(self) -> str:
        return f"more than {self._limits.body_bytes:,} bytes; send less at once"

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        hosts = self._access.hosts
        if hosts is not None and _name(headers.get("host", "")) not in hosts:
            return problem(403, "unknown host name; start the service with --hostname NAME, or with keys")
        if self._keys and scope["path"] not in _OPEN and not self._has_key(headers):
            return problem(401, "give an API key in the header X-API-Key", {"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._limits.body_bytes:
            return problem(413, self._too_large)
        return None

    def _has_key(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        given = headers.get("x-api-key") or (token.strip() if kind.lower() == "bearer" else "")
        digest = _digest(given)
        # All keys are compared, so that the time reveals nothing.
        return sum(hmac.compare_digest(digest, key) for key in self._keys) > 0


def problem(status: int, what: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error response of the API: one line of JSON."""
    return JSONResponse({"error": what}, status, headers)


def _last(path: str) -> str:
    """The last segment of a path."""
    return path.rsplit("/", 1)[-1]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _name(host: str) -> str:
    """The host name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
