"""Tries that were lost cost money too: their input is settled, in the file and in the row."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.support.gateway import Gateway, endpoint, project, start_gateway

# A dollar a token: 10**9 of the log's units.
PRICED = {
    "monthly_budget_usd": "1000000",
    "estimated_cost_per_1k_tokens_usd": "1000",
    "max_output_tokens": 50,
    "streaming_enabled": True,
}
TWO = {"failover": [{"credential": "sim", "model": "second"}]}
CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("hedged", "silent", hedge_after_ms=0, **PRICED, **TWO),
        endpoint("limited", "silent", attempt_timeout_ms=50, **PRICED, **TWO),
        endpoint("late", "silent", deadline_ms=50, stream_deadline_ms=50, **PRICED),
        endpoint("refused", "down", **PRICED, **TWO),
    ]
)
# "Hello there" is 11 characters.
INPUT = 3
NANO = 10**9


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    started = await start_gateway(nursery, tmp_path, CONFIGURATION)
    started.simulator.behave("silent", "fault=stall")
    started.simulator.behave("down", "fault=status:500")
    return started


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("slug", "lost"), [("hedged", 1), ("limited", 1), ("refused", 0)])
async def test_lost_input_is_added_to_the_usage(gateway: Gateway, slug: str, lost: int, stream: bool) -> None:
    answer = await gateway.call(slug, {"message": "Hello there", "stream": stream})
    await gateway.stop()

    (row,) = gateway.log_rows()
    assert 200 == answer.status
    assert row["prompt_tokens"] + row["completion_tokens"] + lost * INPUT == row["cost_nano_usd"] / NANO


@pytest.mark.parametrize("stream", [False, True])
async def test_failure_costs_what_was_asked(gateway: Gateway, stream: bool) -> None:
    answer = await gateway.call("late", {"message": "Hello there", "stream": stream})
    await gateway.stop()

    (row,) = gateway.log_rows()
    assert (504, INPUT) == (answer.status, row["cost_nano_usd"] / NANO)


async def test_tools_of_a_lost_try_are_charged(gateway: Gateway) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "description": "x" * 4_000}}

    await gateway.call("late", {"message": "Hello there", "tools": [tool]})
    await gateway.stop()

    (row,) = gateway.log_rows()
    assert row["cost_nano_usd"] / NANO > 1_000
