"""Another ledger, added in one file (tests/support/toy_ledger.py): a gateway uses it for every limit, waits for each of
its steps, and leaves nothing in it that a request had set aside."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from pg_trio.domain.project import TokenLimits
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.processes import wait_until
from tests.support.toy_ledger import ToyEngine, ToyHub, toy_engines
from tests.support.wire import HttpResponse, bearer, post, send_raw

CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("narrow", rate_limit_per_minute=1),
        endpoint("poor", monthly_budget_usd=0.2031, estimated_cost_per_1k_tokens_usd=1, max_output_tokens=200),
        endpoint("session", sessions_enabled=True, monthly_budget_usd=25, estimated_cost_per_1k_tokens_usd=1),
        endpoint("sick", max_attempts=1),
        endpoint("stall", streaming_enabled=True, monthly_budget_usd=25, estimated_cost_per_1k_tokens_usd=1),
    ]
)
PATIENCE_S = 10
# The gateway's own token is the first.
TOKEN_PLACES = b"c" + (2).to_bytes(8, "big")


@pytest.fixture
def engine() -> ToyEngine:
    return ToyEngine()


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path, engine: ToyEngine) -> Gateway:
    started = await start_gateway(nursery, tmp_path, CONFIGURATION, engines=toy_engines(engine))
    started.simulator.behave("stall", "fault=stall")
    return started


def reserved_in(engine: ToyEngine) -> int:
    return sum(row[1] for rows in engine.spend.engine._rows.values() for row in rows.values())


async def call(gateway: Gateway, token: str, slug: str) -> HttpResponse:
    return await send_raw(gateway.port, post(f"/api/{PROJECT}/{slug}", {"message": "Hello there"}, bearer(token)))


async def test_limits_are_those_of_the_ledger(gateway: Gateway, engine: ToyEngine) -> None:
    statuses = [(await gateway.call("narrow")).status for _ in range(2)]

    assert [200, 429] == statuses
    assert not (gateway.settings.gateway.data_dir / "shared.mem").exists()


async def test_spend_is_settled_in_the_ledger(gateway: Gateway, engine: ToyEngine) -> None:
    statuses = [(await gateway.call("poor")).status for _ in range(2)]

    # 203 tokens are reserved each time: beside what the first answer has cost, there is no room for the second.
    assert [200, 422] == statuses
    assert 0 == reserved_in(engine)


async def test_sessions_history_is_reserved_there(gateway: Gateway, engine: ToyEngine) -> None:
    first = await gateway.call("session")
    ways = engine.network.ways

    second = await gateway.call("session", {"message": "And?", "session_id": first.json()["meta"]["session_id"]})

    # The first: reserve, settle. The second: the history too.
    assert (200, 4, 6) == (second.status, ways, engine.network.ways - ways)


async def test_tokens_place_comes_back_when_its_client_leaves(gateway: Gateway, engine: ToyEngine) -> None:
    token = gateway.make_token(limits=TokenLimits(max_concurrent=1))
    with trio.move_on_after(PATIENCE_S):
        async with trio.open_nursery() as clients:
            clients.start_soon(call, gateway, token, "stall")
            await wait_until(lambda: bool(gateway.simulator.requests))
            refused = await call(gateway, token, "narrow")
            clients.cancel_scope.cancel()

    await wait_until(lambda: engine.leases.engine.count(TOKEN_PLACES) == 0)
    served = await call(gateway, token, "narrow")

    assert ((429, "token_concurrent"), 200) == ((refused.status, refused.json()["scope"]), served.status)
    assert 0 == reserved_in(engine)


async def test_ledger_is_closed_with_the_gateway(gateway: Gateway, engine: ToyEngine) -> None:
    was_open = engine.is_open

    await gateway.stop()

    assert (True, False) == (was_open, engine.is_open)


# ── breakers of two nodes ────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_one_node_learns_spares_the_other_its_calls(nursery: trio.Nursery, tmp_path: Path) -> None:
    hub = ToyHub()
    engines = [ToyEngine(hub=hub), ToyEngine(hub=hub)]
    nodes = [
        await start_gateway(nursery, tmp_path / str(number), CONFIGURATION, engines=toy_engines(engine))
        for number, engine in enumerate(engines)
    ]
    first, second = nodes
    for node in nodes:
        node.simulator.behave("sick", "fault=status:500")
    # So the second node has records of its own for the candidate.
    met = await second.call("sick")

    failed = [(await first.call("sick")).status for _ in range(3)]
    await wait_until(lambda: engines[1].breakers.heard > 0)
    spared = await second.call("sick")

    assert (502, [502] * 3, 502) == (met.status, failed, spared.status)
    assert (3, 1) == tuple(len(node.simulator.requests) for node in nodes)
    assert "retry-after" in spared.headers
    assert 0 == engines[0].breakers.heard


async def test_call_under_way_waits_for_no_other_node(gateway: Gateway, engine: ToyEngine) -> None:
    """A request to an endpoint without limits goes to the engine and back for nothing."""
    answered = await gateway.call("sick")

    assert (200, 0) == (answered.status, engine.network.ways)
