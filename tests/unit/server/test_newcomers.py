"""Newcomers of the lane: accepted several at once, and turned away before they are a connection. Real sockets."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from itertools import pairwise

import pytest
import trio
import trio.testing
from attrs import define, field

from pg_trio.config.settings import ServerSettings
from pg_trio.domain.verdict import Verdict
from pg_trio.server.http1.accepting import MOST_AT_ONCE, PATIENT_PASSES, accept_sockets
from pg_trio.server.http1.doorkeeper import Doorkeeper
from pg_trio.server.http1.open_connections import OpenConnections
from pg_trio.server.http1.types import Door
from tests.support.gated_server import BUSY, Gate
from tests.support.http_servers import request

PATIENCE_S = 5
LAST = request("/api/x", "Connection: close", method="POST", body=b"question")


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def doorkeeper(gate: Gate) -> Iterator[Doorkeeper]:
    door = Door(gate, lambda method, path, headers: BUSY if path == b"/api/x" else None)
    with Doorkeeper(door, ServerSettings()) as doorkeeper:
        yield doorkeeper


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client, and a newcomer as it was accepted."""
    client, newcomer = socket.socketpair()
    newcomer.setblocking(False)
    client.settimeout(PATIENCE_S)
    with client, newcomer:
        yield client, newcomer


def read_to_end(client: socket.socket) -> bytes:
    return b"".join(iter(partial(client.recv, 65536), b""))


