"""Deadlines between machines, over sockets: what a client's SDK says, and what the next gateway is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.support.gateway import Gateway, endpoint, project, start_gateway

# The first line belongs to the credential `sim`, which the configuration begins with.
CONFIGURATION = "\n".join(["send_deadline = true", project(), endpoint("ask", deadline_ms=5_000)])


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION)


async def test_provider_is_told_what_is_left(gateway: Gateway) -> None:
    response = await gateway.call("ask", None, ("x-pg-timeout-ms", "3000"))

    [request] = gateway.simulator.requests
    assert 200 == response.status
    assert 2_000 < int(request.headers["x-pg-timeout-ms"]) <= 3_000


async def test_sdk_s_read_timeout_is_the_deadline(gateway: Gateway) -> None:
    gateway.simulator.behave("ask", "fault=stall")

    response = await gateway.call("ask", None, ("x-stainless-read-timeout", "0.3"))

    assert (504, "Deadline exceeded: no answer within 300 ms.") == (response.status, response.json()["error"])
