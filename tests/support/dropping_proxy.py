"""A proxy that cuts each connection after so many events of its answer, as a network does: with a reset."""

from __future__ import annotations

import socket
import struct

import trio
from attrs import define

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@define
class DroppingProxy:
    """`every`: events that pass on one connection; the bytes of the next ones do not. `cuts` counts the resets."""

    target: int
    every: int
    port: int = 0
    cuts: int = 0

    async def serve(self, *, task_status: trio.TaskStatus[DroppingProxy]) -> None:
        """Serve until cancelled."""
        listener = trio.socket.socket()
        with listener:
            await listener.bind(("127.0.0.1", 0))
            listener.listen()
            self.port = listener.getsockname()[1]
            async with trio.open_nursery() as nursery:
                task_status.started(self)
                while True:
                    client, _ = await listener.accept()
                    nursery.start_soon(self._relay, trio.SocketStream(client))

    async def _relay(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", self.target)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_on, client, server)
            if await self._pass_events(server, client):
                self.cuts += 1
                for stream in (client, server):
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                    stream.socket.close()
            nursery.cancel_scope.cancel()

    async def _pass_on(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            while data := await source.receive_some():
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def _pass_events(self, source: trio.SocketStream, sink: trio.SocketStream) -> bool:
        """Whether the connection is to be cut. Chunked coding breaks no event's data here: `data: ` is enough."""
        events, seen = 0, b""
        try:
            while data := await source.receive_some():
                seen = seen[-5:] + data
                events += seen.count(b"data: ")
                await sink.send_all(data)
                if events >= self.every:
                    # What was sent is on its way; a reset at once would take it back.
                    await trio.sleep(0.02)
                    return True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        return False
