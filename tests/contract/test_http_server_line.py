"""Requests that wait at the lane's door: none of them is begun, lost, served late or served twice."""

from __future__ import annotations

import errno

import pytest
import trio

from pg_trio.config.settings import ServerSettings
from pg_trio.domain.server_link import EXTENSION
from pg_trio.domain.verdict import Verdict
from pg_trio.server.http1 import doorkeeper
from tests.support.gated_server import ASK, OVERLOADED, GatedApp, crowded
from tests.support.http_servers import RawClient, connected, request


def port_of(client: RawClient) -> int:
    port: int = client.stream.socket.getpeername()[1]
    return port


async def let_in(app: GatedApp, count: int) -> None:
    """Let so many in, one after the other."""
    for _ in range(count):
        begun = len(app.scopes)
        app.gate.starts = 1
        with trio.fail_after(10):
            while len(app.scopes) == begun:
                await trio.lowlevel.checkpoint()


async def test_request_waits_and_is_not_begun() -> None:
    async with crowded() as (app, client):
        app.gate.form_line(room=1)
        await client.send(ASK)
        await app.gate.wait_line(1)
        begun = list(app.scopes)
        app.gate.starts = 1
        answer = await client.read_answer()

    assert [] == begun
    assert (200, b"question") == (answer.status, answer.body)
    assert 1 == len(app.scopes)


@pytest.mark.parametrize("refused_before", [False, True])
async def test_first_come_first_served(refused_before: bool) -> None:
    async with crowded() as (app, first), connected(port_of(first)) as second, connected(port_of(first)) as third:
        clients = (first, second, third)
        if refused_before:
            for client in clients:
                await client.send(ASK)
                assert 503 == (await client.read_answer()).status
        app.gate.form_line(room=3)
        for number, client in enumerate(clients):
            await client.send(request(f"/api/{number}", method="POST", body=b"%d" % number))
            await app.gate.wait_line(number + 1)
        await let_in(app, 3)
        answers = [await client.read_answer() for client in clients]

    assert ["/api/0", "/api/1", "/api/2"] == [scope["path"] for scope in app.scopes]
    assert [b"0", b"1", b"2"] == [answer.body for answer in answers]


async def test_more_than_there_is_room_for_are_refused() -> None:
    async with crowded() as (app, waiting), connected(port_of(waiting)) as refused:
        app.gate.form_line(room=1)
        await waiting.send(ASK)
        await app.gate.wait_line(1)
        app.gate.verdict, app.gate.room = Verdict.REFUSE, 0
        await refused.send(ASK)
        answer = await refused.read_answer()
        app.gate.starts = 1
        served = await waiting.read_answer()

    assert (503, OVERLOADED) == (answer.status, answer.body)
    assert 200 == served.status


async def test_calm_gateway_serves_those_it_refused_before() -> None:
    """One was handed over a while ago, and takes no room from the next."""
    async with crowded() as (app, first), connected(port_of(first)) as second:
        for client in (first, second):
            await client.send(ASK)
            assert 503 == (await client.read_answer()).status
        app.gate.open(room=1)
        answers = []
        for client in (first, second):
            await client.send(ASK)
            answers.append((await client.read_answer()).status)

    assert [200, 200] == answers


async def test_connection_waits_again_and_again() -> None:
    async with crowded() as (app, client):
        app.gate.form_line(room=1)
        answers = []
        for number in range(3):
            await client.send(request("/api/x", method="POST", body=b"%d" % number))
            await app.gate.wait_line(1)
            app.gate.starts = 1
            answers.append((await client.read_answer()).body)

    assert [b"0", b"1", b"2"] == answers


async def test_time_counts_from_arrival() -> None:
    """A deadline must not begin when the request comes in: its client has waited since it sent it."""
    async with crowded() as (app, client):
        app.gate.form_line(room=1)
        await client.send(ASK)
        await app.gate.wait_line(1)
        in_line_at = trio.current_time()
        app.gate.starts = 1
        await client.read_answer()
        app.gate.open(room=1)
        not_in_line_at = trio.current_time()
        await client.send(ASK)
        await client.read_answer()

    waited, straight = (scope["extensions"][EXTENSION] for scope in app.scopes)
    assert waited.head_at <= in_line_at
    assert straight.head_at >= not_in_line_at
    assert (True, False) == (waited.has_waited, straight.has_waited)


async def test_time_of_refused_is_not_the_next_ones() -> None:
    """It was refused in line: its arrival is over with it."""
    async with crowded() as (app, client):
        app.gate.longest_wait_s = 0.0
        app.gate.form_line(room=1)
        await client.send(ASK)
        refused = await client.read_answer()
        app.gate.open(room=1)
        next_at = trio.current_time()
        await client.send(ASK)
        await client.read_answer()

    assert 503 == refused.status
    assert next_at <= app.scopes[0]["extensions"][EXTENSION].head_at


