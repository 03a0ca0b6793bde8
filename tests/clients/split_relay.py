"""A relay between a client and the gateway that passes answers on in pieces, or cuts them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio
from attrs import define, field

_READ_BYTES = 65_536


@define(eq=False)
class SplitRelay:
    """Where it listens, and every byte of the answers that it passed on."""

    target_port: int
    piece_bytes: int
    cut_after: bytes
    port: int = 0
    passed: bytearray = field(factory=bytearray)

    async def serve(self, client: trio.SocketStream) -> None:
        """One connection of a client."""
        client.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        server = await trio.open_tcp_stream("127.0.0.1", self.target_port)
        async with client, server, trio.open_nursery() as both:
            both.start_soon(_pass_on, client, server)
            # A client may close once it has what it wants.
            with suppress(trio.BrokenResourceError):
                await self._pass_answers(server, client)
            both.cancel_scope.cancel()

    async def _pass_answers(self, server: trio.SocketStream, client: trio.SocketStream) -> None:
        while data := await server.receive_some(_READ_BYTES):
            for start in range(0, len(data), self.piece_bytes):
                piece = data[start : start + self.piece_bytes]
                await client.send_all(piece)
                # Others run, so that the client reads this piece alone.
                await trio.lowlevel.checkpoint()
                self.passed += piece
                if self.cut_after and self.cut_after in self.passed:
                    return


@asynccontextmanager
async def split_answers(port: int, piece_bytes: int, *, cut_after: bytes = b"") -> AsyncIterator[SplitRelay]:
    """Serve on a port of the loopback what the server on `port` answers, in pieces of so many bytes.

    The client's connection is closed behind the first piece that ends the text `cut_after`, if there is one.
    """
    relay = SplitRelay(port, piece_bytes, cut_after)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        relay.port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, relay.serve, [listener])
        yield relay
        nursery.cancel_scope.cancel()


async def _pass_on(source: trio.SocketStream, target: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await source.receive_some(_READ_BYTES):
            await target.send_all(data)
