"""Nodes that PostgreSQL does not hear: what they have leased of budgets is never spent twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from pg_trio.cluster.postgres import leased_spend, silent_holders
from pg_trio.cluster.postgres.lease_term import LeaseTerm
from pg_trio.cluster.redis import sightings
from pg_trio.cluster.redis.keys import BEATS
from pg_trio.cluster.redis.sightings import NodeSightings
from pg_trio.errors import Overloaded
from pg_trio.ledger.protocols import MUST_WAIT
from pg_trio.stores import clustered
from tests.cluster.waiting import wait_for
from tests.cluster.world import ClusterWorld, ask
from tests.support.engine_relay import engine_relay
from tests.support.engines import PostgresServer, RedisServer
from tests.support.gateway import Gateway, endpoint, project
from tests.support.postgres_ledger import PostgresLedger, open_postgres_ledger
from tests.support.redis_ledger import open_redis_ledger
from tests.support.wire import HttpResponse

KEY, MONTH = bytes(16), 24_000
Opened = Callable[..., Awaitable[PostgresLedger]]
HOUR_AGO = "UPDATE pgtrio.holders SET seen_at = now() - interval '1 hour' WHERE node = 'gw-1'"
REAP = "SELECT pgtrio.reap_budgets(interval '1 minute', '{{{}}}')"


class Database:
    """The ledger's tables, as an onlooker sees and changes them."""

    def __init__(self, server: PostgresServer, url: str) -> None:
        self._server = server
        self._url = url

    def ask(self, statement: str) -> str:
        return self._server.query(statement, self._url)

    def leased(self) -> int:
        return int(self.ask("SELECT sum(leased) FROM pgtrio.budgets"))


@pytest.fixture
def database(postgres_server: PostgresServer, postgres_url: str) -> Database:
    return Database(postgres_server, postgres_url)


@pytest.fixture
def open_node(
    nursery: trio.Nursery, postgres_url: str, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Opened:
    # But for the first time, it is told by the test alone.
    monkeypatch.setattr(leased_spend, "TELL_S", 3600.0)

    async def open_one(name: str) -> PostgresLedger:
        ledger = await open_postgres_ledger(nursery, postgres_url, stack, tmp_path, name=name)
        await wait_for(lambda: ledger.spend.term._heard_since is not None)
        return ledger

    return open_one


async def lease(ledger: PostgresLedger, amount: int, spent: int, budget: int = 1000) -> None:
    """Lease so much, spend a part of it, and tell so."""
    assert await ledger.spend.reserve(KEY, MONTH, amount, budget) is None
    ledger.spend.settle_nowait(KEY, MONTH, amount, spent)
    await ledger.spend.tell()


# ── what a holder learns ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_holder_learns_of_its_loss_before_it_spends(open_node: Opened, database: Database) -> None:
    silent, other = await open_node(name="gw-1"), await open_node(name="gw-2")
    await lease(silent, 500, 100)
    now = [trio.current_time() + 7200.0]
    silent.spend.term.clock = lambda: now[0]
    database.ask(HOUR_AGO)
    assert "1" == database.ask(REAP.format(""))
    await lease(other, 900, 900)

    at_once = silent.spend.reserve_nowait(KEY, MONTH, 1, 1000)
    later = await silent.spend.reserve(KEY, MONTH, 1, 1000)

    assert (MUST_WAIT, (1000, 0)) == (at_once, later)
    assert 1000 == database.leased()


async def test_loss_is_known_with_the_next_sign_of_life(open_node: Opened, database: Database) -> None:
    # As if PostgreSQL's clock had been set forward: the holder was never silent.
    ledger = await open_node(name="gw-1")
    await lease(ledger, 500, 100)
    database.ask(HOUR_AGO + ";" + REAP.format(""))

    await ledger.spend.tell()

    assert (100, 100) == (ledger.spend.granted.read(KEY, MONTH), database.leased())
    assert MUST_WAIT is ledger.spend.reserve_nowait(KEY, MONTH, 1, 1000)


async def test_loss_counts_once_for_all_workers(open_node: Opened, database: Database) -> None:
    workers = [await open_node(name="gw-1") for _ in range(3)]
    await lease(workers[0], 500, 100)
    database.ask(HOUR_AGO + ";" + REAP.format(""))

    async with trio.open_nursery() as nursery:
        for worker in workers:
            nursery.start_soon(worker.spend.renew)

    assert 100 == workers[0].spend.granted.read(KEY, MONTH)


async def test_worker_that_never_reached_postgres_spends_nothing(
    open_node: Opened, postgres_url: str, nursery: trio.Nursery, stack: ExitStack, tmp_path: Path
) -> None:
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    former = await open_node(name="gw-1")
    await lease(former, 500, 100)
    async with engine_relay(port) as relay:
        url = postgres_url.replace(f":{port}/", f":{relay.port}/")
        late = await open_postgres_ledger(nursery, url, stack, tmp_path, name="gw-1", limit_s=0.5)
        late.spend.term = LeaseTerm(late.node, 3600.0, 1800.0)
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not late.pool.is_up)

        at_once = late.spend.reserve_nowait(KEY, MONTH, 1, 1000)
        with pytest.raises(Overloaded) as refused:
            await late.spend.reserve(KEY, MONTH, 1, 1000)
        late.pool.close()

    assert (MUST_WAIT, {"Retry-After": "1"}) == (at_once, refused.value.headers())


