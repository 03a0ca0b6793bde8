"""Too many clients, and clients of HTTP/2 that never move: what one of them may hold, and for how long."""

from __future__ import annotations

import base64
import logging
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import trio
import trio.testing
from attrs import evolve

from pg_trio.server.http1.types import Receive, Scope, Send
from tests.contract.test_http_server_limits import WaitingApp, limits
from tests.support.http_servers import ProbeApp, RawClient, answer, ask, connected, echo, read_body, request, serving

FEW = evolve(limits(), max_connections=3)


@asynccontextmanager
async def crowd(port: int, count: int) -> AsyncIterator[list[RawClient]]:
    """That many connections, in the order in which they were opened."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected(port)) for _ in range(count)]


# ── the number of connections ────────────────────────────────────────────────────────────────────────────────────────


async def test_newcomer_replaces_longest_silent() -> None:
    """Silent sockets do not lock other clients out, even before their limits pass."""
    async with serving("lane", ProbeApp(echo), FEW) as port, crowd(port, 3) as clients:
        await trio.testing.wait_all_tasks_blocked()
        reply = await ask(port, request(method="POST", body=b"let me in"))
        rest = await clients[0].read_to_end()

    assert (b"let me in", b"") == (reply.body, rest)


async def test_longest_idle_goes_first() -> None:
    async with serving("lane", ProbeApp(echo), FEW) as port, crowd(port, 3) as clients:
        for client in (clients[1], clients[0], clients[2]):
            await client.send(request(method="POST", body=b"one"))
            await client.read_answer()
        await ask(port, request(method="POST", body=b"let me in"))
        rest = await clients[1].read_to_end()
        await clients[0].send(request(method="POST", body=b"two"))
        reply = await clients[0].read_answer()

    assert (b"", b"two") == (rest, reply.body)


async def test_full_house_closes_nobody() -> None:
    """All at the limit, no newcomer: the idle ones stay."""
    async with serving("lane", ProbeApp(echo), FEW) as port, crowd(port, 3) as clients:
        for body in (b"one", b"two"):
            for client in clients:
                await client.send(request(method="POST", body=body))
                reply = await client.read_answer()

                assert body == reply.body


async def test_busy_are_never_closed() -> None:
    """All are busy: the newcomer waits in the kernel's line until one is done."""
    app = WaitingApp()
    arrived = trio.Event()

    async def wait_first(scope: Scope, receive: Receive, send: Send) -> None:
        await (app(scope, receive, send) if scope["path"] == "/wait" else echo(scope, receive, send))

    async with (
        serving("lane", ProbeApp(wait_first), evolve(limits(), max_connections=1)) as port,
        connected(port) as client,
        trio.open_nursery() as nursery,
    ):
        await client.send(request("/wait"))
        await app.running.wait()

        async def come_late() -> None:
            assert b"late" == (await ask(port, request(method="POST", body=b"late"))).body
            arrived.set()

        nursery.start_soon(come_late)
        await trio.testing.wait_all_tasks_blocked()
        was_served = arrived.is_set()
        app.may_answer.set()
        reply = await client.read_answer()
        await arrived.wait()

    assert (False, b"done", "answered") == (was_served, reply.body, app.outcome)


async def test_crowd_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with serving("lane", ProbeApp(echo), FEW) as port, crowd(port, 20):
            await ask(port, request())

    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert ["3 connections are the limit: closing the longest idle connections, then letting new ones wait"] == lines


# ── HTTP/2 and WebSocket ─────────────────────────────────────────────────────────────────────────────────────────────


class Http2Client:
    """A client of HTTP/2 over a raw one; `window` is what each of its streams may be sent."""

    def __init__(self, client: RawClient, *, window: int = 65_535) -> None:
        self.raw = client
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        initial = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        self.http2.local_settings = h2.settings.Settings(client=True, initial_values=initial)
        self.http2.initiate_connection()

    async def ask(self, *streams: int, path: str = "/") -> None:
        """Begin a request on each of these streams, in one write."""
        headers = [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "x")]
        for stream in streams:
            self.http2.send_headers(stream, headers, end_stream=True)
        await self.flush()

    async def flush(self) -> None:
        await self.raw.send(self.http2.data_to_send())

    async def read_events(self) -> list[h2.events.Event]:
        """What the server says next; nothing once it closed."""
        try:
            data = await self.raw.stream.receive_some()
        except trio.BrokenResourceError:
            return []
        events = self.http2.receive_data(data) if data else []
        answers = self.http2.data_to_send()
        if answers:
            await self.raw.send(answers)
        return events

    async def read_until(self, kind: type[h2.events.Event]) -> h2.events.Event:
        """The next event of that kind."""
        while True:
            events = await self.read_events()
            assert events, "closed"
            for event in events:
                if isinstance(event, kind):
                    return event


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"no token", status=401)


