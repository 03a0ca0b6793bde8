"""Requests that the lane turns away in the application's stead: which are, which not, and the connection then."""

from __future__ import annotations

import os
import socket
from base64 import b64encode
from uuid import UUID

import pytest
import trio
import trio.testing

from pg_trio.config.settings import ServerSettings
from pg_trio.server.http1.lane import Lane
from pg_trio.server.http1.types import Receive, Scope, Send
from tests.support.gated_server import ASK, OVERLOADED, crowded
from tests.support.http_servers import RawAnswer, RawClient, connected, request


def assert_turned_away(answer: RawAnswer) -> None:
    assert (503, OVERLOADED, "7") == (answer.status, answer.body, answer.headers["retry-after"])
    assert "application/json" == answer.headers["content-type"]
    assert 4 == UUID(answer.headers["x-request-id"]).version


async def test_full_turns_away_again_and_again() -> None:
    async with crowded() as (app, client):
        answers = []
        for _ in range(3):
            await client.send(ASK)
            answers.append(await client.read_answer())

    for answer in answers:
        assert_turned_away(answer)
    assert 3 == len({answer.headers["x-request-id"] for answer in answers})
    assert 3 == app.gate.shed
    assert [] == app.scopes


@pytest.mark.parametrize("refused_before", [0, 2])
async def test_refusals_before_drain_end_connections(monkeypatch: pytest.MonkeyPatch, refused_before: int) -> None:
    """Once the gateway is about to stop, a client shall come back by another connection."""
    lanes: list[Lane] = []
    turn_away = Lane.turn_away

    def note_lane(lane: Lane, sock: socket.socket) -> bool:
        lanes.append(lane)
        return turn_away(lane, sock)

    monkeypatch.setattr(Lane, "turn_away", note_lane)
    async with crowded() as (_, client):
        for _ in range(refused_before):
            await client.send(ASK)
            assert "connection" not in (await client.read_answer()).headers
        await trio.testing.wait_all_tasks_blocked()
        lanes[0].leave()
        await client.send(ASK)
        answer = await client.read_answer()
        rest = await client.read_to_end()

    assert_turned_away(answer)
    assert ("close", b"") == (answer.headers["connection"], rest)


async def test_refused_after_empty_line_is_idle() -> None:
    """The line came in two parts. At its limit the connection is closed without an unasked 408."""
    async with crowded(ServerSettings(idle_timeout_ms=200)) as (_, client):
        for part in (ASK, b"\r", b"\n", ASK):
            await client.send(part)
            if part == ASK:
                assert_turned_away(await client.read_answer())
            await trio.testing.wait_all_tasks_blocked()
        rest = await client.read_to_end()

    assert b"" == rest


async def test_room_serves_same_connection() -> None:
    async with crowded() as (app, client):
        await client.send(ASK)
        assert_turned_away(await client.read_answer())
        app.gate.open(room=1)
        await client.send(ASK)
        served = [await client.read_answer()]
        await client.send(ASK)
        served.append(await client.read_answer())

    assert [(200, b"question")] * 2 == [(answer.status, answer.body) for answer in served]


async def test_room_for_one_serves_one() -> None:
    async with crowded() as (app, first), connected(first.stream.socket.getpeername()[1]) as second:
        for client in (first, second):
            await client.send(ASK)
            assert_turned_away(await client.read_answer())
        app.gate.room = 1
        for client in (first, second):
            await client.send(ASK)
        statuses = [(await client.read_answer()).status for client in (first, second)]

    # In one round of the doorkeeper or in two: never more than there was room for in each.
    assert 200 in statuses
    assert statuses.count(200) == len(app.scopes)


