"""The routes of the API."""

import re
import time
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from pydantic import StringConstraints

from clip_italian.errors import UsageError
from clip_italian.serve import pictures
from clip_italian.serve.metrics import Metrics
from clip_italian.serve.middleware import PREFIX, Requests
from clip_italian.serve.schemas import (
    Classified,
    Details,
    Embedded,
    Health,
    Located,
    ModelFacts,
    Problem,
    Row,
    SearchParams,
    SearchResult,
    Text,
    Texts,
)
from clip_italian.serve.service import Service

T = TypeVar("T")

_REFUSALS = {
    400: "The body is invalid.",
    401: "No API key, or an unknown one.",
    403: "The host name is not allowed.",
    408: "The request took too long to arrive.",
    413: "The body is too large.",
    422: "A value in the request is wrong; the line says which.",
    503: "Too many requests at once; Retry-After says when to try again.",
    504: "The work took too long.",
}
_PROBLEMS: dict[int | str, dict] = {status: {"model": Problem, "description": why} for status, why in _REFUSALS.items()}

Labels = Annotated[list[Annotated[str, StringConstraints(max_length=100_000)]], Form()]


def routes(service: Service, requests: Requests, metrics: Metrics) -> APIRouter:
    """All of /v1, /health and /metrics."""
    router = APIRouter(responses=_PROBLEMS)
    limits = service.limits

    async def timed(function: Callable[[], T]) -> tuple[T, float]:
        start = time.perf_counter()
        result = await requests.run(function)
        return result, round(1_000 * (time.perf_counter() - start), 1)

    async def contents(uploads: list[UploadFile]) -> list[bytes]:
        if len(uploads) > limits.pictures:
            raise UsageError(f"{len(uploads)} pictures; send {limits.pictures} or fewer at once")
        return [await upload.read() for upload in uploads]

    def bounded(texts: list[str], most: int) -> None:
        if len(texts) > most:
            raise UsageError(f"{len(texts)} texts; send {most} or fewer at once")
        if any(len(text) > limits.text_characters for text in texts):
            raise UsageError(f"a text is longer than {limits.text_characters:,} characters; shorten it")

    async def found(params: SearchParams, uploads: list[UploadFile], prefix: str) -> SearchResult:
        bounded([*params.text, *params.unlike, *([params.words] if params.words else [])], limits.texts)
        if len(params.like) > limits.pictures:
            raise UsageError(f"like: {len(params.like)} rows; give {limits.pictures} or fewer at once")
        if params.k > limits.hits or params.skip > limits.skip:
            raise UsageError(f"ask for {limits.hits} pictures or fewer, after {limits.skip:,} or fewer")
        if params.folder and params.folder.startswith("/"):
            raise UsageError("folder: give it as it lies below an indexed folder, without / at its beginning")
        given = await contents(uploads)
        (hits, total), spent = await timed(lambda: service.search(params, given))
        if prefix:
            hits = [hit.model_copy(update={"picture": prefix + hit.picture}) for hit in hits]
        return SearchResult(hits=hits, pictures=total, model=service.name, milliseconds=spent)

    @router.get("/v1/search", tags=["search"])
    async def search(params: Annotated[SearchParams, Query()], request: Request) -> SearchResult:
        """The pictures that match words best, or pictures of the index, or both."""
        return await found(params, [], request.scope[PREFIX])

    @router.post("/v1/search", tags=["search"])
    async def search_like(
        params: Annotated[SearchParams, Query()], picture: Annotated[list[UploadFile], File()], request: Request
    ) -> SearchResult:
        """Pictures similar to those sent, that also match words if given. The query holds all but the pictures."""
        return await found(params, picture, request.scope[PREFIX])

    @router.post("/v1/classify", tags=["pictures"])
    async def classify(
        picture: Annotated[UploadFile, File()], labels: Labels, each: Annotated[bool, Form()] = False
    ) -> Classified:
        """The probability of each label for a picture; with `each` every label is judged independently.

        Labels are in one field, separated by commas or line breaks, or in a field each.
        """
        chosen = [label.strip() for field in labels for label in re.split(r"[,\n]", field) if label.strip()]
        bounded(chosen, limits.labels)
        given = await picture.read()
        result, spent = await timed(lambda: service.classify(given, chosen, each))
        return Classified(labels=result, each=each, model=service.name, milliseconds=spent)

    @router.post("/v1/locate", tags=["pictures"])
    async def locate(picture: Annotated[UploadFile, File()], text: Annotated[Text, Form()]) -> Located:
        """Where in a picture the words are."""
        bounded([text], 1)
        given = await picture.read()
        (box, overlay, encoded), spent = await timed(lambda: service.locate(given, text))
        return Located(box=box, overlay=overlay, encoded=encoded, model=service.name, milliseconds=spent)

    def embedded(vectors: list[list[float]], spent: float) -> Embedded:
        encoder = service.encoder
        return Embedded(
            embeddings=vectors, dim=encoder.dim, model=service.name, model_hash=encoder.weights_hash, milliseconds=spent
        )

    @router.post("/v1/embed", tags=["embeddings"])
    async def embed(given: Texts) -> Embedded:
        """Embeddings of texts."""
        bounded(given.texts, limits.texts)
        vectors, spent = await timed(lambda: service.embed_texts(given.texts).tolist())
        return embedded(vectors, spent)

    @router.post("/v1/embed/pictures", tags=["embeddings"])
    async def embed_pictures(picture: Annotated[list[UploadFile], File()]) -> Embedded:
        """Embeddings of pictures."""
        uploads = await contents(picture)
        vectors, spent = await timed(lambda: service.embed_pictures(uploads).tolist())
        return embedded(vectors, spent)

    @router.get(
        "/v1/pictures/{row}",
        tags=["search"],
        response_class=Response,
        responses={
            200: {"content": {"image/jpeg": {}}, "description": "The picture."},
            404: {"model": Problem, "description": "No such picture, or its file is gone."},
        },
    )
    async def picture(row: Row, size: Annotated[pictures.Size, Query()] = "small") -> Response:
        """A picture of the index, as a new JPEG: at most 320 pixels (small), 1,280 (large), or its own size (full)."""
        content = await requests.run(lambda: service.picture(row, size))
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})

    @router.get(
        "/v1/pictures/{row}/details", tags=["search"],
        responses={404: {"model": Problem, "description": "No such picture."}},
    )  # fmt: skip
    async def details(row: Row) -> Details:
        """What the index knows of a picture: its texts, keywords, location, camera, source and licence."""
        return await requests.run(lambda: service.details(row))

    @router.get("/v1/model", tags=["service"])
    async def model() -> ModelFacts:
        """The model and the index of the service."""
        return await requests.run(service.facts)

    @router.get("/health", tags=["service"])
    async def health() -> Health:
        """The state of the service, and of its index."""
        return service.health()

    @router.get(
        "/metrics", tags=["service"], response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}},
    )  # fmt: skip
    async def prometheus() -> Response:
        """Requests, times, batch sizes and pictures for Prometheus."""
        metrics.at_work.set(requests.running - 1)  # without this one
        health = service.health()
        metrics.pictures.set(health.pictures)
        metrics.updated.set(health.updated.timestamp() if health.updated else 0)
        metrics.checked.set(health.checked.timestamp() if health.checked else 0)
        metrics.watching.set(health.watching)
        return Response(metrics.page(), media_type="text/plain; version=1.0.0")

    return router
