import asyncio
import signal
import socket

import pytest
import uvicorn

from clip_italian.errors import UserError
from clip_italian.serve.run import Address, listen, run


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_responses_do_not_wait_for_acknowledgements(host):
    """Nagle's algorithm is off on accepted connections, as uvicorn's server accepts them."""
    try:
        listening = listen(Address(host, 0))
    except UserError:
        pytest.skip(f"no {host} on this machine")
    options = []

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport):
            accepted = transport.get_extra_info("socket")
            options.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def main():
        server = await asyncio.get_running_loop().create_server(Protocol, sock=listening)
        async with server:
            reader, writer = await asyncio.open_connection(*listening.getsockname()[:2])
            await reader.read()
            writer.close()

    asyncio.run(main())
    assert len(options) == 1 and options[0] != 0


def test_a_port_in_use_is_one_line():
    with listen(Address("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="cannot listen there") as caught:
        listen(Address("127.0.0.1", taken.getsockname()[1]))
    assert "\n" not in str(caught.value)


def test_a_port_is_free_again_at_once():
    with listen(Address("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = first.accept()
        accepted.close()
        client.close()
    listen(Address("127.0.0.1", port)).close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["get_loop_factory", "startup", "main_loop", "shutdown"])
def test_a_signal_at_any_moment_ends_the_server_quietly(number, moment, monkeypatch, recwarn):
    """`get_loop_factory` is called when the coroutine exists and does not run, where asyncio would lose it."""
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    cls = uvicorn.Config if moment == "get_loop_factory" else uvicorn.Server
    original = getattr(cls, moment)
    reached = []

    def signalled(*args, **kwargs):
        reached.append(moment)
        signal.raise_signal(number)
        return original(*args, **kwargs)

    monkeypatch.setattr(cls, moment, signalled)
    config = uvicorn.Config(_app, log_config=None, lifespan="off")
    with listen(Address("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(config)
        if moment == "shutdown":  # which something else has to reach
            server.should_exit = True
        if number == signal.SIGINT:
            with pytest.raises(KeyboardInterrupt):
                run(server, listening)
        else:
            run(server, listening)
    assert reached == [moment]
    assert not recwarn.list
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


async def _app(scope, receive, send):
    raise AssertionError("nothing is asked")
