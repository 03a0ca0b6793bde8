"""A client of resumable streams over real sockets: reads as far as it is told, loses its connection, comes back."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Self

import h11
import trio
from attrs import define, field

from tests.support.wire import HttpResponse, bearer, get, post, send_raw

READ_LIMIT_S = 60


@define(eq=False)
class StreamingClient:
    """One connection with one request. `body` is what has come of the answer; `is_whole` whether it ended properly."""

    stream: trio.SocketStream
    method: str
    status: int = 0
    headers: dict[str, str] = field(factory=dict)
    body: bytes = b""
    is_whole: bool = False
    _parser: h11.Connection = field(factory=lambda: h11.Connection(h11.CLIENT))

    @classmethod
    async def open(cls, port: int, data: bytes) -> Self:
        """Send a request."""
        client = cls(await trio.open_tcp_stream("127.0.0.1", port), data[: data.index(b" ")].decode())
        client._parser.send(h11.Request(method=client.method, target="/", headers=[("Host", "test")]))
        client._parser.send(h11.EndOfMessage())
        await client.stream.send_all(data)
        return client

    async def read(self) -> bool:
        """Read what comes next of the body; False at its end, proper or not."""
        while True:
            event = self._parser.next_event()
            if event is h11.NEED_DATA:
                with trio.fail_after(READ_LIMIT_S):
                    try:
                        data = await self.stream.receive_some(65536)
                    except trio.BrokenResourceError:
                        return False
                try:
                    self._parser.receive_data(data)
                    if not data:
                        self._parser.next_event()
                except h11.RemoteProtocolError:
                    return False
            elif isinstance(event, h11.Response):
                self.status = event.status_code
                self.headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                self.body += event.data
                return True
            else:
                self.is_whole = isinstance(event, h11.EndOfMessage)
                return False

    async def read_events(self, count: int) -> bytes:
        """Read until so many events are there; all bytes of these, and no more of the rest."""
        while self.body.count(b"\n\n") < count:
            assert await self.read(), f"the stream ended: {self.body!r}"
        at = -1
        for _ in range(count):
            at = self.body.index(b"\n\n", at + 1)
        return self.body[: at + 2]

    async def read_rest(self) -> bytes:
        """Read to the end."""
        while await self.read():
            pass
        return self.body

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await trio.aclose_forcefully(self.stream)


@define
class Streams:
    """The streams of a project, as one token sees them. `path` is a route without its last slash."""

    token: str
    path: str

    async def ask(self, port: int, route: str, body: object, *headers: tuple[str, str]) -> StreamingClient:
        """Begin a stream."""
        return await StreamingClient.open(port, post(f"{self.path}/{route}", body, bearer(self.token), *headers))

    async def resume(self, port: int, request_id: str, after: int | str | None = None, slug: str = "") -> HttpResponse:
        """The whole rest of a stream, behind that event."""
        client = await self.follow(port, request_id, after, slug)
        async with client:
            body = await client.read_rest()
            assert client.is_whole, body
            return HttpResponse(client.status, client.headers, body)

    async def follow(
        self, port: int, request_id: str, after: int | str | None = None, slug: str = ""
    ) -> StreamingClient:
        """Read on behind that event: a number goes into the query, a text is the `Last-Event-ID`."""
        query = f"?after={after}" if isinstance(after, int) else ""
        fields = [bearer(self.token)] + ([("last-event-id", after)] if isinstance(after, str) else [])
        return await StreamingClient.open(port, get(self.address(request_id, slug) + query, *fields))

    async def stop(self, port: int, request_id: str, slug: str = "") -> HttpResponse:
        """DELETE."""
        asked = get(self.address(request_id, slug), bearer(self.token)).replace(b"GET", b"DELETE", 1)
        return await send_raw(port, asked)

    def address(self, request_id: str, slug: str = "") -> str:
        """The path of a stream."""
        return f"{self.path}/{slug}/streams/{request_id}" if slug else f"{self.path}/streams/{request_id}"


def events_of(body: bytes) -> list[bytes]:
    """The events of a stream, comments left out."""
    return [event for event in body.split(b"\n\n")[:-1] if not event.startswith(b":")]


def numbers_of(body: bytes) -> list[int]:
    """The numbers of the events."""
    return [int(event.split(b"\n", 1)[0].rpartition(b":")[2]) for event in events_of(body)]


def data_of(body: bytes) -> list[Any]:
    """The JSON of the events; `[DONE]` as that text."""
    lines = [line[6:] for event in events_of(body) for line in event.split(b"\n") if line.startswith(b"data: ")]
    return ["[DONE]" if line == b"[DONE]" else json.loads(line) for line in lines]


def text_of(body: bytes) -> str:
    """The text of OpenAI's chunks."""
    chunks = [chunk for chunk in data_of(body) if chunk != "[DONE]" and chunk.get("choices")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