async def test_http2_without_window_is_closed() -> None:
    """Eighty streams whose answers may not be sent hold eighty tasks, but not for ever; all of them end.

    The first to reach its limit ends the connection: streams that came late are cut by that, or never begin.
    """
    begun, ended = 0, []

    async def refuse_and_count(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal begun
        begun += 1
        try:
            await refuse(scope, receive, send)
        finally:
            ended.append(scope["extensions"]["pg_trio"].cut)

    async with (
        serving("lane", ProbeApp(refuse_and_count), limits(write_timeout_ms=100)) as port,
        connected(port) as raw,
    ):
        client = Http2Client(raw, window=0)
        await client.ask(*range(1, 161, 2))
        await raw.read_to_end()

    assert "write limit" == ended[0]
    assert {"write limit", None} >= set(ended)
    assert 0 < begun == len(ended) <= 80


async def test_pings_are_no_progress() -> None:
    app = ProbeApp(refuse)
    async with serving("lane", app, limits(write_timeout_ms=100)) as port, connected(port) as raw:
        client = Http2Client(raw, window=0)
        await client.ask(1)
        try:
            while await client.read_events():
                client.http2.ping(bytes(8))
                await client.flush()
        except trio.BrokenResourceError:
            pass

    assert ["write limit"] == [scope["extensions"]["pg_trio"].cut for scope in app.scopes]


async def test_http2_left_with_stalled_stream() -> None:
    """The client is gone, its stream never could be answered: the task ends all the same."""
    ended = trio.Event()

    async def refuse_and_tell(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await refuse(scope, receive, send)
        finally:
            ended.set()

    async with serving("lane", ProbeApp(refuse_and_tell), limits(write_timeout_ms=50)) as port:
        async with connected(port) as raw:
            client = Http2Client(raw, window=0)
            await client.ask(1)
            await client.read_until(h2.events.ResponseReceived)
        with trio.fail_after(20):
            await ended.wait()


async def test_working_http2_request_outlives_limits() -> None:
    """A provider that thinks for longer than the idle limit is no reason to close."""
    app = WaitingApp()

    async def wait_or_echo(scope: Scope, receive: Receive, send: Send) -> None:
        await (app(scope, receive, send) if scope["path"] == "/wait" else echo(scope, receive, send))

    settings = limits(idle_timeout_ms=50, write_timeout_ms=50)
    async with serving("lane", ProbeApp(wait_or_echo), settings) as port, connected(port) as raw:
        client = Http2Client(raw)
        await client.ask(1, path="/wait")
        await app.running.wait()
        async with connected(port) as other:
            await other.read_to_end()
        app.may_answer.set()
        event = await client.read_until(h2.events.DataReceived)

    assert isinstance(event, h2.events.DataReceived)
    assert b"done" == event.data


async def test_idle_http2_is_closed() -> None:
    # Hypercorn's own limit, of 5 s, is not what closes it.
    settings = limits(idle_timeout_ms=50)
    async with (
        serving("lane", ProbeApp(echo), settings, keep_alive_timeout=3600) as port,
        connected(port) as raw,
    ):
        client = Http2Client(raw)
        await client.ask(1)
        await client.read_until(h2.events.StreamEnded)

        while await client.read_events():
            pass


async def test_idle_http2_makes_room() -> None:
    settings = evolve(limits(), max_connections=1)
    async with serving("lane", ProbeApp(echo), settings) as port, connected(port) as raw:
        client = Http2Client(raw)
        await client.ask(1)
        await client.read_until(h2.events.StreamEnded)
        reply = await ask(port, request(method="POST", body=b"let me in"))

    assert b"let me in" == reply.body


async def test_drain_tells_http2_application() -> None:
    app = WaitingApp()
    probe = ProbeApp(app)
    shutdown = trio.Event()

    async with serving("lane", probe, limits(drain_ms=50), shutdown=shutdown) as port, connected(port) as raw:
        await Http2Client(raw).ask(1)
        await app.running.wait()
        shutdown.set()
        await raw.read_to_end()

    assert ("cancelled", "drain") == (app.outcome, probe.scopes[0]["extensions"]["pg_trio"].cut)


@pytest.mark.parametrize("quiet", [True, False])
async def test_quiet_websocket_is_closed(quiet: bool) -> None:
    """One that is pinged lives."""

    async def accept_and_listen(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await read_body(receive)
            return
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    key = base64.b64encode(bytes(16)).decode()
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
    ping = struct.pack("!BBI", 0x89, 0x80, 0)
    settings = limits(idle_timeout_ms=200)
    async with serving("lane", ProbeApp(accept_and_listen), settings) as port, connected(port) as client:
        await client.send(request("/chat", *upgrade))
        await client.read_answer()
        if quiet:
            rest = await client.read_to_end()
        else:
            rest = await _ping_past_limit(client, ping, port)

    assert (b"" if quiet else b"\x8a\x00") == rest[-2:]


async def _ping_past_limit(client: RawClient, ping: bytes, port: int) -> bytes:
    """Ping for as long as another connection, which says nothing, is kept; the pong of one more ping."""
    over = trio.Event()

    async def wait_for_idle_close() -> None:
        async with connected(port) as other:
            await other.read_to_end()
        over.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_idle_close)
        while not over.is_set():
            await client.send(ping)
            await client.stream.receive_some()
            await trio.lowlevel.checkpoint()
    await client.send(ping)
    return bytes(await client.stream.receive_some())
