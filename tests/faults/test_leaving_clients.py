"""The calls that scripts/bench/race's clients leave: the provider sees each closed, and the gateway serves on."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
import trio

from scripts.bench.benches.race.storm import WAYS
from tests.support.gateway import PROJECT, endpoint, project, start_gateway
from tests.support.wire import bearer, post

LIMIT_S = 15
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# What the provider has received of each way when the client leaves.
CALLS = {"in mid-hedge": 2, "stream, in mid-hedge": 2, "stream, being restarted": 2}


@pytest.mark.parametrize("ending", ["FIN", "RST"])
@pytest.mark.parametrize("way", WAYS)
async def test_left_call_is_closed(nursery: trio.Nursery, tmp_path: Path, way: str, ending: str) -> None:
    behaviours, settings, streams = WAYS[way]
    first, _, other = behaviours.partition(" | ")
    failover = [{"credential": "sim", "model": f"other?{other or first}"}]
    row = endpoint("row", f"first?{first}", streaming_enabled=True, failover=failover, **settings)
    gateway = await start_gateway(nursery, tmp_path, project() + row + endpoint("good"))
    request = post(f"/api/{PROJECT}/row", {"message": "Hello there", "stream": streams}, bearer(gateway.token))

    with trio.fail_after(LIMIT_S):
        client = await trio.open_tcp_stream("127.0.0.1", gateway.port)
        await client.send_all(request)
        for number in range(1, CALLS.get(way, 1) + 1):
            await gateway.simulator.wait_request(number)
        if ending == "RST":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        await client.aclose()
        await gateway.simulator.wait_no_connections()
        after = await gateway.call("good")
        await gateway.stop()

    assert 200 == after.status
    assert gateway.log_rows()[0]["status"] == 499
