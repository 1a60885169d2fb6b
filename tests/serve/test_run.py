import asyncio
import socket

import pytest

from clip_italian.errors import UserError
from clip_italian.serve.run import Address, listen


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
