"""Start the service and run it until a signal stops it."""

import logging
import os
import socket
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from clip_italian import console, languages
from clip_italian.errors import UserError
from clip_italian.models.load import Engine, load
from clip_italian.search.storage import read_manifest
from clip_italian.serve.app import create
from clip_italian.serve.encoder import SharedEncoder
from clip_italian.serve.metrics import Metrics
from clip_italian.serve.service import ServedIndex, Service, shown_name
from clip_italian.serve.settings import Access, Limits
from clip_italian.signals import ended_by_signal

if TYPE_CHECKING:
    from clip_italian.serve.watcher import Watcher

_STOPPING = 10  # seconds for running requests to finish


@dataclass(frozen=True)
class Address:
    """Where the service listens; port 0 takes a free one, `prefix` is the path below which a proxy publishes it."""

    host: str
    port: int
    prefix: str = ""


def service(
    folder: Path, model: str | None, engine: Engine, language: str, limits: Limits, metrics: Metrics,
    places: bool = True,
) -> Service:  # fmt: skip
    """Open an index and load its model, or another folder of the same one. Raises UserError."""
    words = languages.get(language)
    name = model if model is not None else read_manifest(folder).model_name
    loaded = load(name, engine=engine)
    loaded.encode_text([words.prompts[0]])  # loads what texts need now, so that damage shows and no request waits
    encoder = SharedEncoder(loaded, metrics.observe_batch)
    return Service(ServedIndex(folder, encoder), encoder, shown_name(name), words, limits, places)


def serve(
    folder: Path, model: str | None, engine: Engine, language: str, address: Address, access: Access, limits: Limits,
    watch: bool = False,
) -> None:  # fmt: skip
    """Answer requests until SIGTERM or Ctrl-C; with `watch`, keep the index up to date with its inputs meanwhile.

    Raises UserError where it cannot start.
    """
    watcher = _watcher(folder, model, engine) if watch else None
    listening = listen(address)
    metrics = Metrics()
    with listening:
        served = service(folder, model, engine, language, limits, metrics, access.places)
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        # Requests are not logged: what people search for is private. limit_concurrency is of connections, most of
        # them idle; `middleware.Requests` bounds the requests.
        config = uvicorn.Config(
            create(served, access, metrics, address.prefix), access_log=False, log_config=None,
            server_header=False, ws="none",
            timeout_keep_alive=15, timeout_graceful_shutdown=_STOPPING, limit_concurrency=8 * limits.requests,
        )  # fmt: skip
        port = listening.getsockname()[1]
        host = f"[{address.host}]" if ":" in address.host else address.host
        console.notice(
            f"{len(served.index.current()):,} pictures at http://{host}:{port}, API at http://{host}:{port}/docs; "
            "Ctrl-C ends it"
        )
        if line := served.index.current().slowness:
            console.notice(line)
        with watcher or nullcontext():
            served.watcher = watcher
            run(uvicorn.Server(config), listening)


def run(server: uvicorn.Server, listening: socket.socket) -> None:
    """Run it until SIGTERM, which returns, or Ctrl-C, which raises KeyboardInterrupt once requests have finished.

    uvicorn's own handlers are there only while its event loop runs, and then raise the signal again for the previous
    ones. With these the moments before and after end as quietly: no exception breaks into asyncio's start.
    """
    with ended_by_signal(server.handle_exit):
        server.run(sockets=[listening])


def _watcher(folder: Path, model: str | None, engine: Engine) -> "Watcher":
    """The process that will update the index. Raises UserError where it could not, before a model is loaded."""
    from clip_italian.search.watch import manifest_to_follow  # needs an extra
    from clip_italian.serve.watcher import Watcher

    manifest = manifest_to_follow(folder)
    return Watcher(folder, manifest.model_name if model is None else model, engine)


def listen(address: Address) -> socket.socket:
    """A listening socket; raises UserError where that fails, before a model is loaded in vain.

    asyncio turns off Nagle's algorithm only for sockets that name TCP as their protocol, and connections inherit it.
    Without that, each response waits 40 ms for the client's delayed acknowledgement.
    """
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        made = socket.create_server((address.host, address.port), family=family, backlog=1_024)
        return socket.socket(made.family, made.type, socket.IPPROTO_TCP, made.detach())
    except OSError as error:
        known = error.errno if error.errno is not None and error.errno > 0 else None  # not of a name
        reason = os.strerror(known) if known else error.strerror
        raise UserError(
            f"{address.host}:{address.port}: cannot listen there ({reason}); choose another --port"
        ) from error
