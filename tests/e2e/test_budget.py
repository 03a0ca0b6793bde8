"""What a budget counts, seen from outside: what the provider is told, and what an answer without usage cost."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.support.gateway import Gateway, endpoint, project, start_gateway

# A dollar a token: 10**9 of the log's units.
PRICED = {"monthly_budget_usd": "1000000", "estimated_cost_per_1k_tokens_usd": "1000"}
CONFIGURATION = "\n".join(
    [
        "[gateway]",
        "default_output_tokens = 77",
        project(),
        endpoint("priced", **PRICED),
        endpoint("brief", **PRICED, max_output_tokens=50),
        endpoint("free"),
    ]
)
NANO = 10**9


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION)


@pytest.mark.parametrize(("slug", "told"), [("priced", 77), ("brief", 50), ("free", None)])
async def test_provider_is_told_what_was_reserved(gateway: Gateway, slug: str, told: int | None) -> None:
    await gateway.call(slug)

    assert told == gateway.simulator.requests[-1].body.get("max_completion_tokens")


@pytest.mark.parametrize(
    ("behaviour", "content", "completion_tokens"),
    [("usage=off", "x" * 80, 20), ('usage=off&tool=look_up:{"city": "Ulm"}', None, 6)],
    ids=["text", "tool call"],
)
async def test_uncounted_answer_is_estimated(
    gateway: Gateway, behaviour: str, content: str | None, completion_tokens: int
) -> None:
    gateway.simulator.behave("priced", behaviour, content=content)

    # "Hello there" is 11 characters.
    answer = await gateway.call("priced")
    await gateway.stop()

    usage = {"prompt_tokens": 3, "completion_tokens": completion_tokens, "total_tokens": 3 + completion_tokens}
    assert {**usage, "estimated": True} == answer.json()["usage"]
    (row,) = gateway.log_rows()
    assert (3 + completion_tokens) * NANO == row["cost_nano_usd"]


async def test_uncounted_answer_to_tools_is_estimated_with_them(gateway: Gateway) -> None:
    gateway.simulator.behave("priced", "usage=off")
    tool = {"type": "function", "function": {"name": "look_up", "description": "x" * 40_000}}

    answer = await gateway.call("priced", {"message": "Hello there", "tools": [tool]})
    await gateway.stop()

    usage = answer.json()["usage"]
    (row,) = gateway.log_rows()
    assert 10_000 < usage["prompt_tokens"] < 10_100
    assert (usage["prompt_tokens"], usage["total_tokens"] * NANO) == (row["prompt_tokens"], row["cost_nano_usd"])
