"""`clip-italian serve`: an HTTP API and a web page over an index."""

from pathlib import Path
from typing import Annotated

import typer

from clip_italian import languages
from clip_italian.cli.lazy import lazy_imports
from clip_italian.cli.options import Engine
from clip_italian.errors import UserError

with lazy_imports():
    from clip_italian.serve import run, settings


def serve(
    index: Annotated[Path, typer.Option("--index", help="Index folder, from clip-italian index build.", metavar="IDX")],
    model: Annotated[str | None, typer.Option("--model", help="Model folder. Default: the model of the index.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; any but this machine's own needs --keys.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 picks a free one.")] = 7_860,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="File of API keys, one per line; requests without one are refused.")
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option("--cors", metavar="ORIGIN", help="Origin whose pages may call the API.")
    ] = None,
    hostname: Annotated[
        list[str] | None, typer.Option("--hostname", help="Additional allowed Host header, without keys.")
    ] = None,
    root_path: Annotated[
        str,
        typer.Option("--root-path", metavar="PATH", help="Path prefix added by a proxy, like /photos."),
    ] = "",
    places: Annotated[
        bool | None,
        typer.Option("--places/--no-places", help="Say where pictures were taken. Default: only without --keys."),
    ] = None,
    language: Annotated[str, typer.Option(help="Language of labels and example queries.")] = languages.DEFAULT,
    max_upload: Annotated[
        int, typer.Option("--max-upload", min=1, help="Maximum size of a request, in megabytes.")
    ] = 20,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, help="Maximum size of an uploaded picture, in megapixels.")
    ] = 50,
    max_requests: Annotated[
        int,
        typer.Option(
            "--max-requests", min=1, max=1_000, help="Maximum number of concurrent requests; further ones get 503."
        ),
    ] = 128,
    time_limit: Annotated[float, typer.Option("--time-limit", min=0.1, help="Timeout per request, in seconds.")] = 30.0,
    engine: Engine = "auto",
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep the index up to date with its folders, as index watch does.")
    ] = False,
) -> None:
    """Serve an index: a web page to search, classify and locate, and the same as an HTTP API, described at /docs.

    Listens on this machine only, unless --host says otherwise. Updates of the index are picked up while it runs,
    and --watch makes them.

    Example: clip-italian serve --index photos.idx --port 7860
    """
    access = settings.access(host, settings.read_keys(keys) if keys else [], cors or [], hostname or [], places)
    prefix = settings.prefix(root_path)
    limits = settings.Limits(
        body_bytes=max_upload * 1_000_000, picture_pixels=max_pixels * 1_000_000, requests=max_requests,
        seconds=time_limit,
    )  # fmt: skip
    try:
        address = run.Address(host, port, prefix)
    except ImportError as error:
        raise UserError('serve needs FastAPI and more: pip install "clip-italian[serve]"') from error
    run.serve(index, model, engine, language, address, access, limits, watch)
