"""A client leaves nothing for the garbage collector: what it would find late is memory that grows meanwhile."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import bearer, post, read_response

CLIENTS = 24
SECOND = [{"credential": "sim", "model": "second"}]
CONFIGURATION = "\n".join(
    [
        "[gateway]\nhedge_budget_percent = 100",
        project(),
        endpoint("plain", rate_limit_per_minute=10_000),
        endpoint("stream", streaming_enabled=True),
        endpoint("invalid", input_schema={"type": "object", "required": ["n"]}),
        endpoint("broken", "sim?fault=status:500"),
        endpoint("silent", "sim?fault=stall", streaming_enabled=True),
        endpoint("late", "sim?fault=stall", deadline_ms=10),
        endpoint("stalls", "sim?tokens=9&fault=stall:2", streaming_enabled=True),
        endpoint("talk", sessions_enabled=True, streaming_enabled=True),
        endpoint("rescued", "sim?fault=status:500", failover=SECOND),
        endpoint("streams-broken", "sim?fault=status:500", streaming_enabled=True),
        endpoint("thinks", "sim?reasoning=2&tokens=2", streaming_enabled=True),
        endpoint("thinks-long", "sim?reasoning=9000&pace=5ms", streaming_enabled=True),
        endpoint("early", "sim?fault=stall", streaming_enabled=True, stream_head_after_ms=1, stream_deadline_ms=30),
        endpoint("early-broken", "sim?latency=20ms&fault=status:400", streaming_enabled=True, stream_head_after_ms=1),
        endpoint("hedged", "sim?latency=20ms", hedge_after_ms=0, streaming_enabled=True, failover=SECOND),
    ]
)
CLOSE = ("Connection", "close")

Client = Callable[[Gateway], Awaitable[None]]


def asks(
    slug: str,
    status: int,
    *headers: tuple[str, str],
    times: int = 1,
    stream: bool = False,
    message: str = "Hello there",
    version: bytes = b"1.1",
) -> Client:
    """A client that reads its answers, and closes behind the last."""

    async def ask(gateway: Gateway) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as connection:
            for _ in range(times):
                data = request(gateway, slug, *headers, stream=stream, message=message)
                await connection.send_all(data.replace(b" HTTP/1.1", b" HTTP/" + version, 1))
                answer = await read_response(connection)
                assert status == answer.status

    return ask


def leaves(slug: str, *, stream: bool, after: bytes = b"") -> Client:
    """A client that leaves while its request is under way, once that much of its answer has come."""

    async def leave(gateway: Gateway) -> None:
        count = len(gateway.simulator.requests)
        async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as connection:
            await connection.send_all(request(gateway, slug, stream=stream))
            await gateway.simulator.wait_request(count + 1)
            seen = b""
            while after not in seen:
                seen += await connection.receive_some()
        await gateway.simulator.wait_closed()

    return leave


def request(
    gateway: Gateway, slug: str, *headers: tuple[str, str], stream: bool, message: str = "Hello there"
) -> bytes:
    body = {"message": message, "stream": stream}
    return post(f"/api/{PROJECT}/{slug}", body, bearer(gateway.token), *headers)


@pytest.mark.slow  # fourteen gateways, a collection after each of their clients
@pytest.mark.parametrize(
    "client",
    [
        pytest.param(asks("plain", 200, times=3), id="three-answers"),
        pytest.param(asks("plain", 200, CLOSE), id="connection-close"),
        pytest.param(asks("stream", 200, stream=True), id="stream"),
        pytest.param(asks("stream", 200, CLOSE, stream=True), id="stream-connection-close"),
        pytest.param(asks("invalid", 422), id="refused"),
        pytest.param(asks("nowhere", 404, CLOSE), id="not-found"),
        pytest.param(asks("plain", 200, version=b"1.0"), id="http-1.0"),
        pytest.param(asks("plain", 200, message="x" * 100_000), id="large"),
        pytest.param(asks("talk", 200), id="session"),
        pytest.param(asks("talk", 200, stream=True), id="session-stream"),
        pytest.param(asks("rescued", 200), id="failover"),
        pytest.param(asks("hedged", 200), id="hedge"),
        pytest.param(asks("hedged", 200, stream=True), id="hedge-stream"),
        pytest.param(asks("broken", 502), id="provider-fails"),
        pytest.param(asks("late", 504, times=2), id="deadline"),
        pytest.param(leaves("silent", stream=False), id="leaves-before-answer"),
        pytest.param(leaves("silent", stream=True), id="leaves-before-token"),
        pytest.param(asks("streams-broken", 502, stream=True), id="stream-fails"),
        pytest.param(asks("thinks", 200, stream=True), id="reasoning"),
        pytest.param(asks("early", 200, stream=True), id="deadline-behind-early-head"),
        pytest.param(asks("early-broken", 200, stream=True), id="failure-behind-early-head"),
        pytest.param(leaves("thinks-long", stream=True, after=b"reasoning_content"), id="leaves-reasoning"),
        pytest.param(leaves("early", stream=True, after=b": keep-alive"), id="leaves-behind-early-head"),
        pytest.param(leaves("stalls", stream=True, after=b"data: "), id="leaves-stream"),
    ],
)
async def test_clients_leave_no_cycles(nursery: trio.Nursery, tmp_path: Path, client: Client) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    await client(gateway)

    found = await _collect_garbage_of(client, gateway)

    # The gateway's end leaves a few of what it had once.
    assert {} == {name: count for name, count in found.items() if count >= CLIENTS // 4}


def is_gateways(module: str) -> bool:
    """Whether this is a module of the gateway: the simulator, a tool for tests, runs beside it here."""
    return module.startswith("pg_trio.") and not module.startswith("pg_trio.simulator.")


async def _collect_garbage_of(client: Client, gateway: Gateway) -> Counter[str]:
    """The gateway's own kinds of objects that were unreachable after this many clients."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(CLIENTS):
            await client(gateway)
        await gateway.stop()
        gc.collect()
        kinds = Counter(type(one) for one in gc.garbage)
        return Counter({kind.__qualname__: count for kind, count in kinds.items() if is_gateways(kind.__module__)})
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
