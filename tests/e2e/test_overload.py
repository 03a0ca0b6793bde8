"""A full gateway, over both servers: who is turned away, who is not, and what the log says of it."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from pg_trio.domain.server_link import ServerLink
from pg_trio.domain.verdict import Verdict
from pg_trio.errors import Overloaded
from pg_trio.server.http1 import lane_exchange
from tests.support.gateway import Gateway, endpoint, project, start_gateway
from tests.support.wire import get, read_response

CONFIGURATION = "\n".join(
    ["[gateway]", "max_concurrent_requests = 1", "admission_wait_ms = 100", project(), endpoint("ok"), endpoint("busy")]
)


@pytest.fixture(params=["lane", "hypercorn"])
async def full_gateway(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Gateway:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION, request.param)
    gateway.simulator.behave("busy", "fault=stall")
    nursery.start_soon(gateway.call, "busy")
    with trio.fail_after(10):
        await gateway.simulator.wait_request(1)
    return gateway


async def test_all_but_one_are_turned_away(full_gateway: Gateway) -> None:
    answers = []

    async def ask() -> None:
        answers.append(await full_gateway.call("ok"))

    async with trio.open_nursery() as clients:
        for _ in range(20):
            clients.start_soon(ask)

    assert {503} == {answer.status for answer in answers}
    assert {b'{"ok":false,"error":"Gateway is overloaded."}'} == {answer.body for answer in answers}
    assert {"1"} == {answer.headers["retry-after"] for answer in answers}
    assert 20 == len({answer.headers["x-request-id"] for answer in answers})
    assert 1 == len(full_gateway.simulator.requests)


async def test_nobody_waits_past_their_own_deadline(nursery: trio.Nursery, tmp_path: Path) -> None:
    patient = CONFIGURATION.replace("admission_wait_ms = 100", "admission_wait_ms = 60000")
    gateway = await start_gateway(nursery, tmp_path, patient)
    gateway.simulator.behave("busy", "fault=stall")
    nursery.start_soon(gateway.call, "busy")
    with trio.fail_after(10):
        await gateway.simulator.wait_request(1)

    answer = await gateway.call("ok", None, ("x-pg-timeout-ms", "100"))

    assert (503, "Gateway is overloaded.") == (answer.status, answer.json()["error"])


async def test_late_request_is_turned_away_like_any(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy loop began it a second after it came: that is no wait at the door, which would give it a right to stay."""
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION.replace("admission_wait_ms = 100", ""))
    routes: Any = gateway.app.asgi_app
    admission = routes.gateway.pipeline.admission
    monkeypatch.setattr(lane_exchange, "ServerLink", lambda head_at: ServerLink(head_at - 1.0))

    async def wait() -> None:
        with suppress(Overloaded):
            await admission.wait(math.inf)

    async with trio.open_nursery() as waiting:
        admission.under_way += 1
        while admission.verdict is not Verdict.REFUSE:
            waiting.start_soon(wait)
            await trio.lowlevel.checkpoint()
        answer = await gateway.call("ok", None, ("expect", "100-continue"))
        is_full = admission.verdict is Verdict.REFUSE
        waiting.cancel_scope.cancel()
    admission.under_way -= 1

    assert 503 == answer.status
    assert is_full


async def test_health_is_never_turned_away(full_gateway: Gateway) -> None:
    async with trio.open_nursery() as clients:
        for _ in range(5):
            clients.start_soon(full_gateway.call, "ok")
        with trio.fail_after(20):
            stream = await trio.open_tcp_stream("127.0.0.1", full_gateway.port)
            async with stream:
                await stream.send_all(get("/healthz"))
                health = await read_response(stream, "GET")

    assert 200 == health.status


async def test_rows_say_how_many_were_turned_away(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    gateway.simulator.behave("busy", "fault=stall")
    async with trio.open_nursery() as busy:
        busy.start_soon(gateway.call, "busy")
        await gateway.simulator.wait_request(1)
        for _ in range(3):
            assert 503 == (await gateway.call("ok")).status
        busy.cancel_scope.cancel()
    await gateway.stop()

    rows = [row for row in gateway.log_rows() if row["error_code"] == "Overloaded"]
    counts = [int(row["error"].removesuffix(".").rpartition(" ")[2]) for row in rows]
    assert {503} == {row["status"] for row in rows}
    assert 3 == sum(counts)
