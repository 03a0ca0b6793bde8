"""Two workers of one gateway, over sockets: what one learns of a provider holds for the other."""

from __future__ import annotations

from pathlib import Path

import trio

from tests.support.gateway import endpoint, project, start_gateway, start_worker


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


def _candidate(model: str) -> dict[str, str]:
    return {"credential": "sim", "model": model}
