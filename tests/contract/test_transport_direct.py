"""What only the direct transport promises: its pool, pre-warmed connections, the race of addresses."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import trio
import trio.testing
from attrs import evolve

from pg_trio.config.settings import UpstreamSettings
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import UpstreamBroken
from pg_trio.transport.connect import Address, connect_first
from pg_trio.transport.direct import DirectTransport
from pg_trio.transport.pool import Pool
from pg_trio.transport.upstream_connection import Connection
from pg_trio.transport.wire import Origin
from tests.contract.conftest import SMALL, Caller, Certificates, Serve, call_at_once
from tests.contract.fault_server import LIMIT_S, Peer, answer_with, answers, answers_once, answers_together

GOOD = answer_with(b"good")
MakeDirect = Callable[..., Caller]


@pytest.fixture
async def make_direct() -> AsyncIterator[MakeDirect]:
    """Makes callers over the direct transport, closed after the test."""
    made: list[DirectTransport] = []

    def make(settings: UpstreamSettings = SMALL, **options: object) -> Caller:
        made.append(DirectTransport(settings, **options))  # type: ignore[arg-type]
        return Caller("direct", made[-1])

    yield make
    for transport in made:
        await transport.aclose()


# ── the pool ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_idle_connections_are_limited(make_direct: MakeDirect, serve: Serve) -> None:
    server = await serve(answers_together(5, GOOD))
    caller = make_direct(evolve(SMALL, pool_idle_connections=2))

    await call_at_once(caller, server.url, 5)

    assert f"localhost:{server.port} idle 2 busy 0" == caller.transport.describe()


async def test_no_idle_connections_where_none_are_kept(make_direct: MakeDirect, serve: Serve) -> None:
    server = await serve(answers(GOOD))
    caller = make_direct(evolve(SMALL, pool_idle_connections=0))

    for _ in range(2):
        await caller.fetch(server.url)

    assert "" == caller.transport.describe()
    assert 2 == len(server.peers)


async def test_expired_connection_is_replaced(make_direct: MakeDirect, serve: Serve) -> None:
    server = await serve(answers(GOOD))
    caller = make_direct(evolve(SMALL, pool_idle_ms=0))

    for _ in range(2):
        await caller.fetch(server.url)

    assert [1, 1] == [len(peer.requests) for peer in server.peers]


async def test_pool_gives_the_youngest_within_its_time() -> None:
    clock = iter([0.0, 1.0, 2.0, 11.0, 11.5, 11.5])
    pool = Pool(limit=3, idle_limit_s=10.0, clock=lambda: next(clock))
    origin = Origin("http", "api.example", 80, True)
    pairs = [socket.socketpair() for _ in range(3)]
    oldest, middle, youngest = connections = [Connection(near, origin) for near, _ in pairs]
    for connection in connections:
        pool.adopt(connection)
        pool.give_back(connection)

    taken = [pool.take(origin), pool.take(origin)]

    assert [youngest, None] == taken
    assert [True, True, False] == [oldest.is_closed, middle.is_closed, youngest.is_closed]
    pool.close()
    for _, far in pairs:
        far.close()


async def test_reaper_closes_without_calls(make_direct: MakeDirect, serve: Serve, nursery: trio.Nursery) -> None:
    server = await serve(answers(GOOD))
    caller = make_direct(evolve(SMALL, pool_idle_ms=20))
    await caller.fetch(server.url)

    nursery.start_soon(caller.transport.run)  # type: ignore[union-attr]

    await server.wait_all_gone()
    assert "" == caller.transport.describe()


async def test_busy_connection_shows(make_direct: MakeDirect, serve: Serve) -> None:
    server = await serve(answers_once(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"))
    caller = make_direct()

    response = await caller.transport.open_response(WireRequest(server.url, [], b"", allow_private_addresses=True))
    while_open = caller.transport.describe()
    await response.aclose()

    assert f"localhost:{server.port} idle 0 busy 1" == while_open
    assert "" == caller.transport.describe()


async def test_whole_answer_frees_connection_before_close(make_direct: MakeDirect, serve: Serve) -> None:
    server = await serve(answers(GOOD))
    caller = make_direct()

    response = await caller.transport.open_response(WireRequest(server.url, [], b"", allow_private_addresses=True))

    assert f"localhost:{server.port} idle 1 busy 0" == caller.transport.describe()
    assert b"good" == await response.receive_some()
    await response.aclose()
    assert f"localhost:{server.port} idle 1 busy 0" == caller.transport.describe()


async def test_cancelled_read_can_go_on(make_direct: MakeDirect, serve: Serve) -> None:
    go_on = trio.Event()

    async def pause(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
        await go_on.wait()
        await peer.send(b"good")
        await peer.wait_gone()

    server = await serve(pause)
    caller = make_direct()
    response = await caller.transport.open_response(WireRequest(server.url, [], b"", allow_private_addresses=True))

    with trio.CancelScope() as scope:
        scope.cancel()
        await response.receive_some()
    go_on.set()

    assert b"good" == await response.receive_some()
    assert b"" == await response.receive_some()
    await response.aclose()


async def test_every_read_lets_others_run() -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    connection = Connection(near, Origin("http", "api.example", 80, True))
    far.send(b"there already")

    with trio.testing.assert_checkpoints():
        received = await connection.receive()

    assert b"there already" == received
    connection.close()
    far.close()


async def test_closed_transport_refuses_calls(make_direct: MakeDirect, serve: Serve) -> None:
    server = await serve(answers(GOOD))
    caller = make_direct()
    await caller.transport.aclose()

    with pytest.raises(UpstreamBroken):
        await caller.fetch(server.url)

    assert "" == caller.transport.describe()


async def test_idle_tls_connection_survives_session_tickets(
    make_direct: MakeDirect, nursery: trio.Nursery, certificates: Certificates
) -> None:
    # TLS 1.3 sends tickets after the handshake: bytes on an idle connection that are no garbage. Trio's own TLS keeps
    # them back until the first answer; OpenSSL, as in most servers, does not.
    has_shaken_hands = trio.Event()
    asked: list[bytes] = []

    def serve_one_connection(listening: socket.socket) -> None:
        context = certificates.server_context()
        with listening, context.wrap_socket(listening.accept()[0], server_side=True) as tls:
            trio.from_thread.run_sync(has_shaken_hands.set)
            asked.append(tls.recv(4096))
            tls.sendall(GOOD)

    listening = socket.create_server(("127.0.0.1", 0))
    url = f"https://localhost:{listening.getsockname()[1]}/v1"
    caller = make_direct(tls_context=certificates.client_context())
    nursery.start_soon(trio.to_thread.run_sync, serve_one_connection, listening)

    assert 1 == await caller.transport.prewarm(url, 1, True)  # type: ignore[union-attr]
    await has_shaken_hands.wait()
    fetched = await caller.fetch(url)

    assert b"good" == fetched.body
    assert [b"POST"] == [request[:4] for request in asked]


# ── connecting ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_prewarmed_connections_carry_calls(make_direct: MakeDirect, serve: Serve) -> None:
    server = await serve(answers(GOOD))
    caller = make_direct()

    warmed = await caller.transport.prewarm(server.url, 3, True)  # type: ignore[union-attr]
    await call_at_once(caller, server.url, 3)

    assert 3 == warmed
    assert 3 == len(server.peers)


async def test_prewarming_opens_what_is_missing(make_direct: MakeDirect, serve: Serve) -> None:
    server = await serve(answers(GOOD))
    caller = make_direct()

    warmed = [await caller.transport.prewarm(server.url, count, True) for count in (2, 3, 1)]  # type: ignore[union-attr]
    await trio.testing.wait_all_tasks_blocked()

    assert [2, 3, 3] == warmed
    assert 3 == len(server.peers)


async def test_prewarming_replaces_the_expired(
    mock_clock: trio.testing.MockClock, make_direct: MakeDirect, serve: Serve
) -> None:
    server = await serve(answers(GOOD))
    caller = make_direct(clock=trio.current_time)
    await caller.transport.prewarm(server.url, 2, True)  # type: ignore[union-attr]

    mock_clock.jump(SMALL.pool_idle_ms / 1000)
    warmed = await caller.transport.prewarm(server.url, 2, True)  # type: ignore[union-attr]
    await trio.testing.wait_all_tasks_blocked()

    assert 2 == warmed
    assert [True, True, False, False] == [peer.gone.is_set() for peer in server.peers]


async def test_prewarming_refuses_private_addresses(make_direct: MakeDirect, serve: Serve) -> None:
    server = await serve(answers(GOOD))
    caller = make_direct()

    warmed = await caller.transport.prewarm(server.url, 2, allow_private=False)  # type: ignore[union-attr]
    await trio.testing.wait_all_tasks_blocked()

    assert (0, []) == (warmed, server.peers)


async def test_prewarming_failure_is_a_count(make_direct: MakeDirect, unused_port: int) -> None:
    caller = make_direct()

    assert 0 == await caller.transport.prewarm(f"http://127.0.0.1:{unused_port}/", 2, True)  # type: ignore[union-attr]


async def test_refused_address_starts_the_next(serve: Serve, unused_port: int) -> None:
    server = await serve(answers(GOOD))

    sock = await connect_first([at(unused_port), at(server.port)])

    assert server.port == sock.getpeername()[1]
    sock.close()


async def test_silent_address_is_overtaken(serve: Serve, silent_port: int) -> None:
    server = await serve(answers(GOOD))

    with trio.fail_after(LIMIT_S):
        sock = await connect_first([at(silent_port), at(server.port)])

    assert server.port == sock.getpeername()[1]
    sock.close()


async def test_every_address_refused_raises(unused_port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        await connect_first([at(unused_port), at(unused_port)])


async def test_cancelled_race_leaves_no_socket(silent_port: int) -> None:
    # An unclosed socket would be a ResourceWarning, which fails the test.
    with trio.move_on_after(0.3) as limit:
        await connect_first([at(silent_port), at(silent_port)])

    assert limit.cancelled_caught


async def test_name_is_resolved_once(make_direct: MakeDirect, serve: Serve) -> None:
    server = await serve(answers(GOOD))
    asked: list[tuple[str, int]] = []

    async def resolve(host: str, port: int) -> list[Address]:
        asked.append((host, port))
        return [at(server.port)]

    caller = make_direct(resolve=resolve)

    await caller.fetch("http://api.example/v1")

    # Checked and connected to with one look-up: no second one could answer differently.
    assert [("api.example", 80)] == asked
    assert b"host: api.example\r\n" in server.peers[0].requests[0]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that neither accepts nor refuses: its queue of one connection is full."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


def at(port: int) -> Address:
    return Address(socket.AF_INET, ("127.0.0.1", port))
