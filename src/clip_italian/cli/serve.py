"""`clip-italian serve`: an index as HTTP API and web page."""

from pathlib import Path
from typing import Annotated

import typer

from clip_italian import languages
from clip_italian.cli.lazy import lazy_imports
from clip_italian.errors import UserError

with lazy_imports():
    from clip_italian.serve import run, settings


def serve(
    index: Annotated[Path, typer.Option("--index", help="Index folder, from clip-italian index build.", metavar="IDX")],
    model: Annotated[str | None, typer.Option("--model", help="Model folder; by default the index's own.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; others than this machine's own need --keys.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 7_860,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="File of API keys, one a line; without one of them no answer.")
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option("--cors", metavar="ORIGIN", help="Web site whose pages may call the API.")
    ] = None,
    hostname: Annotated[
        list[str] | None, typer.Option("--hostname", help="Further name by which it is called, without keys.")
    ] = None,
    root_path: Annotated[
        str,
        typer.Option(
            "--root-path", metavar="PATH", help="Path below which a proxy publishes it, like /photos; by default none."
        ),
    ] = "",
    language: Annotated[str, typer.Option(help="Of labels and example queries.")] = languages.DEFAULT,
    max_upload: Annotated[int, typer.Option("--max-upload", min=1, help="Megabytes of one request.")] = 20,
    max_pixels: Annotated[int, typer.Option("--max-pixels", min=1, help="Megapixels of one picture sent.")] = 50,
    max_requests: Annotated[
        int, typer.Option("--max-requests", min=1, max=1_000, help="At the same time; more get 503.")
    ] = 128,
    time_limit: Annotated[float, typer.Option("--time-limit", min=0.1, help="Seconds for one request.")] = 30.0,
) -> None:
    """Serve an index: a web page to search, classify and locate, and the same as an HTTP API, described at /docs.

    It is for this machine alone unless --host says otherwise. It sees updates of the index by itself.

    Example: clip-italian serve --index photos.idx --port 7860
    """
    access = settings.access(host, settings.read_keys(keys) if keys else [], cors or [], hostname or [])
    prefix = settings.prefix(root_path)
    limits = settings.Limits(
        body_bytes=max_upload * 1_000_000, picture_pixels=max_pixels * 1_000_000, requests=max_requests,
        seconds=time_limit,
    )  # fmt: skip
    try:
        address = run.Address(host, port, prefix)
    except ImportError as error:
        raise UserError('serve needs FastAPI and more: pip install "clip-italian[serve]"') from error
    run.serve(index, model, language, address, access, limits)
