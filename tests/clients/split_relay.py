"""A relay between a client and the gateway that passes answers on in pieces, or cuts them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

_READ_BYTES = 65_536


@asynccontextmanager
async def split_answers(port: int, piece_bytes: int, *, cut_after: bytes = b"") -> AsyncIterator[int]:
    """Serve on a port of the loopback (given) what the server on `port` answers, in pieces of so many bytes.

    The client's connection is closed behind the first piece that ends the text `cut_after`, if there is one.
    """

    async def relay(client: trio.SocketStream) -> None:
        client.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        async with client, await trio.open_tcp_stream("127.0.0.1", port) as server, trio.open_nursery() as both:
            both.start_soon(_pass_on, client, server)
            await _pass_on(server, client, piece_bytes, cut_after)
            both.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, relay, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def _pass_on(
    source: trio.SocketStream, target: trio.SocketStream, piece_bytes: int = _READ_BYTES, cut_after: bytes = b""
) -> None:
    passed = b""
    # A client may close once it has what it wants.
    with suppress(trio.BrokenResourceError):
        while data := await source.receive_some(_READ_BYTES):
            for start in range(0, len(data), piece_bytes):
                piece = data[start : start + piece_bytes]
                await target.send_all(piece)
                # Others run, so that the client reads this piece alone.
                await trio.lowlevel.checkpoint()
                passed += piece
                if cut_after and cut_after in passed:
                    return
