"""A client that sends exactly the bytes it is told, and reads answers without forgiving anything."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import h11
import trio
from attrs import frozen

# Longer than anything a test waits for; a test that hangs fails here and says where.
READ_LIMIT_S = 60


@frozen
class HttpResponse:
    """An answer as it came over the wire; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


async def send_raw(port: int, data: bytes) -> HttpResponse:
    """Send the bytes on a new connection, read one answer to its end, close."""
    with trio.fail_after(READ_LIMIT_S):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(_send_what_is_taken, stream, data)
            response = await read_response(stream)
            nursery.cancel_scope.cancel()
        return response


async def _send_what_is_taken(stream: trio.SocketStream, data: bytes) -> None:
    """Send while the answer is read: the server may answer and close before it has read everything."""
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(data)


async def read_response(stream: trio.SocketStream, method: str = "POST") -> HttpResponse:
    """One answer from the stream. Raises h11.RemoteProtocolError where it is cut or breaks HTTP."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method=method, target="/", headers=[("Host", "test")]))
    parser.send(h11.EndOfMessage())
    head: h11.Response | None = None
    body = b""
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            parser.receive_data(await stream.receive_some(65536))
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
            return HttpResponse(head.status_code, headers, body)


def post(path: str, body: bytes | object, *headers: tuple[str, str]) -> bytes:
    """The bytes of a POST; a body that is not bytes becomes JSON. Headers given replace the defaults of their name."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    merged = {"host": "gateway.test", "content-type": "application/json", "content-length": str(len(data))}
    given = [(name.lower(), value) for name, value in headers]
    lines = [(name, value) for name, value in merged.items() if name not in {name for name, _ in given}] + given
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + data


def get(path: str, *headers: tuple[str, str]) -> bytes:
    """The bytes of a GET."""
    head = "".join(f"{name}: {value}\r\n" for name, value in (("host", "gateway.test"), *headers))
    return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1")


def bearer(token: str) -> tuple[str, str]:
    """The Authorization header of a token."""
    return "authorization", f"Bearer {token}"
