"""Checks beside the provider's call: what is held, what is cancelled, and what is paid, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.guard_service import GuardService, block, moderate, replace, serve_guard_service
from tests.support.wire import HttpResponse, bearer, post, read_response

PRICED = {"monthly_budget_usd": "1000000", "estimated_cost_per_1k_tokens_usd": "1000", "max_output_tokens": 50}
# "Hello there" is 11 characters.
INPUT = 3
NANO = 10**9
LIMIT_S = 20
KINDS = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture
async def service(nursery: trio.Nursery) -> GuardService:
    found: GuardService = await nursery.start(serve_guard_service)
    found.gate = trio.Event()
    return found


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(
    nursery: trio.Nursery, tmp_path: Path, service: GuardService, request: pytest.FixtureRequest
) -> Gateway:
    hook: dict[str, Any] = {"url": service.url, "parallel": True, "phase": ["input"], "timeout_ms": 10_000}
    moderation = {"credential": "mod", "parallel": True, "timeout_ms": 10_000}
    usual = {"streaming_enabled": True, "max_attempts": 1, **PRICED}
    endpoints = [
        endpoint("hook", "sim", guardrails={"webhook": hook}, **usual),
        endpoint("early", "sim", guardrails={"webhook": hook}, stream_head_after_ms=1, **usual),
        endpoint("late", "sim", guardrails={"webhook": hook}, deadline_ms=900, stream_deadline_ms=900, **usual),
        endpoint("quick", "sim", guardrails={"webhook": {**hook, "timeout_ms": 700}}, **usual),
        endpoint("open", "sim", guardrails={"webhook": {**hook, "timeout_ms": 700, "on_failure": "open"}}, **usual),
        endpoint("both", "sim", guardrails={"webhook": hook, "moderation": moderation}, **usual),
        endpoint("talk", "sim", guardrails={"webhook": hook}, sessions_enabled=True, **usual),
        endpoint("vectors", "text-embedding-3-small", guardrails={"webhook": hook}),
    ]
    credential = (
        f'[[credentials]]\nname = "mod"\nprovider = "openai"\napi_key = "sk-000"\nbase_url = "{service.base_url}"\n'
    )
    return await start_gateway(nursery, tmp_path, "\n".join([credential, project(), *endpoints]), request.param)


@asynccontextmanager
async def asking(gateway: Gateway, slug: str, *, stream: bool, **fields: Any) -> AsyncIterator[trio.SocketStream]:
    """A client whose request is with the gateway."""
    with trio.fail_after(LIMIT_S):
        client = await trio.open_tcp_stream("127.0.0.1", gateway.port)
        async with client:
            body = {"message": "Hello there", "stream": stream, **fields}
            await client.send_all(post(f"/api/{PROJECT}/{slug}", body, bearer(gateway.token)))
            yield client


async def wait_provider(gateway: Gateway, *, answered: bool = False) -> None:
    """Wait until the provider has the request; or has answered it."""
    with trio.fail_after(LIMIT_S):
        request = await gateway.simulator.wait_request()
        if answered:
            await gateway.simulator.wait_answered(request)


async def wait_closed_early(gateway: Gateway) -> None:
    """Wait until the provider has seen the gateway leave."""
    with trio.fail_after(LIMIT_S):
        assert (await gateway.simulator.wait_closed(gateway.simulator.requests[0])).closed_early


def open_gate(service: GuardService) -> None:
    assert service.gate is not None
    service.gate.set()


async def receive_nothing(client: trio.SocketStream) -> None:
    """Nothing is there for the client once every task of this process has done what it can."""
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked(0.01)
    with trio.move_on_after(0.01) as limit:
        received = await client.receive_some()
        raise AssertionError(received)
    assert limit.cancelled_caught


def said(response: HttpResponse) -> tuple[int, str]:
    return response.status, response.json()["error"]


@KINDS
@pytest.mark.parametrize("slug", ["hook", "early"])
async def test_answer_waits_for_the_verdict(gateway: Gateway, service: GuardService, stream: bool, slug: str) -> None:
    async with asking(gateway, slug, stream=stream) as client:
        await service.wait_asked()
        await wait_provider(gateway)
        await receive_nothing(client)
        open_gate(service)
        response = await read_response(client)

    assert 200 == response.status
    assert ["Hello there"] == service.asked[0].body["texts"]


async def test_head_may_go_out_after_the_verdict(gateway: Gateway, service: GuardService) -> None:
    gateway.simulator.behave("sim", "fault=stall")
    async with asking(gateway, "early", stream=True) as client:
        await wait_provider(gateway)
        await receive_nothing(client)
        open_gate(service)
        received = await client.receive_some()

    assert b"HTTP/1.1 200" == received[:12]


@KINDS
async def test_block_cancels_the_call(gateway: Gateway, service: GuardService, stream: bool) -> None:
    gateway.simulator.behave("sim", "fault=stall")
    service.decide = block("not this")
    async with asking(gateway, "hook", stream=stream) as client:
        await wait_provider(gateway)
        open_gate(service)
        response = await read_response(client)
        await wait_closed_early(gateway)
    await gateway.stop()

    assert (422, "Request blocked: not this") == said(response)
    (row,) = gateway.log_rows()
    # What the provider may charge for a call that was cut.
    assert (422, INPUT) == (row["status"], row["cost_nano_usd"] / NANO)


async def test_block_ends_a_stream_that_has_begun(gateway: Gateway, service: GuardService) -> None:
    gateway.simulator.behave("sim", "tokens=40&pace=60s")
    service.decide = block("not this")
    async with asking(gateway, "hook", stream=True) as client:
        await wait_provider(gateway)
        await receive_nothing(client)
        open_gate(service)
        response = await read_response(client)
        await wait_closed_early(gateway)

    assert (422, "Request blocked: not this") == said(response)


async def test_answer_of_a_refused_request_is_paid(gateway: Gateway, service: GuardService) -> None:
    service.decide = block("not this")
    async with asking(gateway, "hook", stream=False) as client:
        await wait_provider(gateway, answered=True)
        await trio.testing.wait_all_tasks_blocked(0.01)
        open_gate(service)
        response = await read_response(client)
    await gateway.stop()

    assert (422, "Request blocked: not this") == said(response)
    (row,) = gateway.log_rows()
    assert row["completion_tokens"] > 0
    assert row["prompt_tokens"] + row["completion_tokens"] == row["cost_nano_usd"] / NANO


@KINDS
async def test_refusal_comes_before_a_failure(gateway: Gateway, service: GuardService, stream: bool) -> None:
    gateway.simulator.behave("sim", "fault=status:500")
    service.decide = block("not this")
    async with asking(gateway, "hook", stream=stream) as client:
        await wait_provider(gateway, answered=True)
        await receive_nothing(client)
        open_gate(service)
        response = await read_response(client)

    assert (422, "Request blocked: not this") == said(response)


@KINDS
async def test_failure_comes_after_the_verdict(gateway: Gateway, service: GuardService, stream: bool) -> None:
    gateway.simulator.behave("sim", "fault=status:500")
    async with asking(gateway, "hook", stream=stream) as client:
        await wait_provider(gateway, answered=True)
        open_gate(service)
        response = await read_response(client)

    assert 502 == response.status


@KINDS
async def test_replacement_comes_too_late(gateway: Gateway, service: GuardService, stream: bool) -> None:
    service.decide = replace("Hello", "Good day")
    open_gate(service)
    async with asking(gateway, "hook", stream=stream) as client:
        response = await read_response(client)

    assert (422, "Request blocked: refused by webhook.") == said(response)


@KINDS
async def test_silent_check_cancels_the_call(gateway: Gateway, service: GuardService, stream: bool) -> None:
    gateway.simulator.behave("sim", "fault=stall")
    async with asking(gateway, "quick", stream=stream) as client:
        response = await read_response(client)
        await wait_closed_early(gateway)
        await service.wait_left(service.asked[0])

    assert (503, "Guardrail unavailable.") == said(response)


@KINDS
async def test_open_check_lets_the_answer_go(gateway: Gateway, service: GuardService, stream: bool) -> None:
    async with asking(gateway, "open", stream=stream) as client:
        response = await read_response(client)

    assert 200 == response.status
    await service.wait_left(service.asked[0])


@KINDS
async def test_deadline_ends_both(gateway: Gateway, service: GuardService, stream: bool) -> None:
    gateway.simulator.behave("sim", "fault=stall")
    async with asking(gateway, "late", stream=stream) as client:
        response = await read_response(client)
        await wait_closed_early(gateway)
        await service.wait_left(service.asked[0])

    assert (504, "Deadline exceeded: no answer within 900 ms.") == said(response)


@KINDS
async def test_deadline_holds_while_only_the_check_runs(gateway: Gateway, service: GuardService, stream: bool) -> None:
    async with asking(gateway, "late", stream=stream) as client:
        response = await read_response(client)
        await service.wait_left(service.asked[0])

    assert 504 == response.status


@KINDS
@pytest.mark.parametrize("behaviour", ["fault=stall", "latency=0"])
async def test_client_that_leaves_cancels_both(
    gateway: Gateway, service: GuardService, stream: bool, behaviour: str
) -> None:
    gateway.simulator.behave("sim", behaviour)
    async with asking(gateway, "hook", stream=stream):
        await service.wait_asked()
        await wait_provider(gateway, answered=behaviour == "latency=0")
    await service.wait_left(service.asked[0])
    if behaviour == "fault=stall":
        await wait_closed_early(gateway)
    await gateway.stop()

    (row,) = gateway.log_rows()
    assert 499 == row["status"]


@KINDS
async def test_both_services_are_asked_at_once(gateway: Gateway, service: GuardService, stream: bool) -> None:
    service.decide = lambda asked: moderate("hate")(asked) if "input" in asked.body else {"action": "allow"}
    async with asking(gateway, "both", stream=stream) as client:
        await service.wait_asked(2)
        open_gate(service)
        response = await read_response(client)

    assert (422, "Request blocked: moderation category 'hate' in input.") == said(response)


@KINDS
async def test_refused_turn_is_not_stored(gateway: Gateway, service: GuardService, stream: bool) -> None:
    open_gate(service)
    first = await gateway.call("talk", {"message": "one"})
    session = first.json()["meta"]["session_id"]
    service.decide = block("not this")
    async with asking(gateway, "talk", stream=stream, session_id=session) as client:
        assert 422 == (await read_response(client)).status
    service.decide = lambda asked: {"action": "allow"}
    await gateway.call("talk", {"message": "three", "session_id": session})

    sent = gateway.simulator.requests[-1].body
    assert isinstance(sent, dict)
    assert ["one", "three"] == [each["content"] for each in sent["messages"] if each["role"] == "user"]


async def test_vectors_wait_for_the_verdict(gateway: Gateway, service: GuardService) -> None:
    service.decide = block("not this")
    with trio.fail_after(LIMIT_S):
        client = await trio.open_tcp_stream("127.0.0.1", gateway.port)
        async with client:
            body = {"model": "vectors", "input": ["one", "two", "one"]}
            await client.send_all(post(f"/api/{PROJECT}/v1/embeddings", body, bearer(gateway.token)))
            await wait_provider(gateway, answered=True)
            await receive_nothing(client)
            open_gate(service)
            response = await read_response(client)

    assert (422, "Request blocked: not this") == (response.status, response.json()["error"]["message"])
    assert ["one", "two"] == service.asked[0].body["texts"]
