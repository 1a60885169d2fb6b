"""ASGI: a proxy's prefix, HEAD requests, who may come in, how many, how much they may bring, and strict headers."""

import asyncio
import hashlib
import hmac
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clip_italian.serve.settings import Access, Limits

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
# Without a key: the page, which holds nothing, and whether the service lives.
_OPEN = frozenset({"/", "/health", "/docs", "/openapi.json", "/page.css", "/page.js"})
PREFIX = "clip_italian.prefix"  # in the scope: what precedes the service's own paths in public addresses


class Prefixed:
    """Serves below a path prefix, whether the proxy in front strips it or passes it on.

    Within, paths never carry the prefix; `scope[PREFIX]` holds it. Redirects become relative, since the public
    scheme, host and prefix are the proxy's. `prefix` is empty or like "/foto"; the server's `root_path` also counts.
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


class Heads:
    """Answers HEAD as GET without the body: same status and headers, the length included."""

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


class Strict:
    """Adds headers to every answer. Pages of `origins` may show its pictures, others not."""

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


class Guard:
    """Refuses strange host names, missing keys, too large bodies, and more than so many requests at once."""

    def __init__(self, app: ASGIApp, access: Access, limits: Limits) -> None:
        self._app, self._access, self._limits = app, access, limits
        self._keys = [_digest(key) for key in access.keys]
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # no web sockets here
            return None
        refusal = self._refusal(scope)
        if refusal is not None:
            return await refusal(scope, receive, send)
        end = time.monotonic() + self._limits.seconds

        async def in_time() -> Message:
            try:
                async with asyncio.timeout(max(end - time.monotonic(), 0)):
                    return await receive()
            except TimeoutError:
                raise HTTPException(408, "the request took too long to arrive; send it faster") from None

        self._inside += 1
        try:
            await self._app(scope, in_time, send)
        finally:
            self._inside -= 1
        return None

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        hosts = self._access.hosts
        if hosts is not None and _name(headers.get("host", "")) not in hosts:
            return problem(403, "unknown host name; start the service with --hostname NAME, or with keys")
        if scope["path"] == "/health":
            return None
        if self._keys and scope["path"] not in _OPEN and not self._has_key(headers):
            return problem(401, "give an API key in the header X-API-Key", {"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._limits.body_bytes:
            return problem(413, f"more than {self._limits.body_bytes:,} bytes; send less at once")
        if self._inside >= self._limits.requests:
            return busy()
        return None

    def _has_key(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        given = headers.get("x-api-key") or (token.strip() if kind.lower() == "bearer" else "")
        digest = _digest(given)
        # All are compared, so that the time tells nothing.
        return sum(hmac.compare_digest(digest, key) for key in self._keys) > 0


def problem(status: int, what: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as the API tells it: one line."""
    return JSONResponse({"error": what}, status, headers)


def busy() -> JSONResponse:
    """503: come again."""
    return problem(503, "too many requests at once; try again in a moment", {"Retry-After": "1"})


def _last(path: str) -> str:
    """The last segment of a path."""
    return path.rsplit("/", 1)[-1]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _name(host: str) -> str:
    """The name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
