"""Arbitrary bytes of a client, cut anywhere: no exception escapes, no bug is logged, other clients are served."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pg_trio.server.http1.types import Receive, Scope, Send
from tests.support.http_servers import ProbeApp, ask, connected, echo, request, serving

GOOD = [
    request("/a?b", "Accept: */*"),
    request(method="POST", body=b"hello"),
    request("/", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    request("/", "Expect: 100-continue", method="POST", body=b"hello"),
    request("/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
]
NOISE = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b":",
    b"\x00",
    b"\xff",
    b"0",
    b"Content-Length: 3\r\n",
    b"GET ",
    b"HTTP/1.1",
    b";",
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A few good requests with some of their bytes replaced, removed or doubled."""
    data = b"".join(draw(st.lists(st.sampled_from(GOOD), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.integers(0, 8))
        data = data[:start] + draw(st.sampled_from(NOISE) | st.binary(max_size=4)) + data[end:]
    return data


class Bugs(logging.Handler):
    """What the server logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@settings(max_examples=75)
@given(st.binary(max_size=200) | mutated(), st.integers(0, 300))
@example(b"\x16\x03\x01", 1)
@example(b"", 0)
def test_any_bytes_harm_no_one(data: bytes, cut: int) -> None:
    assert_harmless(data, cut)


@pytest.mark.slow
@settings(max_examples=2_000)
@given(st.binary(max_size=200) | mutated(), st.integers(0, 300))
def test_thousands_of_bytes_harm_no_one(data: bytes, cut: int) -> None:
    assert_harmless(data, cut)


def assert_harmless(data: bytes, cut: int) -> None:
    bugs = Bugs()
    logger = logging.getLogger("pg_trio.server")
    logger.addHandler(bugs)
    try:
        trio.run(_send_and_ask_again, data, cut)
    finally:
        logger.removeHandler(bugs)

    assert [] == bugs.messages


async def _send_and_ask_again(data: bytes, cut: int) -> None:
    """The bytes on one connection, then a good request on another one, after the first was closed."""
    async with serving("lane", ProbeApp(_echo_http)) as port:
        async with connected(port) as client:
            try:
                await client.send(data[:cut])
                await trio.testing.wait_all_tasks_blocked()
                await client.send(data[cut:])
                await trio.testing.wait_all_tasks_blocked()
            except trio.BrokenResourceError:
                pass

        reply = await ask(port, request(method="POST", body=b"still there"))

    assert (200, b"still there") == (reply.status, reply.body)


async def _echo_http(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        return
    await echo(scope, receive, send)
