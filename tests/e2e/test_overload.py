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

SERVERS = ["lane", "hypercorn"]
APP = "https://app.example.com"
CONFIGURATION = "\n".join(
    [
        "[gateway]",
        "max_concurrent_requests = 1",
        "admission_wait_ms = 100",
        project(cors_origins=[APP]),
        endpoint("ok"),
        endpoint("busy"),
    ]
)
OPENAI = {"error": {"message": "Gateway is overloaded.", "type": "api_error", "param": None, "code": "overloaded"}}
ANTHROPIC = {"type": "error", "error": {"type": "overloaded_error", "message": "Gateway is overloaded."}}


@pytest.fixture(params=SERVERS)
async def full_gateway(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Gateway:
    return await fill_gateway(nursery, tmp_path, CONFIGURATION, request.param)


async def fill_gateway(nursery: trio.Nursery, folder: Path, configuration: str, server: str) -> Gateway:
    """A gateway whose only place is taken, by a call that does not end."""
    gateway = await start_gateway(nursery, folder, configuration, server)
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


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("route", "status", "body"),
    [
        ("v1/chat/completions", 503, OPENAI),
        ("v1/responses", 503, OPENAI),
        ("v1/embeddings", 503, OPENAI),
        ("v1/messages", 529, ANTHROPIC),
        ("v1/messages/count_tokens", 529, ANTHROPIC),
    ],
)
async def test_refusal_has_shape_of_its_surface(
    nursery: trio.Nursery, tmp_path: Path, server: str, route: str, status: int, body: dict[str, object]
) -> None:
    """From the lane's door as from the application."""
    patient = CONFIGURATION.replace("admission_wait_ms = 100", "admission_wait_ms = 4000")
    gateway = await fill_gateway(nursery, tmp_path, patient, server)
    nursery.start_soon(gateway.call, "ok")
    admission = gateway.app.extensions["pg_trio"].gateway.pipeline.admission
    with trio.fail_after(10):
        # The one that waits has waited for a quarter of the longest wait.
        while admission.room > 0:  # noqa: ASYNC110  # the gateway's own clock is waited for
            await trio.sleep(0.01)

    answer = await gateway.call(route, None, ("origin", APP))

    with_id = {"request_id": answer.headers["x-request-id"]} if status == 529 else {}
    assert (status, {**body, **with_id}) == (answer.status, answer.json())
    assert with_id.get("request_id") == answer.headers.get("request-id")
    assert ("1", "1000") == (answer.headers["retry-after"], answer.headers["retry-after-ms"])
    assert ("Origin", APP) == (answer.headers["vary"], answer.headers["access-control-allow-origin"])


async def test_nobody_waits_past_their_own_deadline(nursery: trio.Nursery, tmp_path: Path) -> None:
    patient = CONFIGURATION.replace("admission_wait_ms = 100", "admission_wait_ms = 60000")
    gateway = await start_gateway(nursery, tmp_path, patient)
    gateway.simulator.behave("busy", "fault=stall")
    nursery.start_soon(gateway.call, "busy")
    with trio.fail_after(10):
        await gateway.simulator.wait_request(1)

    answer = await gateway.call("ok", None, ("x-pg-timeout-ms", "100"))

    assert (504, "Deadline exceeded: no answer within 100 ms.") == (answer.status, answer.json()["error"])
    assert "false" == answer.headers["x-should-retry"]
    assert 1 == gateway.simulator.received_count


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


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("ok", {"message": "Hi"}),
        ("v1/chat/completions", {"model": "ok", "messages": [{"role": "user", "content": "Hi"}]}),
        ("v1/embeddings", {"model": "ok", "input": "Hi"}),
    ],
)
async def test_limit_that_passes_in_line_costs_no_call(
    nursery: trio.Nursery, tmp_path: Path, server: str, route: str, body: dict[str, object]
) -> None:
    patient = CONFIGURATION.replace("admission_wait_ms = 100", "admission_wait_ms = 60000")
    gateway = await start_gateway(nursery, tmp_path, patient, server)
    gateway.simulator.behave("busy", "fault=stall")
    admission = gateway.app.extensions["pg_trio"].gateway.pipeline.admission
    answers = []

    async def ask() -> None:
        answers.append(await gateway.call(route, body, ("x-stainless-read-timeout", "0.001")))

    with trio.fail_after(20):
        async with trio.open_nursery() as late, trio.open_nursery() as busy:
            busy.start_soon(gateway.call, "busy")
            await gateway.simulator.wait_request(1)
            late.start_soon(ask)
            while admission.verdict is Verdict.ADMIT:  # noqa: ASYNC110  # the gateway's own clock is waited for
                await trio.sleep(0.01)
            busy.cancel_scope.cancel()

    assert [504] == [answer.status for answer in answers]
    assert 1 == gateway.simulator.received_count
