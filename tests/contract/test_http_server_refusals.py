"""What the lane answers by itself: every refusal has the contract's body and a request id, and the log knows it."""

from __future__ import annotations

import json
import logging
from uuid import UUID

import pytest
import trio

from pg_trio.config.settings import ServerSettings
from pg_trio.server.http1.types import Receive, Scope, Send
from tests.support.http_servers import ProbeApp, answer, ask, connected, echo, read_body, request, serving

BAD_CHUNK = request("/", "Transfer-Encoding: chunked", method="POST") + b"zz\r\n"


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, b"GET / HTTP/1.1\r\nHost: x\r\nno field\r\n\r\n"),
        (414, b"GET /" + b"a" * 9000),
        (417, request("/", "Expect: a miracle")),
        (431, request("/", *[f"A{number}: b" for number in range(200)])),
        (501, request(method="BREW")),
        (505, request(version="2.0")),
        (400, BAD_CHUNK),
        (500, request("/crash")),
    ],
    ids=["field", "target", "expect", "fields", "method", "version", "chunk", "crash"],
)
async def test_refusal_is_the_contracts(status: int, data: bytes) -> None:
    async def crash_or_echo(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/crash":
            raise ValueError("a bug of the application")
        await echo(scope, receive, send)

    async with serving("lane", ProbeApp(crash_or_echo)) as port, connected(port) as client:
        await client.send(data)
        reply = await client.read_answer()
        rest = await client.read_to_end()

    body = json.loads(reply.body)
    assert (status, "application/json", b"") == (reply.status, reply.headers["content-type"], rest)
    assert 4 == UUID(reply.headers["x-request-id"]).version
    assert (False, ["ok", "error"]) == (body["ok"], list(body))
    assert reply.body == json.dumps(body, separators=(",", ":")).encode()


async def test_slow_head_has_request_id() -> None:
    async with (
        serving("lane", ProbeApp(echo), ServerSettings(head_timeout_ms=50)) as port,
        connected(port) as client,
    ):
        await client.send(b"G")
        reply = await client.read_answer()

    assert (408, 4) == (reply.status, UUID(reply.headers["x-request-id"]).version)


async def test_refusals_are_logged_with_their_ids(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pg_trio.server"):
        async with serving("lane", ProbeApp(echo)) as port:
            reply = await ask(port, b"GET / HTTP/1.1\r\nHost: x\r\nsecret\r\n\r\n")

    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert [f"request {reply.headers['x-request-id']} refused: 400 Malformed header field."] == lines


async def test_flood_of_refusals_is_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pg_trio.server"):
        async with serving("lane", ProbeApp(echo)) as port:
            for _ in range(50):
                await ask(port, b"no request\r\n\r\n")

    lines = [record for record in caplog.records if "refused" in record.getMessage()]
    # Ten in five seconds; a slow machine may see a second or third window begin.
    assert 10 <= len(lines) <= 30


async def test_application_learns_of_malformed_body() -> None:
    """Before it is cancelled, so that its row says 400 and why, and not that the client left."""
    told: list[object] = []

    async def read_and_note(scope: Scope, receive: Receive, send: Send) -> None:
        link = scope["extensions"]["pg_trio"]
        told.append(link.refused)
        assert await read_body(receive) is None
        told.append(link.refused)

    async with serving("lane", ProbeApp(read_and_note)) as port:
        reply = await ask(port, BAD_CHUNK)

    assert [None, (400, "Malformed chunk size.")] == told
    assert (400, b'{"ok":false,"error":"Malformed chunk size."}') == (reply.status, reply.body)


async def test_refusal_of_body_has_applications_id() -> None:
    """One request, one id: the application's row and the answer that the lane gives in its stead."""
    request_id = UUID("6ba7b810-9dad-41d1-80b4-00c04fd430c8")

    async def note_id(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"]["pg_trio"].request_id = request_id
        await read_body(receive)

    async with serving("lane", ProbeApp(note_id)) as port:
        reply = await ask(port, BAD_CHUNK)

    assert str(request_id) == reply.headers["x-request-id"]


async def test_leaving_is_no_refusal() -> None:
    ended = trio.Event()
    app = ProbeApp(lambda scope, receive, send: _read_then_set(receive, ended))

    async with serving("lane", app) as port:
        async with connected(port) as client:
            await client.send(request("/", "Content-Length: 10", method="POST") + b"half")
        await ended.wait()

    link = app.scopes[0]["extensions"]["pg_trio"]
    assert (link.refused, link.cut) == (None, None)


async def _read_then_set(receive: Receive, ended: trio.Event) -> None:
    try:
        await read_body(receive)
    finally:
        ended.set()


async def test_answer_before_malformed_body_stands() -> None:
    """The application's own answer is out: nothing goes behind it."""

    async def answer_then_read(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"early", status=413)
        await receive()

    async with serving("lane", ProbeApp(answer_then_read)) as port, connected(port) as client:
        await client.send(BAD_CHUNK)
        reply = await client.read_answer()
        rest = await client.read_to_end()

    assert (413, b"early", b"") == (reply.status, reply.body, rest)
