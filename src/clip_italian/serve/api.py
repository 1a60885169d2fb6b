"""The routes of the API."""

import re
import time
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, File, Form, Path, Query, Request, Response, UploadFile
from pydantic import StringConstraints

from clip_italian.errors import UsageError
from clip_italian.serve import pictures
from clip_italian.serve.answers import (
    Asked,
    Classified,
    Embedded,
    Found,
    Health,
    Located,
    ModelFacts,
    Problem,
    Text,
    Texts,
)
from clip_italian.serve.guard import PREFIX
from clip_italian.serve.metrics import Metrics
from clip_italian.serve.service import Service
from clip_italian.serve.work import Work

T = TypeVar("T")

_REFUSALS = {
    400: "The body is not what it should be.",
    401: "No API key, or an unknown one.",
    403: "Called by a name that is not allowed.",
    408: "The request took too long to arrive.",
    413: "Too many bytes.",
    422: "Something in the request is wrong; the line says what.",
    503: "Too many requests at once; Retry-After says when to come again.",
    504: "The work took too long.",
}
_PROBLEMS: dict[int | str, dict] = {status: {"model": Problem, "description": why} for status, why in _REFUSALS.items()}

Labels = Annotated[list[Annotated[str, StringConstraints(max_length=100_000)]], Form()]
Row = Annotated[int, Path(ge=0, lt=2**53, description="Permanent number of a picture, from a search.")]


def routes(service: Service, work: Work, metrics: Metrics) -> APIRouter:
    """All of /v1, /health and /metrics."""
    router = APIRouter(responses=_PROBLEMS)
    limits = service.limits

    async def timed(function: Callable[[], T]) -> tuple[T, float]:
        start = time.perf_counter()
        result = await work.run(function)
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

    async def found(asked: Asked, uploads: list[UploadFile], prefix: str) -> Found:
        bounded([*asked.text, *asked.unlike], limits.texts)
        if asked.k > limits.hits or asked.skip > limits.skip:
            raise UsageError(f"ask for {limits.hits} pictures or fewer, after {limits.skip:,} or fewer")
        if asked.folder and asked.folder.startswith("/"):
            raise UsageError("folder: give it as it lies below an indexed folder, without / at its beginning")
        given = await contents(uploads)
        (hits, total), spent = await timed(lambda: service.search(asked, given))
        if prefix:
            hits = [hit.model_copy(update={"picture": prefix + hit.picture}) for hit in hits]
        return Found(hits=hits, pictures=total, model=service.name, milliseconds=spent)

    @router.get("/v1/search", tags=["search"])
    async def search(asked: Annotated[Asked, Query()], request: Request) -> Found:
        """Pictures that fit words best."""
        return await found(asked, [], request.scope[PREFIX])

    @router.post("/v1/search", tags=["search"])
    async def search_like(
        asked: Annotated[Asked, Query()], picture: Annotated[list[UploadFile], File()], request: Request
    ) -> Found:
        """Pictures that are like those sent, and fit words if there are any. The query holds all but the pictures."""
        return await found(asked, picture, request.scope[PREFIX])

    @router.post("/v1/classify", tags=["pictures"])
    async def classify(
        picture: Annotated[UploadFile, File()], labels: Labels, each: Annotated[bool, Form()] = False
    ) -> Classified:
        """Which of the labels fits a picture; with `each` every label is judged by itself.

        Labels stand in one field with commas or line ends between them, or in a field each.
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
    async def picture(row: Row, size: Annotated[Literal["small", "large"], Query()] = "small") -> Response:
        """A picture of the index, encoded anew as a JPEG of at most 320 (small) or 1,280 pixels (large)."""
        side = pictures.SMALL if size == "small" else pictures.LARGE
        content = await work.run(lambda: service.picture(row, side))
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})

    @router.get("/v1/model", tags=["service"])
    async def model() -> ModelFacts:
        """The model and the index that answer."""
        return await work.run(service.facts)

    @router.get("/health", tags=["service"])
    async def health() -> Health:
        """Whether the service lives, and how many pictures it knows."""
        return Health(status="ok", pictures=len(service.library.current()))

    @router.get(
        "/metrics", tags=["service"], response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}},
    )  # fmt: skip
    async def prometheus() -> Response:
        """Requests, times, batch sizes and pictures for Prometheus."""
        metrics.at_work.set(work.busy)
        metrics.pictures.set(len(service.library.current()))
        return Response(metrics.page(), media_type="text/plain; version=1.0.0")

    return router