async def test_unheard_holder_refuses_until_it_is_heard(
    open_node: Opened, postgres_url: str, nursery: trio.Nursery, stack: ExitStack, tmp_path: Path
) -> None:
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    async with engine_relay(port) as relay:
        url = postgres_url.replace(f":{port}/", f":{relay.port}/")
        ledger = await open_postgres_ledger(nursery, url, stack, tmp_path, name="gw-1", limit_s=0.5)
        await lease(ledger, 500, 100)
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not ledger.pool.is_up)
        within = ledger.spend.reserve_nowait(KEY, MONTH, 1, 1000)
        passed_s = [1801.0]
        ledger.spend.term.clock = lambda: trio.current_time() + passed_s[0]
        with pytest.raises(Overloaded):
            await ledger.spend.reserve(KEY, MONTH, 1, 1000)
        relay.accepts = True
        await wait_for(lambda: ledger.pool.is_up)

        assert within is None
        assert await ledger.spend.reserve(KEY, MONTH, 1, 1000) is None
        ledger.pool.close()


# ── what is taken back ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "statement", "reaped"),
    [
        ("SELECT 1", REAP.format("id of gw-2"), 1),
        ("SELECT 1", REAP.format("id of gw-1"), 0),
        # The node lives with another file of memory: nobody spends from this one.
        (
            "INSERT INTO pgtrio.holders (holder, node, place, made_at)"
            " SELECT gen_random_uuid(), node, place, now() + interval '1 s' FROM pgtrio.holders",
            REAP.format("id of gw-1"),
            1,
        ),
        ("UPDATE pgtrio.holders SET seen_at = now()", REAP.format(""), 0),
        # The release before this one: it knows nothing of nodes that live, and its holders have no place.
        ("SELECT 1", "SELECT pgtrio.reap_budgets(interval '1 minute')", 0),
        ("UPDATE pgtrio.holders SET place = NULL", "SELECT pgtrio.reap_budgets(interval '1 minute')", 1),
        ("UPDATE pgtrio.holders SET place = NULL", REAP.format("id of gw-1"), 1),
    ],
)
async def test_which_holders_lose_their_leases(
    open_node: Opened, database: Database, change: str, statement: str, reaped: int
) -> None:
    ledger = await open_node(name="gw-1")
    await lease(ledger, 500, 100)
    # So that it gives no sign of life.
    ledger.pool.close()
    database.ask(HOUR_AGO)
    database.ask(change)

    assert str(reaped) == database.ask(statement)
    assert (100 if reaped else 500) == database.leased()


async def test_sightings_say_which_nodes_live(
    nursery: trio.Nursery, redis: RedisServer, stack: ExitStack, tmp_path: Path
) -> None:
    watcher = await open_redis_ledger(nursery, redis, stack, tmp_path, name="gw-1")
    passed_s = [0.0]
    seen = NodeSightings(watcher.client, lambda: trio.current_time() + passed_s[0])
    async with trio.open_nursery() as others:
        gone = (await open_redis_ledger(others, redis, stack, tmp_path, name="gw-2")).node.id
        others.cancel_scope.cancel()
    # It was silent for a minute and a half by now.
    redis.command("ZINCRBY", BEATS, "-90000", gone)
    told = [seen.living(60.0)]
    await seen.look()
    told.append(seen.living(60.0))
    # Redis has been watched for a minute.
    passed_s[0] = 60.0
    told.append(seen.living(60.0))
    await seen.look()
    told.append(seen.living(60.0))
    # It loses its data.
    redis.command("FLUSHALL")
    await watcher.heartbeat._beat()
    await seen.look()
    told.append(seen.living(60.0))
    passed_s[0] = 120.0
    await seen.look()
    told.append(seen.living(60.0))

    assert [None, None, None, [watcher.node.id], None, [watcher.node.id]] == told


# ── whole nodes ──────────────────────────────────────────────────────────────────────────────────────────────────────

BUDGET_USD, SMALL, LARGE = 20, "Hello there", "Hello there " * 300
CONFIGURATION = project() + endpoint(
    "budgeted",
    monthly_budget_usd=BUDGET_USD,
    estimated_cost_per_1k_tokens_usd=1,
    max_output_tokens=10,
    deadline_ms=1000,
    stream_deadline_ms=1000,
)
SPEND_ALONE_S, MARGIN_S = 2.0, 1.0
SILENT_S = SPEND_ALONE_S + MARGIN_S + 1.0
SPENT = "SELECT coalesce(sum(cost_nano_usd), 0) FROM pgtrio.gateway_logs"
TOLD = "SELECT count(*) FROM pgtrio.budget_leases WHERE settled > 0"
TAKEN_BACK = "SELECT sum(losses) FROM pgtrio.holders"
LEASED = "SELECT coalesce(sum(leased), 0) FROM pgtrio.budgets"


