"""A provider of OpenAI's wire that sends each token only when the test says so."""

from __future__ import annotations

import json
from functools import partial

import trio
from attrs import define, field

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@define(eq=False)
class HeldProvider:
    """One call is served. `called` and `left`: the call has come, and the gateway has closed its connection."""

    port: int = 0
    called: trio.Event = field(factory=trio.Event)
    left: trio.Event = field(factory=trio.Event)
    _stream: trio.SocketStream | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def send_token(self, text: str, *, finish: str | None = None) -> None:
        """Send one token of the answer; `finish` ends it."""
        choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}
        chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "held", "choices": [choice]}
        events = f"data: {json.dumps(chunk)}\n\n" + ("data: [DONE]\n\n" if finish else "")
        assert self._stream is not None
        await self._stream.send_all(f"{len(events):x}\r\n{events}\r\n".encode() + (b"0\r\n\r\n" if finish else b""))

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve a connection until the gateway closes it."""
        received = await stream.receive_some()
        if b"POST " not in received:
            return
        self._stream = stream
        await stream.send_all(HEAD)
        self.called.set()
        while await stream.receive_some():
            pass
        self.left.set()


async def start_held_provider(nursery: trio.Nursery) -> HeldProvider:
    """A provider, ready for a call."""
    provider = HeldProvider()
    start = partial(trio.serve_tcp, provider.serve, 0, host="127.0.0.1", handler_nursery=nursery)
    [listener] = await nursery.start(start)
    provider.port = listener.socket.getsockname()[1]
    return provider