@pytest.mark.parametrize(
    "other",
    [
        request("/healthz"),
        request("/other", method="POST", body=b"x"),
        request("/api/x", method="PUT", body=b"x"),
        request("/api/x", "Expect: 100-continue", method="POST"),
        request("/api/x", "Connection: keep-alive", method="POST", body=b"x", version="1.0"),
        request("/api/x", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n",
        request("/api/x", method="POST", body=b"x" * 200_000),
    ],
)
@pytest.mark.parametrize("turned_away_before", [False, True])
async def test_other_requests_are_applications(other: bytes, turned_away_before: bool) -> None:
    async with crowded() as (app, client):
        if turned_away_before:
            await client.send(ASK)
            assert_turned_away(await client.read_answer())
        await client.send(other)
        answer = await client.read_answer()

    assert 200 == answer.status
    assert 1 == len(app.scopes)


@pytest.mark.parametrize("turned_away_before", [False, True])
@pytest.mark.parametrize(
    "last",
    [
        request("/api/x", "Connection: close", method="POST", body=b"x"),
        request("/api/x", method="POST", body=b"x", version="1.0"),
    ],
)
async def test_last_request_is_turned_away_and_connection_ends(last: bytes, turned_away_before: bool) -> None:
    async with crowded() as (app, client):
        if turned_away_before:
            await client.send(ASK)
            assert_turned_away(await client.read_answer())
        await client.send(last)
        answer = await client.read_answer()
        rest = await client.read_to_end()

    assert_turned_away(answer)
    assert ("close", b"") == (answer.headers["connection"], rest)
    assert [] == app.scopes


async def test_nothing_behind_the_last_request_is_read() -> None:
    whole = request("/api/x", "Connection: close", method="POST", body=ASK)

    async with crowded() as (app, client):
        await client.send(whole[: -len(ASK)])
        assert_turned_away(await client.read_answer())
        app.gate.open(room=5)
        await client.send(ASK + ASK)
        rest = await client.read_to_end()

    assert b"" == rest
    assert [] == app.scopes
    assert 1 == app.gate.shed


async def send_for_ever(client: RawClient) -> None:
    while True:
        await client.send(b"more")
        await trio.lowlevel.checkpoint()


async def test_refused_client_that_stays_is_parted_with(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("connection", "parting"):
        monkeypatch.setattr(f"pg_trio.server.http1.{module}.LINGER_S", 0.1)
    last = request("/api/x", "Connection: close", method="POST", body=b"x")

    async with crowded(ServerSettings(idle_timeout_ms=500)) as (_, client):
        await client.send(last)
        assert_turned_away(await client.read_answer())
        await client.read_to_end()
        # It has said that it is done and yet goes on sending: reset, in the end.
        with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
            await send_for_ever(client)


@pytest.mark.parametrize("turned_away_before", [False, True])
async def test_websocket_is_applications(turned_away_before: bool) -> None:
    async def accept(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    key = b64encode(bytes(16)).decode()
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]

    async with crowded(handler=accept) as (app, client):
        if turned_away_before:
            await client.send(ASK)
            assert_turned_away(await client.read_answer())
        await client.send(request("/chat", *upgrade))
        answer = await client.read_answer()

    assert 101 == answer.status
    assert ["websocket"] == [scope["type"] for scope in app.scopes]


async def test_pipelined_are_all_answered_in_order() -> None:
    async with crowded() as (_, client):
        await client.send(ASK + request("/api/x", method="POST", body=b"second"))
        answers = [await client.read_answer() for _ in range(2)]

    assert [b"question", b"second"] == [answer.body for answer in answers]


async def test_body_that_comes_late_is_dropped() -> None:
    """Bytes after a refused request are read as its body: a client cannot hide a request in a body."""
    body = request("/api/hidden", method="POST", body=b"hidden")
    whole = request("/api/x", method="POST", body=body)
    head = whole[: whole.index(b"\r\n\r\n") + 4]

    async with crowded() as (app, client):
        await client.send(head)
        assert_turned_away(await client.read_answer())
        await client.send(body[:10])
        await trio.testing.wait_all_tasks_blocked()
        app.gate.open(room=5)
        await client.send(body[10:] + ASK)
        answer = await client.read_answer()

    assert b"question" == answer.body
    assert ["/api/x"] == [scope["path"] for scope in app.scopes]


@pytest.mark.parametrize("turned_away_before", [False, True])
async def test_malformed_is_refused_as_ever(turned_away_before: bool) -> None:
    async with crowded() as (_, client):
        if turned_away_before:
            await client.send(ASK)
            assert_turned_away(await client.read_answer())
        await client.send(request("/api/x", "Content-Length: 1", "Content-Length: 2", method="POST"))
        answer = await client.read_answer()
        rest = await client.read_to_end()

    assert (400, b"") == (answer.status, rest)


async def test_head_in_pieces_is_served() -> None:
    async with crowded() as (_, client):
        await client.send(ASK)
        assert_turned_away(await client.read_answer())
        for number in range(len(ASK)):
            await client.send(ASK[number : number + 1])
        answer = await client.read_answer()

    assert b"question" == answer.body


async def test_idle_limit_holds_after_refusal() -> None:
    async with crowded(ServerSettings(idle_timeout_ms=100)) as (_, client):
        await client.send(ASK)
        sent_at = trio.current_time()
        assert_turned_away(await client.read_answer())
        rest = await client.read_to_end()
        closed_after_s = trio.current_time() - sent_at

    assert b"" == rest
    # Never early: a refused client's connection is worth as much as another's.
    assert closed_after_s >= 0.1


async def test_drain_closes_refused_connections() -> None:
    shutdown = trio.Event()

    async with crowded(shutdown=shutdown) as (_, client):
        await client.send(ASK)
        assert_turned_away(await client.read_answer())
        shutdown.set()
        rest = await client.read_to_end()

    assert b"" == rest


async def test_drain_takes_request_that_has_arrived() -> None:
    """It is the application's then, whose answer ends the connection."""
    shutdown = trio.Event()

    async with crowded(shutdown=shutdown) as (_, client):
        await client.send(ASK)
        assert_turned_away(await client.read_answer())
        await client.send(ASK)
        shutdown.set()
        answer = await client.read_answer()
        rest = await client.read_to_end()

    assert answer.status == 503 or "close" == answer.headers["connection"]
    assert b"" == rest


async def test_drain_serves_what_has_just_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned away once more, its connection would stay until the drain's end."""
    shutdown = trio.Event()
    drain = Lane.drain

    async with crowded(shutdown=shutdown) as (_, client):

        def send_and_drain(lane: Lane) -> None:
            os.write(client.stream.socket.fileno(), ASK)
            drain(lane)

        monkeypatch.setattr(Lane, "drain", send_and_drain)
        await client.send(ASK)
        assert_turned_away(await client.read_answer())
        shutdown.set()
        answer = await client.read_answer()
        rest = await client.read_to_end()

    assert (b"question", "close", b"") == (answer.body, answer.headers["connection"], rest)


async def test_clients_that_leave_are_forgotten() -> None:
    """File descriptors come again: a newcomer must not be taken for the one who left."""
    async with crowded() as (app, client):
        port = client.stream.socket.getpeername()[1]
        for _ in range(20):
            async with connected(port) as other:
                await other.send(ASK)
                assert_turned_away(await other.read_answer())
        app.gate.open(room=100)
        await client.send(ASK)
        answer = await client.read_answer()

    assert b"question" == answer.body
    assert 1 == len(app.scopes)


async def test_newcomers_are_turned_away_unmet() -> None:
    """A client that opens a connection for each request, as nginx does in front of us unless it is told otherwise."""
    last = request("/api/x", "Connection: close", method="POST", body=b"question")

    async with crowded() as (app, met):
        await met.send(ASK)
        assert_turned_away(await met.read_answer())
        port = met.stream.socket.getpeername()[1]
        answers = []
        for _ in range(3):
            async with connected(port) as newcomer:
                await newcomer.send(last)
                answers.append(await newcomer.read_answer())
                assert b"" == await newcomer.read_to_end()

    for answer in answers:
        assert_turned_away(answer)
        assert "close" == answer.headers["connection"]
    assert 4 == app.gate.shed
    assert [] == app.scopes


async def test_no_more_newcomers_are_met_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who come in one pass: each takes the room that it was let in for."""
    met_sockets: list[socket.socket] = []
    serve_socket = Lane.serve_socket

    async def note_socket(lane: Lane, sock: socket.socket) -> None:
        met_sockets.append(sock)
        await serve_socket(lane, sock)

    monkeypatch.setattr(Lane, "serve_socket", note_socket)
    last = request("/api/x", "Connection: close", method="POST", body=b"question")

    async with crowded() as (app, met):
        await met.send(ASK)
        assert_turned_away(await met.read_answer())
        address = met.stream.socket.getpeername()
        app.gate.form_line(room=2)
        # All have sent their requests before the server accepts the first of them.
        newcomers = [socket.create_connection(address, timeout=10) for _ in range(5)]
        for newcomer in newcomers:
            newcomer.sendall(last)
        await app.gate.wait_line(2)
        app.gate.starts = 2
        answers = []
        for newcomer in newcomers:
            newcomer.setblocking(False)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(newcomer))
            answers.append(await RawClient(stream).read_answer())
            await stream.aclose()

    assert [200, 200, 503, 503, 503] == sorted(answer.status for answer in answers)
    assert 1 + 2 == len(met_sockets)


@pytest.mark.parametrize(
    "served",
    [
        request("/healthz", "Connection: close"),
        request("/api/x", "Connection: close", "Expect: 100-continue", method="POST"),
        request("/api/x", "Connection: close", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n",
    ],
)
async def test_other_newcomers_are_applications(served: bytes) -> None:
    async with crowded() as (app, met), connected(met.stream.socket.getpeername()[1]) as newcomer:
        await newcomer.send(served)
        answer = await newcomer.read_answer()

    assert 200 == answer.status
    assert 1 == len(app.scopes)


async def test_newcomer_s_body_in_parts_is_dropped() -> None:
    last = request("/api/x", "Connection: close", method="POST", body=b"question")

    async with crowded() as (app, met), connected(met.stream.socket.getpeername()[1]) as newcomer:
        await newcomer.send(last[:-4])
        assert_turned_away(await newcomer.read_answer())
        await newcomer.send(last[-4:])
        rest = await newcomer.read_to_end()

    assert b"" == rest
    assert [] == app.scopes