@pytest.mark.parametrize(
    "other",
    [
        request("/api/x", "X-Limit: 5", method="POST", body=b"x"),
        request("/api/x", method="PUT", body=b"x"),
        request("/healthz"),
        request("/api/x", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n",
        request("/api/x", "Expect: 100-continue", method="POST"),
    ],
)
async def test_other_requests_do_not_wait(other: bytes) -> None:
    async with crowded() as (app, client):
        app.gate.form_line(room=1)
        await client.send(other)
        answer = await client.read_answer()

    assert 200 == answer.status
    assert 0 == app.gate.waiting


async def test_body_in_parts_does_not_wait() -> None:
    """Its rest would lie in the kernel, and nobody would see the limit for a body pass."""
    async with crowded() as (app, client):
        app.gate.form_line(room=1)
        await client.send(ASK[:-4])
        with trio.fail_after(10):
            while not app.scopes:
                await trio.lowlevel.checkpoint()
        await client.send(ASK[-4:])
        answer = await client.read_answer()

    assert b"question" == answer.body


async def test_what_comes_behind_stays_with_kernel() -> None:
    async with crowded() as (app, client):
        app.gate.form_line(room=2)
        await client.send(ASK)
        await app.gate.wait_line(1)
        await client.send(request("/api/x", method="POST", body=b"next"))
        app.gate.starts = 1
        first = await client.read_answer()
        await app.gate.wait_line(1)
        app.gate.starts = 1
        second = await client.read_answer()

    assert [b"question", b"next"] == [first.body, second.body]


async def test_client_that_leaves_line_is_not_served() -> None:
    async with crowded() as (app, staying):
        app.gate.form_line(room=2)
        async with connected(port_of(staying)) as leaving:
            await leaving.send(request("/api/left", method="POST", body=b"left"))
            await app.gate.wait_line(1)
            await staying.send(ASK)
            await app.gate.wait_line(2)
        await app.gate.wait_line(1)
        app.gate.starts = 1
        answer = await staying.read_answer()

    assert b"question" == answer.body
    assert ["/api/x"] == [scope["path"] for scope in app.scopes]


@pytest.mark.parametrize("is_last", [False, True])
async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch, is_last: bool) -> None:
    fields = ["Connection: close"] if is_last else []

    async with crowded() as (app, client):
        app.gate.longest_wait_s = 0.01
        app.gate.form_line(room=1)
        await client.send(request("/api/x", *fields, method="POST", body=b"question"))
        answer = await client.read_answer()
        if is_last:
            assert b"" == await client.read_to_end()
        else:
            app.gate.open(room=1)
            await client.send(ASK)
            assert b"question" == (await client.read_answer()).body

    assert (503, OVERLOADED) == (answer.status, answer.body)
    assert (1, 0) == (app.gate.shed, app.gate.waiting)
    assert (not is_last) == len(app.scopes)


async def test_connection_that_cannot_be_watched_again_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was refused; the others are served on."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space for another watch")

    async with crowded() as (app, client), connected(port_of(client)) as other:
        app.gate.form_line(room=2)
        await client.send(ASK)
        await app.gate.wait_line(1)
        with monkeypatch.context() as patched:
            patched.setattr(doorkeeper.Doorkeeper, "watch", fail)
            app.gate.longest_wait_s = 0.0
            answer = await client.read_answer()
            rest = await client.read_to_end()
        app.gate.open(room=2)
        await other.send(ASK)
        served = await other.read_answer()

    assert (503, b"") == (answer.status, rest)
    assert b"question" == served.body


async def test_drain_serves_who_waits() -> None:
    shutdown = trio.Event()

    async with crowded(shutdown=shutdown) as (app, client), connected(port_of(client)) as idle:
        app.gate.open(room=1)
        await idle.send(ASK)
        assert 200 == (await idle.read_answer()).status
        app.gate.form_line(room=2)
        await client.send(ASK)
        await app.gate.wait_line(1)
        shutdown.set()
        assert b"" == await idle.read_to_end()
        app.gate.starts = 1
        answer = await client.read_answer()
        rest = await client.read_to_end()

    assert (b"question", "close", b"") == (answer.body, answer.headers["connection"], rest)


async def test_end_of_drain_answers_who_still_waits() -> None:
    shutdown = trio.Event()

    async with crowded(ServerSettings(drain_ms=50), shutdown=shutdown) as (app, client):
        app.gate.form_line(room=1)
        await client.send(ASK)
        await app.gate.wait_line(1)
        shutdown.set()
        answer = await client.read_answer()

    assert (503, "close") == (answer.status, answer.headers["connection"])
    assert [] == app.scopes


async def test_all_are_seen_to_where_a_pass_looks_at_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorkeeper, "LOOKS", 1)

    async with crowded() as (app, client), connected(port_of(client)) as second, connected(port_of(client)) as third:
        for one in (client, second, third):
            await one.send(ASK)
            assert 503 == (await one.read_answer()).status
        app.gate.form_line(room=2)
        for one in (client, second, third):
            await one.send(ASK)
        app.gate.starts = 3
        statuses = [(await one.read_answer()).status for one in (client, second, third)]

    assert [200, 200, 200] == statuses
