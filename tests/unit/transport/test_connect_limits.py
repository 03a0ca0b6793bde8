"""Limits and refusals before any socket exists: the name's look-up under the connect limit, the address check."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from socket import AF_INET, AF_INET6

import pytest
import trio
from trio.testing import MockClock

from pg_trio.config.settings import UpstreamSettings
from pg_trio.errors import UpstreamUnreachable
from pg_trio.transport.connect import Address, Connector, Resolve, allowed_addresses
from pg_trio.transport.wire import Origin

ORIGIN = Origin("http", "api.example", 80, False)


def make_connector(resolve: Resolve, connect_timeout_ms: int = 2_000) -> Connector:
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


async def test_only_private_addresses_are_refused() -> None:
    resolve = answers_with(Address(AF_INET, ("10.0.0.5", 80)), Address(AF_INET6, ("fd00::5", 80, 0, 0)))

    with pytest.raises(UpstreamUnreachable, match="not public") as caught:
        await make_connector(resolve).connect(ORIGIN)

    # What our network looks like is no business of whoever reads the error.
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