def test_whole_last_request_is_turned_away(
    doorkeeper: Doorkeeper, gate: Gate, pair: tuple[socket.socket, socket.socket]
) -> None:
    client, newcomer = pair
    client.sendall(LAST)

    assert doorkeeper.turn_away_newcomer(newcomer)

    answer = read_to_end(client)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert (-1, 1) == (newcomer.fileno(), gate.shed)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        LAST[:-1],
        LAST + b"more",
        request("/api/x", method="POST", body=b"question"),
        request("/other", "Connection: close", method="POST", body=b"question"),
        b"no head\r\n\r\n",
    ],
)
def test_others_are_left_as_they_are(
    doorkeeper: Doorkeeper, gate: Gate, pair: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    client, newcomer = pair
    client.sendall(sent)

    assert not doorkeeper.turn_away_newcomer(newcomer)

    client.close()
    assert sent == read_to_end(newcomer)
    assert 0 == gate.shed


@pytest.mark.parametrize(
    ("verdict", "draining"), [(Verdict.ADMIT, False), (Verdict.QUEUE, False), (Verdict.REFUSE, True)]
)
def test_nobody_is_turned_away_with_room_or_draining(
    doorkeeper: Doorkeeper, gate: Gate, pair: tuple[socket.socket, socket.socket], verdict: Verdict, draining: bool
) -> None:
    client, newcomer = pair
    client.sendall(LAST)
    gate.verdict, gate.room, doorkeeper.draining = verdict, 1, draining

    assert not doorkeeper.turn_away_newcomer(newcomer)
    assert LAST == newcomer.recv(65536)


def test_let_in_take_room_before_they_are_asked(
    doorkeeper: Doorkeeper, gate: Gate, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Else all that come together are let in where there is room for one."""
    client, newcomer = pair
    client.sendall(LAST)
    gate.verdict, gate.room, doorkeeper.coming = Verdict.QUEUE, 2, 2

    assert doorkeeper.turn_away_newcomer(newcomer)

    assert read_to_end(client).startswith(b"HTTP/1.1 503 ")


def test_client_that_left_is_refused_like_the_others(
    doorkeeper: Doorkeeper, gate: Gate, pair: tuple[socket.socket, socket.socket]
) -> None:
    client, newcomer = pair
    client.sendall(LAST)
    client.close()

    assert doorkeeper.turn_away_newcomer(newcomer)
    assert (-1, 1) == (newcomer.fileno(), gate.shed)


@define(slots=True, eq=False)
class Host:
    """Keeps what it is given; `wants` so many of them, and turns the next away."""

    wants: int = 1_000
    has_queue: bool = False
    given: list[socket.socket] = field(factory=list)
    turned_away: int = 0

    def turn_away(self, sock: socket.socket) -> bool:
        if len(self.given) < self.wants:
            return False
        self.turned_away += 1
        sock.close()
        return True

    async def serve_socket(self, sock: socket.socket) -> None:
        self.given.append(sock)
        with sock:
            await trio.sleep_forever()


class Listening(socket.socket):
    """A listening socket whose first accepts fail with `failures`."""

    failures: list[int]

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            raise OSError(self.failures.pop(0), "as the kernel says it")
        return super().accept()


@pytest.fixture
def listening() -> Iterator[Listening]:
    with closing(Listening()) as sock:
        sock.failures = []
        sock.bind(("127.0.0.1", 0))
        sock.listen(1_000)
        yield sock


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def come(clients: ExitStack, listening: socket.socket, count: int) -> socket.socket:
    """Connect so many clients, one at least; the last of them."""
    sockets = [socket.create_connection(listening.getsockname(), PATIENCE_S) for _ in range(count)]
    return [clients.enter_context(sock) for sock in sockets][-1]


def open_house(**settings: int) -> OpenConnections:
    return OpenConnections(ServerSettings(**settings))  # type: ignore[arg-type]  # by name, as a file has them


async def count_accepted_by_pass(
    nursery: trio.Nursery, listening: Listening, until: int, *, has_queue: bool = False
) -> list[int]:
    """How many were accepted in each pass that accepted any, until there were so many."""
    connections = open_house()
    passes = Passes(connections)
    trio.lowlevel.add_instrument(passes)
    nursery.start_soon(accept_sockets, listening, connections, Host(has_queue=has_queue), nursery)
    await passes.wait_for(until)
    nursery.cancel_scope.cancel()
    return passes.counts()


class Passes(trio.abc.Instrument):
    """How many connections there were after each pass that accepted any."""

    def __init__(self, connections: OpenConnections) -> None:
        self._connections = connections
        self._by_now = [0]

    def after_io_wait(self, timeout: float) -> None:
        if len(self._connections) > self._by_now[-1]:
            self._by_now.append(len(self._connections))

    async def wait_for(self, count: int) -> None:
        with trio.fail_after(PATIENCE_S):
            while self._by_now[-1] < count:
                await trio.lowlevel.checkpoint()

    def counts(self) -> list[int]:
        return [after - before for before, after in pairwise(self._by_now)]


async def test_few_are_accepted_one_by_one(nursery: trio.Nursery, listening: Listening, clients: ExitStack) -> None:
    """So that other workers have their share."""
    come(clients, listening, PATIENT_PASSES)

    assert [1] * PATIENT_PASSES == await count_accepted_by_pass(nursery, listening, PATIENT_PASSES)


async def test_line_that_does_not_end_is_accepted_faster_up_to_a_limit(
    nursery: trio.Nursery, listening: Listening, clients: ExitStack
) -> None:
    doubled = [1, 2, 4, 8, 16, 32, 64, MOST_AT_ONCE, MOST_AT_ONCE]
    come(clients, listening, PATIENT_PASSES + sum(doubled))

    counts = await count_accepted_by_pass(nursery, listening, PATIENT_PASSES + sum(doubled))

    assert [1] * PATIENT_PASSES + doubled == counts


async def test_those_who_come_alone_take_nobody_s_patience(
    nursery: trio.Nursery, listening: Listening, clients: ExitStack
) -> None:
    connections = open_house()
    passes = Passes(connections)
    trio.lowlevel.add_instrument(passes)
    nursery.start_soon(accept_sockets, listening, connections, Host(), nursery)

    for number in range(PATIENT_PASSES + 10):
        come(clients, listening, 1)
        await passes.wait_for(number + 1)
    come(clients, listening, PATIENT_PASSES)
    await passes.wait_for(2 * PATIENT_PASSES + 10)
    nursery.cancel_scope.cancel()

    assert {1} == set(passes.counts())


async def test_line_in_here_is_joined_at_once(nursery: trio.Nursery, listening: Listening, clients: ExitStack) -> None:
    """So that excess clients get a refusal."""
    come(clients, listening, MOST_AT_ONCE + 5)

    assert [MOST_AT_ONCE, 5] == await count_accepted_by_pass(nursery, listening, MOST_AT_ONCE + 5, has_queue=True)


@pytest.mark.skipif(not hasattr(socket, "TCP_DEFER_ACCEPT"), reason="Linux only")
async def test_kernel_keeps_silent_clients_while_requests_wait(
    nursery: trio.Nursery, listening: Listening, clients: ExitStack
) -> None:
    host, connections = Host(has_queue=True), open_house()
    passes = Passes(connections)
    trio.lowlevel.add_instrument(passes)
    nursery.start_soon(accept_sockets, listening, connections, host, nursery)
    deferred = []

    for number in (1, 2):
        come(clients, listening, 1).sendall(b"G")
        await passes.wait_for(number)
        deferred.append(bool(listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)))
        host.has_queue = False
    nursery.cancel_scope.cancel()

    assert [True, False] == deferred


async def test_accepted_sockets_wait_for_nothing(
    nursery: trio.Nursery, listening: Listening, clients: ExitStack
) -> None:
    host = Host()
    come(clients, listening, 1)

    nursery.start_soon(accept_sockets, listening, open_house(), host, nursery)
    await trio.testing.wait_all_tasks_blocked()

    [sock] = host.given
    assert not sock.getblocking()
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert 16 * 1024 == sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
    nursery.cancel_scope.cancel()


async def test_turned_away_are_not_counted(nursery: trio.Nursery, listening: Listening, clients: ExitStack) -> None:
    host, connections = Host(wants=0), open_house(max_connections=1)
    come(clients, listening, 3)

    nursery.start_soon(accept_sockets, listening, connections, host, nursery)
    await trio.testing.wait_all_tasks_blocked()

    assert (3, 0) == (host.turned_away, len(connections))
    nursery.cancel_scope.cancel()


async def test_limit_leaves_the_next_with_the_kernel(
    nursery: trio.Nursery, listening: Listening, clients: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pg_trio.server.http1.open_connections.PAUSE_S", 0.01)
    host, connections = Host(), open_house(max_connections=2)
    come(clients, listening, 3)

    nursery.start_soon(accept_sockets, listening, connections, host, nursery)
    await trio.testing.wait_all_tasks_blocked()

    assert 2 == len(host.given)
    nursery.cancel_scope.cancel()


async def test_outage_is_waited_out_and_told(
    nursery: trio.Nursery,
    listening: Listening,
    clients: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("pg_trio.server.http1.open_connections.PAUSE_S", 0.01)
    host = Host()
    listening.failures = [errno.EMFILE, errno.ENFILE]
    come(clients, listening, 1)

    nursery.start_soon(accept_sockets, listening, open_house(), host, nursery)
    with trio.fail_after(PATIENCE_S):
        while not host.given:  # noqa: ASYNC110  # the event loop's own passes are waited for
            await trio.sleep(0.001)

    [line] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "Too many open files" in line.getMessage()
    nursery.cancel_scope.cancel()


async def test_client_that_is_gone_stops_nobody(
    nursery: trio.Nursery, listening: Listening, clients: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host()
    listening.failures = [errno.ECONNABORTED, errno.EPROTO]
    come(clients, listening, 1)

    nursery.start_soon(accept_sockets, listening, open_house(), host, nursery)
    await trio.testing.wait_all_tasks_blocked()

    assert 1 == len(host.given)
    assert "" == caplog.text
    nursery.cancel_scope.cancel()


async def test_other_errors_are_bugs_and_close_the_socket(listening: Listening, clients: ExitStack) -> None:
    listening.failures = [errno.EINVAL]
    come(clients, listening, 1)

    with pytest.RaisesGroup(OSError):
        async with trio.open_nursery() as nursery:
            await accept_sockets(listening, open_house(), Host(), nursery)

    assert -1 == listening.fileno()


async def test_cancelled_accepting_closes_its_socket(nursery: trio.Nursery, listening: Listening) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await accept_sockets(listening, open_house(), Host(), nursery)

    assert scope.cancelled_caught
    assert -1 == listening.fileno()
