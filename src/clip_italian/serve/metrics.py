"""Prometheus metrics of the service."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "clip_italian_requests", "Requests answered.", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "clip_italian_request_seconds", "Time to answer.", ["path"], buckets=_SECONDS, registry=self.registry
        )
        self.batch = Histogram(
            "clip_italian_batch_size",
            "Texts or pictures embedded at once.",
            ["kind"],
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.at_work = Gauge("clip_italian_requests_at_work", "Requests being worked on.", registry=self.registry)
        self.pictures = Gauge("clip_italian_pictures", "Pictures in the index.", registry=self.registry)
        self.updated = Gauge(
            "clip_italian_index_updated_timestamp_seconds", "When the index last changed.", registry=self.registry
        )
        self.checked = Gauge(
            "clip_italian_index_checked_timestamp_seconds",
            "When --watch last compared the index with its folders; 0: never.",
            registry=self.registry,
        )
        self.watching = Gauge("clip_italian_watching", "1 while --watch is at work.", registry=self.registry)

    def observe_batch(self, kind: str, size: int) -> None:
        """Record an embedded batch: "text" or "picture", and its size."""
        self.batch.labels(kind).observe(size)

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class Measured:
    """ASGI middleware that counts and times every request by its route, never by its address."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status, start = 500, time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - start)
        return None
