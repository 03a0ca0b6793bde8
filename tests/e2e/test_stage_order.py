"""A request that would fail two stages fails the earlier one, and pays for no later one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import bearer, post, send_raw

EMAIL = "Write to jane.doe@example.com"
SCHEMA = {"type": "object", "required": ["n"]}
BLOCK_PII = {"pii_filter": {"enabled": True, "mode": "block"}}
# Fits one request with a short message exactly: 250 output tokens and at most 50 of input, at 0.01 a token.
ONE_REQUEST: dict[str, Any] = {
    "monthly_budget_usd": "3.40",
    "estimated_cost_per_1k_tokens_usd": "10",
    "max_output_tokens": 250,
}

CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("once", rate_limit_per_minute=1),
        endpoint(
            "limited-poor", rate_limit_per_minute=1, monthly_budget_usd="0.001", estimated_cost_per_1k_tokens_usd="1"
        ),
        endpoint("capped-guarded", usage_hard_limit_tokens=5, guardrails=BLOCK_PII),
        endpoint("guarded-schema", guardrails=BLOCK_PII, input_schema=SCHEMA),
        endpoint("schema-down", input_schema=SCHEMA),
        endpoint("down-output", output_schema=SCHEMA),
        endpoint("guarded-budget", guardrails=BLOCK_PII, **ONE_REQUEST),
        endpoint("schema-budget", input_schema=SCHEMA, **ONE_REQUEST),
        endpoint("down-budget", **ONE_REQUEST),
    ]
)


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    started = await start_gateway(nursery, tmp_path, CONFIGURATION)
    for model in ("schema-down", "down-output"):
        started.simulator.behave(model, "fault=status:500")
    return started


def provider_calls(gateway: Gateway) -> int:
    """How many requests reached the provider."""
    return sum(gateway.simulator.counts.values())


async def error_of(gateway: Gateway, slug: str, body: object) -> str:
    response = await gateway.call(slug, body)
    assert response.status != 200
    error: str = response.json()["error"]
    return error


async def test_refused_caller_takes_no_token(gateway: Gateway) -> None:
    refused = [
        await send_raw(gateway.port, post(f"/api/{PROJECT}/once", {"message": "Hi"}, *headers))
        for headers in (
            [],
            [bearer("sk-1")],
            [bearer("pg_live_nobody")],
            [bearer(gateway.make_token(scopes=("models",)))],
        )
    ]

    allowed = await gateway.call("once")

    assert [401, 401, 401, 403] == [response.status for response in refused]
    assert 200 == allowed.status


async def test_malformed_body_takes_no_token(gateway: Gateway) -> None:
    refused = [await gateway.call("once", body) for body in (b"{", b"[]", {}, {"message": 1})]

    allowed = await gateway.call("once")

    assert [400] * 4 == [response.status for response in refused]
    assert 200 == allowed.status


async def test_rate_limit_comes_before_budget(gateway: Gateway) -> None:
    first = await error_of(gateway, "limited-poor", {"message": "Hi"})
    second = await error_of(gateway, "limited-poor", {"message": "Hi"})

    assert first.startswith("Endpoint monthly budget would be exceeded")
    assert "Rate limit exceeded." == second


async def test_budget_comes_before_guardrails(gateway: Gateway) -> None:
    error = await error_of(gateway, "capped-guarded", {"message": EMAIL})

    assert error.startswith("Request exceeds endpoint per-request token limit")


async def test_guardrails_come_before_schema(gateway: Gateway) -> None:
    error = await error_of(gateway, "guarded-schema", {"message": EMAIL})

    assert "Request blocked: E-Mail detected in input." == error


async def test_schema_comes_before_provider(gateway: Gateway) -> None:
    error = await error_of(gateway, "schema-down", {"message": "Hi"})

    assert error.startswith("Validation failed: ")
    assert 0 == provider_calls(gateway)


async def test_provider_comes_before_output_schema(gateway: Gateway) -> None:
    error = await error_of(gateway, "down-output", {"message": "Hi"})

    assert error.startswith("Provider call failed: ")


@pytest.mark.parametrize(
    ("slug", "failing"),
    [
        ("guarded-budget", {"message": EMAIL}),
        ("schema-budget", {"message": "Hi"}),
    ],
)
async def test_failed_request_gives_its_budget_back(gateway: Gateway, slug: str, failing: object) -> None:
    errors = [await error_of(gateway, slug, failing) for _ in range(3)]

    allowed = await gateway.call(slug, {"message": "Hi", "n": 1})

    assert [] == [error for error in errors if "budget" in error]
    assert 200 == allowed.status


async def test_failed_provider_gives_budget_back(gateway: Gateway) -> None:
    gateway.simulator.behave("down-budget", "fault=status:500")
    failed = await error_of(gateway, "down-budget", {"message": "Hi"})

    gateway.simulator.behave("down-budget", "")
    allowed = await gateway.call("down-budget", {"message": "Hi"})

    assert failed.startswith("Provider call failed: ")
    assert 200 == allowed.status


async def test_early_failures_reach_no_provider(gateway: Gateway) -> None:
    for slug, body in [
        ("nope", {"message": "Hi"}),
        ("once", b"{"),
        ("limited-poor", {"message": "Hi"}),
        ("capped-guarded", {"message": EMAIL}),
        ("guarded-schema", {"message": EMAIL}),
    ]:
        await error_of(gateway, slug, body)

    assert 0 == provider_calls(gateway)
