"""The ASGI application: routes, page, middleware and errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from clip_italian.errors import UsageError
from clip_italian.pictures.decoding import PictureError
from clip_italian.serve import api, page
from clip_italian.serve.metrics import Measured, Metrics
from clip_italian.serve.middleware import Guard, HeadAsGet, Prefixed, Requests, SecurityHeaders, problem
from clip_italian.serve.service import NotThereError, Service
from clip_italian.serve.settings import Access

_DESCRIPTION = 'Search, classify and locate pictures with words. Errors are JSON with one line: {"error": …}.'


def create(service: Service, access: Access, metrics: Metrics, prefix: str = "") -> ASGIApp:
    """The application for one service; `prefix` is the path below which a proxy publishes it, like "/foto"."""
    limits = service.limits
    requests = Requests(limits.requests, limits.seconds)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.encoder.close()

    app = FastAPI(
        title="clip-italian", version=metadata.version("clip-italian"), description=_DESCRIPTION,
        servers=[{"url": prefix or "."}], root_path_in_servers=False,  # .: where the description itself lies
        docs_url=None, redoc_url=None,  # these load scripts from elsewhere; ours is in `page`
        lifespan=lifespan,
        form_limits={"max_files": 2 * limits.pictures, "max_fields": 2 * limits.labels, "max_part_size": 200_000},
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )  # fmt: skip
    app.include_router(api.routes(service, requests, metrics))
    app.include_router(page.routes(app, service))
    _add_error_handlers(app)
    # Outermost, so that Starlette's own error responses pass through them as well.
    guarded: ASGIApp = Guard(app, access, limits, requests)
    if access.origins:
        allowed = ["X-API-Key", "Authorization", "Content-Type"]
        guarded = CORSMiddleware(guarded, access.origins, allow_methods=["GET", "HEAD", "POST"], allow_headers=allowed)
    return Prefixed(HeadAsGet(SecurityHeaders(Measured(guarded, metrics), access)), prefix)


def _add_error_handlers(app: FastAPI) -> None:
    """Turn every error into one line of JSON, without paths of this machine or tracebacks."""

    @app.exception_handler(PictureError)
    @app.exception_handler(UsageError)
    async def wrong(_: Request, error: Exception) -> JSONResponse:
        return problem(422, str(error))

    @app.exception_handler(NotThereError)
    async def missing(_: Request, error: Exception) -> JSONResponse:
        return problem(404, str(error))

    @app.exception_handler(TimeoutError)
    async def too_long(_: Request, __: Exception) -> JSONResponse:
        return problem(504, "it took too long; ask for less, or try again later", {"Retry-After": "5"})

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return problem(422, f"{place}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, error.detail, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        # Starlette raises the error again after this response, and the server logs it.
        return problem(500, "an error inside the service; its log says which")
