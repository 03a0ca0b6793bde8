"""Two workers of one gateway, over sockets: what one learns of a provider holds for the other."""

from __future__ import annotations

from pathlib import Path

import trio

from tests.support.gateway import Gateway, endpoint, project, start_gateway, start_worker


async def test_breaker_of_one_worker_holds_for_the_other(nursery: trio.Nursery, tmp_path: Path) -> None:
    configuration = project() + endpoint("ask", model="sim?fault=status:503", failover=[_candidate("sim?content=well")])
    first = await start_gateway(nursery, tmp_path, configuration)
    second = await start_worker(nursery, first)

    for _ in range(3):
        assert 200 == (await first.call("ask")).status
    asked_by_first = len(first.simulator.requests)
    assert 200 == (await second.call("ask")).status

    # Three times the failing model and its failover; then the second worker asks the failover alone.
    assert (6, 7) == (asked_by_first, len(first.simulator.requests))
    await first.stop()
    await second.stop()


async def test_slots_of_a_credential_are_counted_over_workers(nursery: trio.Nursery, tmp_path: Path) -> None:
    # The first lines belong to the credential `sim`, which the configuration begins with.
    limits = "max_concurrent = 2\nslot_wait_ms = 200\n"
    first = await start_gateway(nursery, tmp_path, limits + project() + endpoint("ask", model="sim?latency=1s"))
    second = await start_worker(nursery, first)
    statuses: list[int] = []

    async def ask(gateway: Gateway) -> None:
        statuses.append((await gateway.call("ask")).status)

    async with trio.open_nursery() as calls:
        for gateway in (first, second, first, second):
            calls.start_soon(ask, gateway)

    assert [200, 200, 503, 503] == sorted(statuses)
    assert 2 == len(first.simulator.requests)
    await first.stop()
    await second.stop()


async def test_connections_are_opened_before_they_are_needed(nursery: trio.Nursery, tmp_path: Path) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    credential = f"""
[[credentials]]
name = "warm"
provider = "openai"
api_key = "sk-warm-key-0000"
base_url = "http://127.0.0.1:{port}/v1"
prewarm_connections = 3
"""
    gateway = await start_gateway(
        nursery, tmp_path, credential + project() + endpoint("ask", failover=[{"credential": "warm", "model": "any"}])
    )

    with trio.fail_after(10):
        streams = [await listener.accept() for _ in range(3)]
    with trio.move_on_after(1.5) as quiet:
        await listener.accept()

    assert quiet.cancelled_caught
    await gateway.stop()
    assert [b""] * 3 == [await stream.receive_some() for stream in streams]
    for stream in streams:
        await stream.aclose()
    await listener.aclose()


def _candidate(model: str) -> dict[str, str]:
    return {"credential": "sim", "model": model}
