"""What the lane promises beyond stock Hypercorn: limits, clients that leave, drain, and what it does with broken
applications. Limits are small here and real time passes, but every test waits for an event, never for a time.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import socket
import struct
from uuid import UUID

import pytest
import trio
import trio.testing
from attrs import evolve

from pg_trio.config.settings import ServerSettings
from pg_trio.server.http1 import connection, lane, parting, socket_calls
from pg_trio.server.http1.lane import Lane
from pg_trio.server.http1.types import Receive, Scope, Send
from tests.support.http_servers import ProbeApp, RawClient, answer, ask, connected, echo, read_body, request, serving
from tests.support.processes import wait_until

# Longer than any test runs.
NEVER_MS = 3_600_000

SHUTTING_DOWN = b'{"ok":false,"error":"Gateway is shutting down."}'


def limits(**chosen_ms: int) -> ServerSettings:
    """Settings with limits that never pass, but for the chosen ones."""
    unlimited = dict.fromkeys(("head_timeout_ms", "idle_timeout_ms", "write_timeout_ms", "drain_ms"), NEVER_MS)
    return ServerSettings(**{**unlimited, **chosen_ms})  # type: ignore[arg-type]


class WaitingApp:
    """Reads the body, then waits until told to answer; remembers what became of it."""

    def __init__(self) -> None:
        self.running = trio.Event()
        self.may_answer = trio.Event()
        self.ended = trio.Event()
        self.outcome = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await read_body(receive)
            self.running.set()
            await self.may_answer.wait()
            await answer(send, b"done")
            self.outcome = "answered"
        except trio.Cancelled:
            self.outcome = "cancelled"
            raise
        finally:
            self.ended.set()


# ── clients that leave ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_leaving_cancels_application() -> None:
    app = WaitingApp()

    async with serving("lane", ProbeApp(app)) as port, connected(port) as client:
        await client.send(request())
        await app.running.wait()
        await client.stream.aclose()
        await app.ended.wait()

    assert "cancelled" == app.outcome


async def test_hypercorn_only_tells() -> None:
    """Why the lane offers an extension: under Hypercorn the application must watch `receive` itself."""
    told: list[str] = []
    app_ended = trio.Event()

    async def watch(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        told.append((await receive())["type"])
        await trio.lowlevel.checkpoint()
        app_ended.set()

    probe = ProbeApp(watch)
    async with serving("hypercorn", probe) as port:
        async with connected(port) as client:
            await client.send(request())
        await app_ended.wait()

    assert ["http.disconnect"] == told
    assert "pg_trio" not in probe.scopes[0]["extensions"]


async def test_reset_cancels_application() -> None:
    app = WaitingApp()

    async with serving("lane", ProbeApp(app)) as port, connected(port) as client:
        await client.send(request())
        await app.running.wait()
        client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await client.stream.aclose()
        await app.ended.wait()

    assert "cancelled" == app.outcome


async def test_half_close_counts_as_leaving() -> None:
    app = WaitingApp()

    async with serving("lane", ProbeApp(app)) as port, connected(port) as client:
        await client.send(request())
        await app.running.wait()
        await client.stream.send_eof()
        rest = await client.read_to_end()

    assert (b"", "cancelled") == (rest, app.outcome)


async def test_leaving_behind_pipelined_request() -> None:
    """Unread bytes do not hide that the client left; the second request never runs."""
    app = WaitingApp()
    probe = ProbeApp(app)

    async with serving("lane", probe) as port, connected(port) as client:
        await client.send(request() + request("/second"))
        await app.running.wait()
        await client.stream.aclose()
        await app.ended.wait()

    assert ("cancelled", ["/"]) == (app.outcome, [scope["path"] for scope in probe.scopes])


async def test_leaving_within_body() -> None:
    received: list[object] = []
    ended = trio.Event()

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            received.append(await read_body(receive))
            await trio.sleep_forever()
        finally:
            ended.set()

    async with serving("lane", ProbeApp(read)) as port:
        async with connected(port) as client:
            await client.send(request("/", "Content-Length: 10", method="POST") + b"half")
        await ended.wait()

    assert not any(received), "half a body never looks whole"


async def test_answered_application_finishes() -> None:
    """The client has its answer and leaves: what the application still owes (its log row) is not cancelled."""
    client_left = trio.Event()
    finished = trio.Event()

    async def log_afterwards(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await answer(send, b"done")
        assert "http.disconnect" == (await receive())["type"]
        await client_left.wait()
        await trio.testing.wait_all_tasks_blocked()
        finished.set()

    async with serving("lane", ProbeApp(log_afterwards)) as port:
        async with connected(port) as client:
            await client.send(request())
            await client.read_answer()
        client_left.set()
        await finished.wait()


async def test_shielded_cleanup_runs() -> None:
    cleaned = trio.Event()
    running = trio.Event()

    async def clean_up(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            running.set()
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
                cleaned.set()

    async with serving("lane", ProbeApp(clean_up)) as port:
        async with connected(port) as client:
            await client.send(request())
            await running.wait()
        await cleaned.wait()


async def test_groups_with_cancellation_stay_inside(caplog: pytest.LogCaptureFixture) -> None:
    """An application that fails in several tasks while it is cancelled: logged, and the server lives on."""
    running = trio.Event()

    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("while being cancelled")

    async def run_several(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/fine":
            await answer(send, b"fine")
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_when_cancelled)
            nursery.start_soon(trio.sleep_forever)
            await trio.testing.wait_all_tasks_blocked()
            running.set()

    with caplog.at_level(logging.CRITICAL, "pg_trio.server"):
        async with serving("lane", ProbeApp(run_several)) as port:
            async with connected(port) as client:
                await client.send(request())
                await running.wait()
            reply = await ask(port, request("/fine"))

    assert b"fine" == reply.body


# ── clients that are slow ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: "])
async def test_slow_head_is_408(start: bytes) -> None:
    async with serving("lane", ProbeApp(echo), limits(head_timeout_ms=50)) as port, connected(port) as client:
        await client.send(start)
        reply = await client.read_answer()
        rest = await client.read_to_end()

    assert (408, b'{"ok":false,"error":"Request head not received in time."}', b"") == (
        reply.status,
        reply.body,
        rest,
    )


async def test_dripping_head_is_408() -> None:
    """Each byte is on time, the head is not."""
    async with serving("lane", ProbeApp(echo), limits(head_timeout_ms=50)) as port, connected(port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nA: ")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drip, client.stream)
            reply = await client.read_answer()
            nursery.cancel_scope.cancel()

    assert 408 == reply.status


async def _drip(stream: trio.SocketStream) -> None:
    while True:
        try:
            await stream.send_all(b"a")
        except trio.BrokenResourceError:
            return
        await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("chosen", [{"head_timeout_ms": 300}, {"idle_timeout_ms": 300}], ids=["head", "idle"])
async def test_limits_begin_anew_behind_slow_head(chosen: dict[str, int]) -> None:
    """A head that came in pieces leaves nothing of its clock to what comes behind it."""
    async with serving("lane", ProbeApp(echo), limits(**chosen)) as port, connected(port) as client:
        head = request()
        await client.send(head[:-1])
        await trio.testing.wait_all_tasks_blocked()
        await client.send(head[-1:])
        await client.read_answer()
        if "head_timeout_ms" in chosen:
            await client.send(b"GET / HTTP")
        rest = await client.read_to_end()

    assert (b"HTTP/1.1 408 " if "head_timeout_ms" in chosen else b"") == rest[:13]


async def test_idle_connection_is_closed() -> None:
    async with serving("lane", ProbeApp(echo), limits(idle_timeout_ms=50)) as port, connected(port) as client:
        await client.send(request(method="POST", body=b"abc"))
        reply = await client.read_answer()
        rest = await client.read_to_end()

    assert (b"abc", b"") == (reply.body, rest)


async def test_slow_application_outlives_limits() -> None:
    """No limit of the connection runs while the application works."""
    app = WaitingApp()
    settings = limits(head_timeout_ms=20, idle_timeout_ms=20, write_timeout_ms=20)

    async with serving("lane", ProbeApp(app), settings) as port, connected(port) as client:
        await client.send(request())
        await app.running.wait()
        await _wait_for_idle_close(port)
        app.may_answer.set()
        reply = await client.read_answer()

    assert b"done" == reply.body


async def _wait_for_idle_close(port: int) -> None:
    """Until the server's clock has ticked past a whole idle limit."""
    async with connected(port) as other:
        await other.read_to_end()


