"""Prices from the outside: what each candidate that was asked costs, in the row, and which price that was."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.support.gateway import Gateway, endpoint, project, start_gateway


def price(model: str, given: int, answered: int) -> str:
    """A price of so many dollars a token: 10**9 of the log's units."""
    return "\n".join(
        [
            "[[prices]]",
            'provider = "openai"',
            f'model = "{model}"',
            f"input_usd_per_1m = {given * 100_000}",
            f"output_usd_per_1m = {answered * 100_000}",
        ]
    )


TWO = {"failover": [{"credential": "sim", "model": "second"}], "streaming_enabled": True}
BUDGET = {"monthly_budget_usd": "1000000", "max_output_tokens": 200}
CONFIGURATION = "\n".join(
    [
        price("first", 1, 2),
        price("second", 3, 5),
        project(),
        endpoint("alone", "first", streaming_enabled=True, **BUDGET),
        endpoint("hedged", "first", hedge_after_ms=0, **BUDGET, **TWO),
        endpoint("carried", "first", on_stream_failure="restart", **BUDGET, **TWO),
        endpoint("flat", "other", estimated_cost_per_1k_tokens_usd="100"),
        endpoint("unknown", "other"),
    ]
)
# "Hello there" is 11 characters.
INPUT = 3
# A tenth of a dollar a token, in the log's units.
UNIT = 10**8


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    started = await start_gateway(nursery, tmp_path, CONFIGURATION)
    for model in ("first", "second", "other"):
        started.simulator.behave(model, "usage=7:11")
    return started


async def row_of(gateway: Gateway, slug: str, *, stream: bool) -> dict[str, object]:
    answer = await gateway.call(slug, {"message": "Hello there", "stream": stream})
    await gateway.stop()
    assert 200 == answer.status
    (row,) = gateway.log_rows()
    return row


@pytest.mark.parametrize("stream", [False, True])
async def test_row_says_what_it_cost_and_at_which_price(gateway: Gateway, stream: bool) -> None:
    row = await row_of(gateway, "alone", stream=stream)

    assert ((7 * 1 + 11 * 2) * UNIT, "prices[0]") == (row["cost_nano_usd"], row["price"])


@pytest.mark.parametrize(("slug", "cost", "source"), [("flat", 18 * UNIT, "endpoint"), ("unknown", None, None)])
async def test_other_prices(gateway: Gateway, slug: str, cost: int | None, source: str | None) -> None:
    row = await row_of(gateway, slug, stream=False)

    assert (cost, source) == (row["cost_nano_usd"], row["price"])


@pytest.mark.parametrize("stream", [False, True])
async def test_lost_hedge_costs_its_own_price(gateway: Gateway, stream: bool) -> None:
    gateway.simulator.behave("first", "fault=stall")

    row = await row_of(gateway, "hedged", stream=stream)

    assert ((INPUT * 1 + 7 * 3 + 11 * 5) * UNIT, "prices[1]") == (row["cost_nano_usd"], row["price"])


async def test_each_stream_that_was_relayed_costs_its_own_price(gateway: Gateway) -> None:
    gateway.simulator.behave("first", "content=12345678&tokens=9&fault=cut:1")

    row = await row_of(gateway, "carried", stream=True)

    # Of the first came eight characters, and no count.
    assert ((INPUT * 1 + 2 * 2 + 7 * 3 + 11 * 5) * UNIT, "prices[1]") == (row["cost_nano_usd"], row["price"])
