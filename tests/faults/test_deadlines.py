"""The ways of not answering that scripts/bench/race measures deadlines with: each is ended, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from scripts.bench.benches.race.deadlines import WAYS
from scripts.bench.harness.client import Answer
from tests.support.gateway import endpoint, project, start_gateway

DEADLINE_MS = 300
# Not by how much it is late, which is the benchmark's: only that it is the deadline that ended it.
LIMIT_S = 15


@pytest.mark.parametrize("way", WAYS)
async def test_deadline_ends_it(nursery: trio.Nursery, tmp_path: Path, way: str) -> None:
    first, other = WAYS[way]
    failover = [{"credential": "sim", "model": f"other?{other}"}]
    configuration = project() + endpoint("row", f"first?{first}", streaming_enabled=True, failover=failover)
    gateway = await start_gateway(nursery, tmp_path, configuration)
    body = {"message": "Hello there", "stream": way.startswith("stream")}

    with trio.fail_after(LIMIT_S):
        started_at = trio.current_time()
        response = await gateway.call("row", body, ("X-PG-Timeout-Ms", str(DEADLINE_MS)))
        took_s = trio.current_time() - started_at
        await gateway.stop()

    said = Answer(response.status, response.headers, response.body, took_s).said()
    assert f"Deadline exceeded: no answer within {DEADLINE_MS} ms." == said.error
    assert took_s >= DEADLINE_MS / 1000
    assert not said.is_whole
    # Nothing of it is left at the provider.
    with trio.fail_after(LIMIT_S):
        await gateway.simulator.wait_no_connections()
