"""A network between a client and the gateway that breaks: each connection is cut behind so many pieces of an answer."""

from __future__ import annotations

from functools import partial

import trio
from attrs import define, field

# What a piece begins with: a token of an SSE stream, and of a chat's frames.
MARKS = (b'"delta":{"content"', b'"type":"delta"')
_LONGEST = max(map(len, MARKS))


@define(eq=False)
class CuttingRelay:
    """Relays to `target`. `every`: after so many pieces a connection is cut; None: never."""

    target: int
    every: int | None = None
    port: int = 0
    # The first lines of requests, as far as they came in a piece of their own, and how often a connection was cut.
    lines: list[str] = field(factory=list)
    cuts: int = 0

    async def serve(self, *, task_status: trio.TaskStatus[CuttingRelay]) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, self._relay, 0, host="127.0.0.1"))
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started(self)

    async def _relay(self, client: trio.SocketStream) -> None:
        try:
            async with await trio.open_tcp_stream("127.0.0.1", self.target) as gateway, trio.open_nursery() as both:
                both.start_soon(self._go_up, client, gateway, both.cancel_scope)
                await self._go_down(gateway, client)
                both.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            # One of the two has left.
            pass

    async def _go_up(self, client: trio.SocketStream, gateway: trio.SocketStream, scope: trio.CancelScope) -> None:
        async for data in client:
            head = data.split(b"\r\n", 1)[0]
            if head.endswith(b" HTTP/1.1"):
                self.lines.append(head.decode())
            await gateway.send_all(data)
        # The client has left, and so does the relay.
        scope.cancel()

    async def _go_down(self, gateway: trio.SocketStream, client: trio.SocketStream) -> None:
        passed, tail = 0, b""
        async for data in gateway:
            for end in range(1, len(data) + 1):
                tail = (tail + data[end - 1 : end])[-_LONGEST:]
                if tail.endswith(MARKS):
                    passed += 1
                    if passed == self.every:
                        # In the middle of a piece, as a network does.
                        self.cuts += 1
                        await client.send_all(data[:end])
                        return
            await client.send_all(data)


async def open_relay(nursery: trio.Nursery, target: int, every: int | None = None) -> CuttingRelay:
    """A relay to this port."""
    relay: CuttingRelay = await nursery.start(CuttingRelay(target, every).serve)
    return relay
