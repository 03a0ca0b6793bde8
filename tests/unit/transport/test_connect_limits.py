"""Limits and refusals before any socket exists: the name's look-up under the connect limit, the address check."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Sequence
from socket import AF_INET, AF_INET6

import pytest
import trio
from trio.testing import MockClock

from pg_trio.config.settings import UpstreamSettings
from pg_trio.errors import UpstreamUnreachable
from pg_trio.transport import connect
from pg_trio.transport.connect import Address, Connector, Resolve, allowed_addresses, connect_first
from pg_trio.transport.wire import Origin

ORIGIN = Origin("http", "api.example", 80, False)
# Far longer than a thread takes; a test that hangs fails.
LIMIT_S = 20


def make_connector(resolve: Resolve | None = None, connect_timeout_ms: int = 2_000) -> Connector:
    settings = UpstreamSettings(connect_timeout_ms=connect_timeout_ms)
    return Connector(settings, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), resolve)


def answers_with(*addresses: Address) -> Resolve:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        return addresses

    return resolve


async def test_slow_name_meets_connect_limit(autojump_clock: MockClock) -> None:
    async def never(host: str, port: int) -> Sequence[Address]:
        await trio.sleep_forever()
        raise AssertionError

    with pytest.raises(UpstreamUnreachable, match="within 2000 ms"):
        await make_connector(never).connect(ORIGIN)

    assert 2.0 == trio.current_time()


async def test_unknown_name_is_unreachable() -> None:
    async def unknown(host: str, port: int) -> Sequence[Address]:
        raise OSError(-2, "Name or service not known")

    with pytest.raises(UpstreamUnreachable, match=r"no connection to api\.example:80: Name or service not known"):
        await make_connector(unknown).connect(ORIGIN)


async def test_look_up_takes_no_thread_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def look_up(*args: object, **options: object) -> None:
        others = trio.from_thread.run_sync(trio.to_thread.current_default_thread_limiter)
        taken.append(others.borrowed_tokens)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    with pytest.raises(UpstreamUnreachable):
        await make_connector().connect(ORIGIN)

    assert [0] == taken


async def test_hanging_look_up_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    may_end, has_ended = threading.Event(), threading.Event()

    def hang(*args: object, **options: object) -> list[object]:
        trio.from_thread.run_sync(leaving.cancel)
        may_end.wait(LIMIT_S)
        has_ended.set()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)

    with trio.CancelScope() as leaving:
        await make_connector().connect(ORIGIN)

    assert not has_ended.is_set()
    may_end.set()
    assert has_ended.wait(LIMIT_S)


async def test_only_private_addresses_are_refused() -> None:
    resolve = answers_with(Address(AF_INET, ("10.0.0.5", 80)), Address(AF_INET6, ("fd00::5", 80, 0, 0)))

    with pytest.raises(UpstreamUnreachable, match="not public") as caught:
        await make_connector(resolve).connect(ORIGIN)

    # Clients may read the error, and must not learn internal addresses.
    assert "10.0.0.5" not in caught.value.said


def test_private_addresses_are_left_out() -> None:
    public = [Address(AF_INET, ("8.8.8.8", 80)), Address(AF_INET, ("8.8.4.4", 80))]
    private = [Address(AF_INET, ("127.0.0.1", 80)), Address(AF_INET6, ("::ffff:7f00:1", 80, 0, 0))]

    assert public == allowed_addresses([private[0], *public, private[1]], ORIGIN)
    assert private == allowed_addresses(private, ORIGIN._replace(allow_private=True))


def test_families_alternate_at_the_head() -> None:
    first, second = Address(AF_INET6, ("2606:4700::1", 80, 0, 0)), Address(AF_INET6, ("2606:4700::2", 80, 0, 0))
    other = Address(AF_INET, ("8.8.8.8", 80))

    assert [first, other, second] == allowed_addresses([first, second, other], ORIGIN)


# ── several addresses ────────────────────────────────────────────────────────────────────────────────────────────────


class ConnectedAtOnce:
    """Addresses that all connect in one tick, `after_s` from now; the near ends of their sockets, and the far ones."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after_s: float) -> None:
        self._gate = trio.Event()
        self._after_s = after_s
        self.near: list[socket.socket] = []
        self.far: list[socket.socket] = []
        monkeypatch.setattr(connect, "_connect_one", self._connect_one)

    async def open_gate(self) -> None:
        await trio.sleep(self._after_s)
        self._gate.set()

    async def _connect_one(self, address: Address) -> socket.socket:
        await self._gate.wait()
        near, far = socket.socketpair()
        self.near.append(near)
        self.far.append(far)
        return near


ADDRESSES = [Address(AF_INET, ("192.0.2.1", 80)), Address(AF_INET, ("192.0.2.2", 80))]


async def test_connected_in_one_tick_keep_one(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = ConnectedAtOnce(monkeypatch, after_s=1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(at_once.open_gate)
        kept = await connect_first(ADDRESSES)

    assert 2 == len(at_once.near)
    assert [kept] == [sock for sock in at_once.near if sock.fileno() != -1]
    for sock in (kept, *at_once.far):
        sock.close()


async def test_connected_in_tick_of_cancellation_is_closed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Before the second address is tried: the first one's success and the cancellation are then both new.
    at_once = ConnectedAtOnce(monkeypatch, after_s=0.1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connect_first, ADDRESSES)
        await at_once.open_gate()
        nursery.cancel_scope.cancel(reason="client left")

    assert [-1] == [sock.fileno() for sock in at_once.near]
    at_once.far[0].close()


async def test_failed_address_starts_the_next_at_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[Address, float]] = []

    async def refuse(address: Address) -> socket.socket:
        tried.append((address, trio.current_time()))
        await trio.lowlevel.checkpoint()
        raise ConnectionRefusedError

    monkeypatch.setattr(connect, "_connect_one", refuse)

    with pytest.raises(ConnectionRefusedError):
        await connect_first(ADDRESSES)

    assert [(address, 0.0) for address in ADDRESSES] == tried
