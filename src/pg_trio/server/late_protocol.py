"""Hypercorn's protocol, loaded when the first connection needs it: TLS, HTTP/2, or a WebSocket that is none of ours.

Most gateways serve none of these, and Hypercorn with its HTTP/2 takes 4 MB of each worker and 0.1 s of its start.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from pg_trio.server.hypercorn_protocol import HypercornProtocol


class LateProtocol:
    """What HypercornProtocol does; `make` imports and makes it. Importing runs on a thread: requests go on."""

    def __init__(self, load: Callable[[], Callable[[], HypercornProtocol]]) -> None:
        self._load = load
        self._made: HypercornProtocol | None = None
        self._making = trio.Lock()
        self._is_draining = False

    async def serve_stream(self, stream: Any) -> None:
        """See HypercornProtocol.serve_stream."""
        try:
            protocol = await self.find()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        await protocol.serve_stream(stream)

    async def take_over(self, sock: socket.socket, data: bytes) -> None:
        """See HypercornProtocol.take_over."""
        try:
            protocol = await self.find()
        except BaseException:
            sock.close()
            raise
        await protocol.take_over(sock, data)

    async def find(self) -> HypercornProtocol:
        """The protocol, loaded."""
        if self._made is None:
            async with self._making:
                if self._made is None:
                    make = await trio.to_thread.run_sync(self._load)
                    self._made = make()
                    if self._is_draining:
                        await self._made.drain()
        return self._made

    async def drain(self) -> None:
        """See HypercornProtocol.drain."""
        self._is_draining = True
        if self._made is not None:
            await self._made.drain()