@pytest.fixture
def small_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustered, "SPEND_ALONE_S", SPEND_ALONE_S)
    monkeypatch.setattr(clustered, "SILENT_MARGIN_S", MARGIN_S)
    monkeypatch.setattr("pg_trio.cluster.node.BREAK_S", SPEND_ALONE_S)
    monkeypatch.setattr(silent_holders, "REAP_EVERY_S", 0.2)
    monkeypatch.setattr(sightings, "LOOK_EVERY_S", 0.2)


async def spend(node: Gateway, token: str, message: str, statuses: set[int]) -> HttpResponse:
    """Calls of a node, one after the other, until one of these statuses."""
    with trio.fail_after(60):
        while (answer := await ask(node, token, "budgeted", {"message": message})).status not in statuses:
            assert answer.status in (200, 503), answer.body
            # Until it has found out that PostgreSQL is back.
            await trio.sleep(0.0 if answer.status == 200 else 0.05)
    return answer


@pytest.mark.slow
@pytest.mark.usefixtures("small_times")
async def test_node_cut_off_from_postgres_alone(
    nursery: trio.Nursery, tmp_path: Path, redis: RedisServer, postgres_server: PostgresServer, postgres_url: str
) -> None:
    world = ClusterWorld(nursery, tmp_path, redis, postgres_server, postgres_url)
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    async with engine_relay(port) as relay:
        url = postgres_url.replace(f":{port}/", f":{relay.port}/")
        (other,) = await world.start(CONFIGURATION, 1)
        token = world.make_token()
        other, cut = await world.start(CONFIGURATION, 1, postgres_url=url, postgres_ms=500)
        for node in (other, cut):
            assert 200 == (await ask(node, token, "budgeted")).status
        relay.accepts = False
        relay.cut()

        # Inside its lease it goes on, for longer than others would wait for a dead node.
        alone = [(await ask(cut, token, "budgeted")).status]
        await trio.sleep(2 * SILENT_S)
        alone.append((await ask(cut, token, "budgeted")).status)
        used_up = await spend(cut, token, SMALL, {503})
        for message in (LARGE, SMALL):
            await spend(other, token, message, {422, 503})
        relay.accepts = True
        back = await spend(cut, token, SMALL, {422})
        await world.stop()

    spent, leased = (int(postgres_server.query(query, postgres_url)) for query in (SPENT, LEASED))
    assert ([200, 200], "1", 422) == (alone, used_up.headers.get("retry-after"), back.status)
    assert spent == leased
    assert 0.99 * BUDGET_USD <= spent / 1e9 <= BUDGET_USD


@pytest.mark.slow
@pytest.mark.usefixtures("small_times")
async def test_node_that_no_engine_hears_stops_to_spend(
    nursery: trio.Nursery, tmp_path: Path, redis: RedisServer, postgres_server: PostgresServer, postgres_url: str
) -> None:
    world = ClusterWorld(nursery, tmp_path, redis, postgres_server, postgres_url)
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    async with engine_relay(port) as relay, engine_relay(redis.port) as redis_relay:
        url = postgres_url.replace(f":{port}/", f":{relay.port}/")
        (other,) = await world.start(CONFIGURATION, 1)
        other, cut = await world.start(CONFIGURATION, 1, postgres_url=url, postgres_ms=500, redis_port=redis_relay.port)
        token = world.make_token()
        for node in (other, cut):
            assert 200 == (await ask(node, token, "budgeted")).status
        # It has told what it has settled.
        await wait_for(lambda: int(postgres_server.query(TOLD, postgres_url)) == 2)
        for one in (relay, redis_relay):
            one.accepts = False
            one.cut()

        # It leaves its lease as it is, and others take it back.
        await trio.sleep(SPEND_ALONE_S)
        refused = await ask(cut, token, "budgeted")
        await wait_for(lambda: int(postgres_server.query(TAKEN_BACK, postgres_url)) == 1)
        for message in (LARGE, SMALL):
            await spend(other, token, message, {422, 503})
        relay.accepts = redis_relay.accepts = True
        back = await spend(cut, token, SMALL, {422})
        await world.stop()

    spent, leased = (int(postgres_server.query(query, postgres_url)) for query in (SPENT, LEASED))
    assert (503, "1", 422) == (refused.status, refused.headers.get("retry-after"), back.status)
    assert spent == leased
    assert 0.99 * BUDGET_USD <= spent / 1e9 <= BUDGET_USD
