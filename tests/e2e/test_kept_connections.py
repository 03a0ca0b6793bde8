"""One connection after another request's deadline, and bodies that come slowly, over sockets."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from pg_trio.surfaces.gateway.gateway_surface import GatewaySurface
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.http_servers import RawClient, connected
from tests.support.wire import bearer, post

PATIENCE_S = 10
CONFIGURATION = "\n".join(
    [
        "[gateway]\nbody_timeout_ms = 100",
        project(),
        endpoint("ask"),
        endpoint("quick", deadline_ms=100),
        endpoint("slow", "sim?latency=250ms"),
    ]
)


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION)


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[RawClient]:
    """A client whose token the gateway knows, by a request on this connection."""
    async with connected(gateway.port) as client:
        await client.send(asking(gateway, "ask"))
        assert 200 == (await client.read_answer()).status
        yield client


def asking(gateway: Gateway, path: str, body: object = None) -> bytes:
    return post(f"/api/{PROJECT}/{path}", body or {"message": "Hello there"}, bearer(gateway.token))


async def test_deadline_ends_with_its_answer(gateway: Gateway, client: RawClient) -> None:
    await client.send(asking(gateway, "quick"))
    first = await client.read_answer()
    with trio.move_on_after(0.3):
        assert b"never" == await client.stream.receive_some()  # closed, if the deadline were still set
    await client.send(asking(gateway, "quick"))
    second = await client.read_answer()

    assert [200, 200] == [first.status, second.status]


async def test_deadline_that_passed_leaves_the_connection_as_it_was(gateway: Gateway, client: RawClient) -> None:
    statuses = []
    for path in ("slow", "ask", "slow", "ask"):
        data = asking(gateway, path)
        if path == "slow":
            data = data.replace(b"\r\n\r\n", b"\r\nx-pg-timeout-ms: 50\r\n\r\n", 1)
        await client.send(data)
        statuses.append((await client.read_answer()).status)

    assert [504, 200, 504, 200] == statuses


async def test_client_s_own_limit_holds_while_its_body_is_read(
    gateway: Gateway, client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large body that names its endpoint waits for a thread: the endpoint's deadline is unknown, the client's not."""
    released = threading.Event()

    def read_for_ever(*_: object, **__: object) -> None:
        released.wait(PATIENCE_S)

    monkeypatch.setattr(GatewaySurface, "read", read_for_ever)
    data = asking(gateway, "chat/completions", {"message": "x" * 40_000, "endpoint": "ask"})
    await client.send(data.replace(b"\r\n\r\n", b"\r\nx-pg-timeout-ms: 50\r\n\r\n", 1))
    try:
        with trio.fail_after(PATIENCE_S / 2):
            answer = await client.read_answer()
    finally:
        released.set()

    assert 504 == answer.status
    assert b"no answer within 50 ms." in answer.body


@pytest.mark.parametrize("path", ["ask", "chat/completions"])
async def test_slow_body_has_a_limit(gateway: Gateway, client: RawClient, path: str) -> None:
    await client.send(asking(gateway, path, {"message": "Hello there", "endpoint": "ask"})[:-1])
    answer = await client.read_answer()

    assert 408 == answer.status
    assert b"Request body not received within 100 ms." in answer.body


@pytest.mark.parametrize("path", ["slow", "chat/completions"])
async def test_body_limit_is_none_of_the_answer(gateway: Gateway, client: RawClient, path: str) -> None:
    data = asking(gateway, path, {"message": "Hello there", "endpoint": "slow"})
    await client.send(data[:-1])
    # The lane has read the first part before the rest is sent: they come in two.
    await trio.testing.wait_all_tasks_blocked(0.01)
    await client.send(data[-1:])
    answer = await client.read_answer()

    assert 200 == answer.status
