"""How the lane ends a connection whose client has said that it sends no more: at once, and with the whole answer."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from pg_trio.domain.server_link import WHOLE_ANSWER
from pg_trio.server.http1 import parting
from pg_trio.server.http1.types import Receive, Scope, Send
from tests.support.http_servers import ProbeApp, RawClient, connected, read_body, request, serving

LAST = request("/", "Connection: close", method="POST", body=b"question")
BODY = b"0123456789abcdef" * 4096


async def answer_whole(scope: Scope, receive: Receive, send: Send) -> None:
    await read_body(receive)
    await send({"type": WHOLE_ANSWER, "status": 200, "fields": b"", "body": BODY})


async def until_reset(client: RawClient) -> None:
    """Send until the server's side is closed altogether."""
    while True:
        try:
            await client.send(b"x")
        except trio.BrokenResourceError:
            return
        await trio.lowlevel.checkpoint()


async def test_end_comes_with_the_answer() -> None:
    """Not after the application's rest: a row for the log, a settled budget."""
    finished = trio.Event()

    async def answer_and_stay(scope: Scope, receive: Receive, send: Send) -> None:
        await answer_whole(scope, receive, send)
        await finished.wait()

    async with serving("lane", ProbeApp(answer_and_stay)) as port, connected(port) as client:
        await client.send(LAST)
        answer = await client.read_answer()
        rest = await client.read_to_end()
        finished.set()

    assert ("close", BODY, b"") == (answer.headers["connection"], answer.body, rest)


async def test_client_that_sends_no_more_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parting, "LINGER_S", 3600)

    async with serving("lane", ProbeApp(answer_whole)) as port, connected(port) as client:
        await client.send(LAST)
        answer = await client.read_answer()
        await until_reset(client)

    assert BODY == answer.body


@pytest.mark.parametrize("more", [b"x", request()])
async def test_unread_bytes_do_not_destroy_the_answer(more: bytes) -> None:
    """Closing with unread bytes sends a reset, which overtakes what the client has not read."""
    async with serving("lane", ProbeApp(answer_whole)) as port, connected(port) as client:
        await client.send(LAST + more)
        received = b"".join([part async for part in client.stream])

    assert received.endswith(b"\r\n\r\n" + BODY)


async def test_server_that_ends_the_connection_waits_for_the_client() -> None:
    """A client that did not say so may have its next request on the way."""
    leaving = trio.Event()

    async def answer_last(scope: Scope, receive: Receive, send: Send) -> None:
        leaving.set()
        await trio.testing.wait_all_tasks_blocked()
        await answer_whole(scope, receive, send)

    async with serving("lane", ProbeApp(answer_last), shutdown=leaving) as port, connected(port) as client:
        await client.send(request(method="POST", body=b"question"))
        answer = await client.read_answer()
        await client.send(request())
        rest = b"".join([part async for part in client.stream])

    assert ("close", BODY, b"") == (answer.headers["connection"], answer.body, client.unread + rest)
