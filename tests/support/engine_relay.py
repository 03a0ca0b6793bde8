"""A relay between a client and an engine that holds bytes back, in either direction, or cuts connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio
from attrs import define, field

_READ_BYTES = 65_536


@define(eq=False)
class Gate:
    """Bytes pass while it is open, each piece after `delay_s`. `came`: the pieces so far; `held`: those that came while
    it was closed."""

    came: int = 0
    held: int = 0
    delay_s: float = 0.0
    _open: trio.Event | None = None
    _arrived: trio.Event = field(factory=trio.Event)

    def close(self) -> None:
        self._open = trio.Event()
        self._arrived = trio.Event()
        self.held = 0

    def open(self) -> None:
        if self._open is not None:
            self._open.set()
        self._open = None

    async def pass_through(self) -> None:
        self.came += 1
        if self.delay_s:
            await trio.sleep(self.delay_s)
        if self._open is not None:
            self.held += 1
            self._arrived.set()
            await self._open.wait()

    async def wait_held(self) -> None:
        """Until something has arrived at the closed gate."""
        with trio.fail_after(10):
            await self._arrived.wait()


@define(eq=False)
class EngineRelay:
    """Listens on `port`. `requests` and `replies` are its two directions."""

    target_port: int
    port: int = 0
    requests: Gate = field(factory=Gate)
    replies: Gate = field(factory=Gate)
    connections: int = 0
    accepts: bool = True
    # What clients get in place of each piece of a reply, and how often they did.
    lie: bytes | None = None
    lies_told: int = 0
    _scopes: list[trio.CancelScope] = field(factory=list)

    def cut(self) -> None:
        """End every connection."""
        scopes, self._scopes = self._scopes, []
        for scope in scopes:
            scope.cancel()

    async def serve(self, client: trio.SocketStream) -> None:
        self.connections += 1
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                await self._relay(client)
        await trio.aclose_forcefully(client)

    async def _relay(self, client: trio.SocketStream) -> None:
        if not self.accepts:
            return
        server = await trio.open_tcp_stream("127.0.0.1", self.target_port)
        async with server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_on, client, server, self.requests, nursery.cancel_scope)
            nursery.start_soon(self._pass_on, server, client, self.replies, nursery.cancel_scope)

    async def _pass_on(
        self, source: trio.SocketStream, target: trio.SocketStream, gate: Gate, both: trio.CancelScope
    ) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some(_READ_BYTES):
                await gate.pass_through()
                if self.lie is not None and gate is self.replies:
                    self.lies_told += 1
                    data = self.lie
                await target.send_all(data)
        both.cancel()


@asynccontextmanager
async def engine_relay(port: int, host: str = "127.0.0.1") -> AsyncIterator[EngineRelay]:
    """A relay to the engine on a port of the loopback. It listens at `host`."""
    relay = EngineRelay(port)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host=host)
        relay.port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, relay.serve, [listener])
        yield relay
        nursery.cancel_scope.cancel()