async def test_client_that_stops_reading_is_dropped() -> None:
    ended = trio.Event()
    outcome: list[str] = []

    async def send_without_end(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        except trio.Cancelled:
            outcome.append("cancelled")
            raise
        finally:
            ended.set()

    settings, probe = limits(write_timeout_ms=50), ProbeApp(send_without_end)
    async with serving("lane", probe, settings) as port, connected(port) as client:
        await client.send(request())
        await ended.wait()
        error = await _read_to_error(client.stream)

    assert (["cancelled"], errno.ECONNRESET) == (outcome, error)
    assert "write limit" == probe.scopes[0]["extensions"]["pg_trio"].cut


async def _read_to_error(stream: trio.SocketStream) -> int | None:
    """Read until the connection breaks: the error's number, or None if it ended as if all were well."""
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError as error:
        return error.__cause__.errno if isinstance(error.__cause__, OSError) else None
    return None


# ── bodies nobody reads ──────────────────────────────────────────────────────────────────────────────────────────────


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"no", status=413)


@pytest.mark.parametrize(
    "post",
    [
        request(method="POST", body=b"x" * 60_000),
        request("/", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n" * 1000 + b"0\r\n\r\n",
    ],
    ids=["by length", "chunked"],
)
async def test_small_unread_body_keeps_connection(post: bytes) -> None:
    async with serving("lane", ProbeApp(refuse)) as port, connected(port) as client:
        for _ in range(3):
            await client.send(post)
            reply = await client.read_answer()

            assert (413, b"no") == (reply.status, reply.body)


async def test_large_unread_body_closes() -> None:
    """And the client can read the answer, though it was still sending."""
    async with serving("lane", ProbeApp(refuse)) as port, connected(port) as client, trio.open_nursery() as nursery:
        nursery.start_soon(_send_what_is_taken, client.stream, request(method="POST", body=bytes(8_000_000)))
        reply = await client.read_answer()
        nursery.cancel_scope.cancel()

    assert (413, "close", b"no") == (reply.status, reply.headers["connection"], reply.body)


async def test_endless_unread_chunks_close() -> None:
    """The length of the rest is not known; it is discarded up to a limit, and then the connection ends."""
    head = request("/", "Transfer-Encoding: chunked", method="POST")

    async with (
        serving("lane", ProbeApp(refuse), limits()) as port,
        connected(port) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_send_what_is_taken, client.stream, head + b"ffffffff\r\n" + bytes(8_000_000))
        reply = await client.read_answer()
        rest = await client.read_to_end()
        nursery.cancel_scope.cancel()

    assert (413, b"no", b"") == (reply.status, reply.body, rest)


async def _send_what_is_taken(stream: trio.SocketStream, data: bytes) -> None:
    try:
        await stream.send_all(data)
    except trio.BrokenResourceError:
        return


async def test_rest_of_body_that_never_comes_closes() -> None:
    async with serving("lane", ProbeApp(refuse), limits(head_timeout_ms=50)) as port, connected(port) as client:
        await client.send(request("/", "Content-Length: 10", method="POST"))
        reply = await client.read_answer()
        rest = await client.read_to_end()

    assert (b"no", b"") == (reply.body, rest)


async def test_stream_outlives_a_slow_moment() -> None:
    """The limit for taking what was written ends when it is taken; only another connection's limit tells the time."""
    is_later = trio.Event()
    sending = trio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        sending.set()
        await send({"type": "http.response.body", "body": bytes(8_000_000), "more_body": True})
        await is_later.wait()
        await send({"type": "http.response.body", "body": b"end"})

    async def tell_when_later(idle: RawClient) -> None:
        await idle.read_to_end()
        is_later.set()

    settings = limits(write_timeout_ms=500, idle_timeout_ms=1_000)
    async with (
        serving("lane", ProbeApp(stream), settings) as port,
        connected(port) as client,
        trio.open_nursery() as nursery,
    ):
        await client.send(request())
        await sending.wait()
        async with connected(port) as idle:
            nursery.start_soon(tell_when_later, idle)
            reply = await client.read_answer()

    assert (8_000_003, b"end") == (len(reply.body), reply.body[-3:])


async def test_unasked_body_stays_outside() -> None:
    """What the application does not ask for is not read: the client's sending stops."""
    app = WaitingApp()
    may_read = trio.Event()

    async def wait_then_read(scope: Scope, receive: Receive, send: Send) -> None:
        app.running.set()
        await may_read.wait()
        await answer(send, b"%d" % len(await read_body(receive) or b""))

    sent_all = trio.Event()
    body = bytes(32_000_000)

    async def send_all(stream: trio.SocketStream) -> None:
        await stream.send_all(request(method="POST", body=body))
        sent_all.set()

    async with (
        serving("lane", ProbeApp(wait_then_read)) as port,
        connected(port) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(send_all, client.stream)
        await app.running.wait()
        await trio.testing.wait_all_tasks_blocked()
        was_sent = sent_all.is_set()
        may_read.set()
        reply = await client.read_answer()

    assert (False, b"32000000") == (was_sent, reply.body)


async def test_refused_client_may_send_on() -> None:
    """Closing with bytes unread is a reset, which may destroy the refusal on its way (RFC 9112 section 9.6)."""
    async with serving("lane", ProbeApp(echo)) as port, connected(port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nno field\r\n\r\n")
        reply = await client.read_answer()
        rest = await client.read_to_end()
        for _ in range(3):
            await client.send(b"what was on its way")

    assert (400, b"") == (reply.status, rest)


async def test_refused_client_that_stays_is_parted_with(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (connection, parting):
        monkeypatch.setattr(module, "LINGER_S", 0.01)
    one_at_once = evolve(limits(), max_connections=1)

    async with serving("lane", ProbeApp(echo), one_at_once) as port, connected(port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nno field\r\n\r\n")
        await client.read_answer()
        reply = await ask(port, request())

    assert 200 == reply.status


async def test_stream_lets_others_run() -> None:
    passes, seen = 0, list[int]()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b".", "more_body": True})
            seen.append(passes)
        await send({"type": "http.response.body", "body": b""})

    async def run_beside() -> None:
        nonlocal passes
        while len(seen) < 100:
            passes += 1
            await trio.lowlevel.checkpoint()

    async with serving("lane", ProbeApp(stream)) as port, trio.open_nursery() as nursery:
        nursery.start_soon(run_beside)
        reply = await ask(port, request())

    assert b"." * 100 == reply.body
    assert seen[-1] - seen[0] >= 98


def _count_connections() -> int:
    gc.collect()
    return sum(type(thing) is connection.LaneConnection for thing in gc.get_objects())


@pytest.mark.slow
async def test_ended_connections_are_forgotten() -> None:
    before = _count_connections()

    async with serving("lane", ProbeApp(echo)) as port:
        for number in range(6):
            async with connected(port) as client:
                await client.send(request() if number % 2 else b"no request\r\n\r\n")
                await client.read_answer()
        # The watcher of departures still refers to the last connection.
        await wait_until(lambda: _count_connections() <= before + 1)


# ── drain ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_drain_closes_idle_at_once() -> None:
    shutdown = trio.Event()

    async with serving("lane", ProbeApp(echo), limits(), shutdown=shutdown) as port, connected(port) as client:
        await client.send(request(method="POST", body=b"abc"))
        await client.read_answer()
        shutdown.set()
        rest = await client.read_to_end()

    assert b"" == rest


@pytest.mark.parametrize("parts", [[b"\r\n"], [b"\r", b"\n"]], ids=["at once", "in two parts"])
async def test_drain_closes_idle_behind_empty_line(monkeypatch: pytest.MonkeyPatch, parts: list[bytes]) -> None:
    """Some clients end a body with one: the connection is as idle as without it."""
    shutdown, heard = trio.Event(), []
    receive = socket_calls.receive_bytes

    async def receive_and_tell(sock: socket.socket) -> bytes:
        data = await receive(sock)
        heard.append(data)
        return data

    monkeypatch.setattr(connection, "receive_bytes", receive_and_tell)
    body, *later = [b"body" + parts[0], *parts[1:]]
    async with serving("lane", ProbeApp(echo), limits(), shutdown=shutdown) as port, connected(port) as client:
        await client.send(request(method="POST", body=b"body").removesuffix(b"body") + body)
        assert 200 == (await client.read_answer()).status
        for part in later:
            await client.send(part)
            with trio.fail_after(10):
                while heard[-1] != part:
                    await trio.lowlevel.checkpoint()
        shutdown.set()
        with trio.fail_after(10):
            rest = await client.read_to_end()

    assert b"" == rest


async def test_empty_line_is_no_head_that_is_late() -> None:
    """A connection that sent one gets no unasked 408 when its idle limit passes."""
    async with serving("lane", ProbeApp(echo), limits(idle_timeout_ms=100)) as port, connected(port) as client:
        await client.send(request())
        await client.read_answer()
        await client.send(b"\r")
        await trio.testing.wait_all_tasks_blocked()
        await client.send(b"\n")
        rest = await client.read_to_end()

    assert b"" == rest


async def test_drain_finishes_running() -> None:
    app = WaitingApp()
    shutdown = trio.Event()

    async with serving("lane", ProbeApp(app), limits(), shutdown=shutdown) as port, connected(port) as client:
        await client.send(request())
        await app.running.wait()
        shutdown.set()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match="failed"):
            await trio.open_tcp_stream("127.0.0.1", port)
        app.may_answer.set()
        reply = await client.read_answer()
        rest = await client.read_to_end()

    assert (b"done", "close", b"") == (reply.body, reply.headers["connection"], rest)


async def test_drain_finishes_second_request_too() -> None:
    app = WaitingApp()
    app.may_answer.set()
    shutdown = trio.Event()

    async with serving("lane", ProbeApp(app), limits(), shutdown=shutdown) as port, connected(port) as client:
        await client.send(request())
        await client.read_answer()
        app.running, app.may_answer = trio.Event(), trio.Event()
        await client.send(request())
        await app.running.wait()
        shutdown.set()
        await trio.testing.wait_all_tasks_blocked()
        app.may_answer.set()
        reply = await client.read_answer()

    assert (b"done", "close") == (reply.body, reply.headers["connection"])


async def test_drain_serves_what_has_just_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an idle connection, with the kernel and not yet read."""
    shutdown = trio.Event()
    drain = Lane.drain

    async with serving("lane", ProbeApp(echo), limits(), shutdown=shutdown) as port, connected(port) as client:

        def send_and_drain(draining: Lane) -> None:
            os.write(client.stream.socket.fileno(), request(method="POST", body=b"late"))
            drain(draining)

        monkeypatch.setattr(Lane, "drain", send_and_drain)
        await client.send(request())
        await client.read_answer()
        shutdown.set()
        reply = await client.read_answer()

    assert (b"late", "close") == (reply.body, reply.headers["connection"])


async def test_drain_tells_application_and_client() -> None:
    """Cut by the drain's end, before a byte of the answer: the client may come back, and the log can say the truth."""
    app = WaitingApp()
    probe = ProbeApp(app)
    shutdown = trio.Event()

    async with serving("lane", probe, limits(drain_ms=50), shutdown=shutdown) as port, connected(port) as client:
        await client.send(request())
        await app.running.wait()
        shutdown.set()
        reply = await client.read_answer()

    assert (503, SHUTTING_DOWN, "1") == (reply.status, reply.body, reply.headers["retry-after"])
    assert 4 == UUID(reply.headers["x-request-id"]).version
    assert ("cancelled", "drain") == (app.outcome, probe.scopes[0]["extensions"]["pg_trio"].cut)


async def test_drain_closes_behind_stream_that_promised_more() -> None:
    """Its head went out before the drain, without `connection: close`."""
    begun, shutdown = trio.Event(), trio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        begun.set()
        await shutdown.wait()
        await trio.testing.wait_all_tasks_blocked()
        await send({"type": "http.response.body", "body": b"two"})

    async with (
        serving("lane", ProbeApp(stream), limits(), shutdown=shutdown) as port,
        connected(port) as client,
    ):
        await client.send(request())
        await begun.wait()
        shutdown.set()
        reply = await client.read_answer()
        rest = await client.read_to_end()

    assert (b"onetwo", None, b"") == (reply.body, reply.headers.get("connection"), rest)


async def test_drain_s_end_cuts_nobody_who_has_answered() -> None:
    """What the application still owes (its log row) has the time that parting takes."""
    app, shutdown, may_end = WaitingApp(), trio.Event(), trio.Event()
    outcomes: list[str] = []

    async def answer_and_log(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/waits":
            await app(scope, receive, send)
            return
        await answer(send, b"done")
        outcomes.append("answered")
        await may_end.wait()
        outcomes.append("logged")

    async with (
        serving("lane", ProbeApp(answer_and_log), limits(drain_ms=50), shutdown=shutdown) as port,
        connected(port) as client,
        connected(port) as other,
    ):
        await client.send(request())
        await other.send(request("/waits"))
        await client.read_answer()
        await app.running.wait()
        shutdown.set()
        cut = await other.read_answer()
        may_end.set()

    assert (503, ["answered", "logged"]) == (cut.status, outcomes)


async def test_drain_ends_though_an_answered_application_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "PARTING_S", 0.05)
    ended = trio.Event()

    async def answer_and_stay(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await answer(send, b"done")
            await trio.sleep_forever()
        finally:
            ended.set()

    with trio.fail_after(20):
        async with (
            serving("lane", ProbeApp(answer_and_stay), limits(drain_ms=50)) as port,
            connected(port) as client,
        ):
            await client.send(request())
            await client.read_answer()

    assert ended.is_set()


async def test_drain_answers_half_sent_request() -> None:
    shutdown = trio.Event()

    async with (
        serving("lane", ProbeApp(echo), limits(drain_ms=50), shutdown=shutdown) as port,
        connected(port) as client,
    ):
        await client.send(b"POST / HTTP/1.1\r\n")
        await trio.testing.wait_all_tasks_blocked()
        shutdown.set()
        reply = await client.read_answer()

    assert (503, SHUTTING_DOWN) == (reply.status, reply.body)


async def test_drain_cuts_stream_short() -> None:
    """Nothing goes behind half an answer: the missing last chunk is what tells that it was cut."""
    shutdown = trio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await trio.sleep_forever()

    async with (
        serving("lane", ProbeApp(stream), limits(drain_ms=50), shutdown=shutdown) as port,
        connected(port) as client,
    ):
        await client.send(request())
        shutdown.set()
        data = await client.read_to_end()

    assert data.endswith(b"\r\n\r\n3\r\none\r\n")


async def test_drain_serves_fresh_connection() -> None:
    """Accepted, its request still under way: it gets its answer."""
    shutdown = trio.Event()
    app = ProbeApp(echo)

    async with serving("lane", app, limits(), shutdown=shutdown) as port, connected(port) as client:
        await client.send(b"POST / HTTP/1.1\r\n")
        await trio.testing.wait_all_tasks_blocked()
        shutdown.set()
        await trio.testing.wait_all_tasks_blocked()
        await client.send(b"Host: x\r\nContent-Length: 3\r\n\r\nabc")
        reply = await client.read_answer()

    assert (b"abc", "close") == (reply.body, reply.headers["connection"])


# ── applications that are wrong ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"type": "http.response.start", "status": 200}],
        [{"type": "http.response.body", "body": b"x"}],
        [{"type": "http.response.start", "status": 200}] * 2,
        [{"type": "http.response.start", "status": 101}, {"type": "http.response.body"}],
        [{"type": "http.response.start", "status": "200"}, {"type": "http.response.body"}],
        [{"type": "http.response.trailers"}],
    ],
    ids=["nothing", "no body", "no start", "two starts", "status 101", "status text", "unknown"],
)
async def test_misuse_is_500(messages: list[dict[str, object]]) -> None:
    async def misuse(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async with serving("lane", ProbeApp(misuse)) as port, connected(port) as client:
        await client.send(request())
        reply = await client.read_answer()
        rest = await client.read_to_end()

    assert (500, b'{"ok":false,"error":"Internal error."}', b"") == (reply.status, reply.body, rest)


async def test_stream_with_wrong_length_is_cut() -> None:
    async def send_too_much(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    async with serving("lane", ProbeApp(send_too_much)) as port, connected(port) as client:
        await client.send(request())
        data = await client.read_to_end()

    assert data.endswith(b"\r\n\r\none")


async def test_one_crash_harms_no_other() -> None:
    async def crash_sometimes(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/crash":
            raise ValueError("a bug of the application")
        await echo(scope, receive, send)

    async with serving("lane", ProbeApp(crash_sometimes)) as port, connected(port) as client:
        await ask(port, request("/crash"))
        await client.send(request(method="POST", body=b"abc"))
        reply = await client.read_answer()

    assert b"abc" == reply.body


async def test_interrupted_write_ends_answer() -> None:
    """An application that gives up on a write in its middle cannot send anything behind it."""
    outcome: list[str] = []

    async def interrupt(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_blocked, nursery.cancel_scope)
            await send({"type": "http.response.body", "body": bytes(32_000_000), "more_body": True})
        try:
            await send({"type": "http.response.body", "body": b"behind"})
        except BrokenPipeError:
            outcome.append("refused")

    async with serving("lane", ProbeApp(interrupt), limits()) as port, connected(port) as client:
        await client.send(request())
        while not outcome:
            await trio.testing.wait_all_tasks_blocked()
        data = await client.read_to_end()

    assert (True, ["refused"]) == (data.endswith(b"\x00"), outcome)


async def _cancel_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


async def test_cut_http10_stream_is_reset() -> None:
    """Only the connection's end ends such an answer: a clean end would make the half look whole."""

    async def crash_late(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        raise ValueError("a bug of the application")

    async with serving("lane", ProbeApp(crash_late)) as port, connected(port) as client:
        await client.send(request(version="1.0"))
        error = await _read_to_error(client.stream)

    assert errno.ECONNRESET == error
