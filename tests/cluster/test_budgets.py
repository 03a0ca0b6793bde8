"""Budgets in PostgreSQL beyond the contract: several nodes, leases ahead, cancelled and lost calls, dead nodes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.node import Node
from pg_trio.cluster.postgres import leased_spend
from pg_trio.cluster.postgres.lease_account import ReturnedLease
from pg_trio.cluster.postgres.lease_term import LeaseTerm
from pg_trio.cluster.postgres.leased_spend import IDLE_S, LeasedSpend
from pg_trio.cluster.postgres.schema import MigrationStep, migrate_schema, read_steps
from pg_trio.cluster.postgres.silent_holders import SilentHolders
from pg_trio.cluster.postgres.trio_connection import TrioConnection
from pg_trio.config.settings import GatewaySettings, Settings
from pg_trio.domain.client_grant import holder_key
from pg_trio.errors import Overloaded, StoreError
from pg_trio.ledger.immediate import ImmediateBuckets, ImmediateLeases
from pg_trio.ledger.protocols import MUST_WAIT, HolderBooks
from pg_trio.stages.budget import month_of
from pg_trio.stores.cluster_holders import ACCOUNTS, HolderBudgets
from pg_trio.stores.holder_file import FILE_NAME, HolderFile, HolderParts
from tests.cluster.waiting import wait_for
from tests.support.engine_relay import engine_relay
from tests.support.engines import PostgresServer
from tests.support.postgres_ledger import PostgresLedger, migrated_pool, open_postgres_ledger
from tests.support.processes import PROCESS_LIMIT_S

KEY, MONTH = bytes(16), 24_000
HOLDER = holder_key(1, "s:ada")
Opened = Callable[..., Awaitable[PostgresLedger]]


@pytest.fixture
async def open_node(nursery: trio.Nursery, postgres_url: str, stack: ExitStack, tmp_path: Path) -> Opened:
    async def open_one(name: str = "gw-1", *, url: str = postgres_url, limit_s: float = 10.0) -> PostgresLedger:
        return await open_postgres_ledger(nursery, url, stack, tmp_path, name=name, limit_s=limit_s)

    return open_one


@pytest.fixture
def leased(postgres_server: PostgresServer, postgres_url: str) -> Callable[[], str]:
    """The ledger's row: leased, and settled and granted of all holders."""
    query = (
        "SELECT b.leased, sum(l.settled), sum(l.granted) FROM pgtrio.budgets b JOIN pgtrio.budget_leases l"
        " USING (endpoint, month) GROUP BY b.leased"
    )
    return lambda: postgres_server.query(query, postgres_url)


async def spend_all(ledger: PostgresLedger, tries: int, amount: int, budget: int, spent: int) -> int:
    """How many of so many requests were admitted and settled."""
    admitted = 0
    for _ in range(tries):
        stood = ledger.spend.reserve_nowait(KEY, MONTH, amount, budget)
        if stood is MUST_WAIT:
            stood = await ledger.spend.reserve(KEY, MONTH, amount, budget)
        if stood is None:
            admitted += 1
            await trio.lowlevel.checkpoint()
            ledger.spend.settle_nowait(KEY, MONTH, amount, spent)
    return admitted


async def test_nodes_share_one_budget(open_node: Opened, leased: Callable[[], str]) -> None:
    nodes = [await open_node(f"gw-{number}") for number in range(3)]
    workers = [*nodes, await open_node("gw-0")]
    admitted = []

    async def run(worker: PostgresLedger) -> None:
        admitted.append(await spend_all(worker, 400, 10, 10_000, 10))

    async with trio.open_nursery() as nursery:
        for worker in workers:
            nursery.start_soon(run, worker)
    for worker in workers:
        await worker.spend.tell()

    # 1,600 tries of 10 against 10,000. What nodes leased ahead and did not spend is the only loss: 1 % each at most.
    assert 1000 * 0.96 <= sum(admitted) <= 1000
    assert int(leased().split("|")[1]) == sum(admitted) * 10
    assert int(leased().split("|")[0]) <= 10_000


async def test_unspent_leases_go_back(open_node: Opened, leased: Callable[[], str]) -> None:
    ledger = await open_node()
    await spend_all(ledger, 3, 100, 1_000_000, 70)

    await wait_for(lambda: leased() == "210|210|210")

    assert await ledger.spend.reserve(KEY, MONTH, 1_000_000 - 210, 1_000_000) is None


async def test_reserved_money_does_not_go_back(open_node: Opened, leased: Callable[[], str]) -> None:
    ledger = await open_node()
    ledger.spend.term.clock = lambda: trio.current_time() + clock[0]
    clock = [0.0]
    await ledger.spend.reserve(KEY, MONTH, 100, 1_000_000)
    await ledger.spend.tell()
    clock[0] = IDLE_S + 1

    await ledger.spend.tell()

    await wait_for(lambda: leased() == "100|0|100")
    ledger.spend.settle_nowait(KEY, MONTH, 100, 80)
    await ledger.spend.tell()
    assert "80|80" == "|".join(leased().split("|")[1:]) or "100|80|100" == leased()


async def test_hot_budget_seldom_asks(open_node: Opened, postgres_server: PostgresServer, postgres_url: str) -> None:
    ledger = await open_node()

    assert 2000 == await spend_all(ledger, 2000, 10, 1_000_000, 10)

    # A hundredth of the budget is a thousand requests; the first ones wait for the first lease.
    count = postgres_server.query("SELECT count(*) FROM pgtrio.budget_lease_ids", postgres_url)
    assert 1 <= int(count) <= 10


async def test_spend_of_other_nodes_is_told(open_node: Opened) -> None:
    first, second = await open_node("gw-1"), await open_node("gw-2")
    await spend_all(first, 1, 600, 1000, 500)
    await first.spend.reserve(KEY, MONTH, 300, 1000)
    await first.spend.tell()

    assert (500, 300) == await second.spend.reserve(KEY, MONTH, 300, 1000)
    assert (500, 300) == await second.spend.reserve(KEY, MONTH, 1, 0)


async def test_months_are_apart(open_node: Opened) -> None:
    ledger = await open_node()
    await ledger.spend.reserve(KEY, MONTH, 1000, 1000)

    assert await ledger.spend.reserve(KEY, MONTH + 1, 1000, 1000) is None


# ── cancelled and lost ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_cancelled_reserve_leases_nothing_for_good(
    open_node: Opened, postgres_url: str, leased: Callable[[], str]
) -> None:
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    async with engine_relay(port) as relay:
        ledger = await open_node(url=postgres_url.replace(f":{port}/", f":{relay.port}/"))
        await ledger.spend.tell()
        relay.replies.close()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.spend.reserve, KEY, MONTH, 40, 100)
            await relay.replies.wait_held()
            await wait_for(lambda: leased() == "40|0|40")
            nursery.cancel_scope.cancel()
        relay.replies.open()

        # The lease has an id, so it is found again: for the next request, or to go back.
        assert await ledger.spend.reserve(KEY, MONTH, 40, 100) is None

    assert "40|0|40" == leased()


async def test_return_whose_answer_was_lost_is_counted_once(
    open_node: Opened, postgres_url: str, leased: Callable[[], str]
) -> None:
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    async with engine_relay(port) as relay:
        ledger = await open_node(url=postgres_url.replace(f":{port}/", f":{relay.port}/"))
        other = await open_node("gw-2")
        await other.spend.reserve(KEY, MONTH, 500, 1000)
        await spend_all(ledger, 1, 300, 1000, 100)
        account = ledger.spend._account(KEY, MONTH)
        account.returning = ReturnedLease(ledger.spend._take_out_unspent(account))
        relay.replies.close()
        async with trio.open_nursery() as telling:
            telling.start_soon(ledger.spend._report, [account])
            # 200 go back, and the answer is lost.
            await wait_for(lambda: leased().split("|")[0] == "600")
            telling.cancel_scope.cancel()
        relay.replies.open()
        relay.cut()
        await wait_for(lambda: ledger.pool.is_up)
        await ledger.spend.tell()

        assert "600" == leased().split("|")[0]
        assert ledger.spend.reserve_nowait(KEY, MONTH, 1, 1000) is MUST_WAIT
        assert await ledger.spend.reserve(KEY, MONTH, 400, 1000) is None
        assert await other.spend.reserve(KEY, MONTH, 1, 1000) is not None


async def test_unspent_lease_goes_on_while_postgres_is_away(open_node: Opened, postgres_url: str) -> None:
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    async with engine_relay(port) as relay:
        ledger = await open_node(url=postgres_url.replace(f":{port}/", f":{relay.port}/"), limit_s=1.0)
        await spend_all(ledger, 1, 10, 100_000, 10)
        relay.accepts = False
        relay.cut()
        with pytest.raises(EngineAway):
            await ledger.spend.tell()

        within = ledger.spend.reserve_nowait(KEY, MONTH, 900, 100_000)
        beyond = ledger.spend.reserve_nowait(KEY, MONTH, 900, 100_000)
        with pytest.raises(Overloaded) as refused:
            await ledger.spend.reserve(KEY, MONTH, 900, 100_000)

    assert (None, MUST_WAIT) == (within, beyond)
    assert {"Retry-After": "1"} == refused.value.headers()


# ── nodes that die ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_silent_holder_loses_what_it_has_not_spent(
    open_node: Opened, postgres_server: PostgresServer, postgres_url: str, leased: Callable[[], str]
) -> None:
    dead, alive = await open_node("gw-1"), await open_node("gw-2")
    await spend_all(dead, 1, 400, 1000, 100)
    await dead.spend.reserve(KEY, MONTH, 500, 1000)
    await dead.spend.tell()
    postgres_server.query(
        "UPDATE pgtrio.holders SET seen_at = now() - interval '2 hours' WHERE node = 'gw-1'", postgres_url
    )

    assert "1" == postgres_server.query("SELECT pgtrio.reap_budgets(interval '1 hour', '{}')", postgres_url)
    assert "100|100|100" == leased()
    assert await alive.spend.reserve(KEY, MONTH, 900, 1000) is None

    # It was not dead: what it settles counts, and it has no lease any more.
    dead.spend.settle_nowait(KEY, MONTH, 500, 450)
    await dead.spend.tell()
    assert int(leased().split("|")[0]) == 550 + 900
    assert MUST_WAIT is dead.spend.reserve_nowait(KEY, MONTH, 1, 10_000)


async def test_outage_is_not_the_silence_of_a_node(
    open_node: Opened, postgres_server: PostgresServer, postgres_url: str, leased: Callable[[], str]
) -> None:
    spender, reaper = await open_node("gw-1"), await open_node("gw-2")
    clock = [0.0]
    term = reaper.spend.term = LeaseTerm(reaper.node, 60.0, 30.0, clock=lambda: clock[0])
    silent = SilentHolders(reaper.pool, term)
    await spender.spend.reserve(KEY, MONTH, 500, 1000)
    await reaper.spend.tell()
    # PostgreSQL was away for two hours: nobody could be seen.
    postgres_server.query("UPDATE pgtrio.holders SET seen_at = now() - interval '2 hours'", postgres_url)
    term._heard_since = clock[0] = 7200.0

    assert 0 == await silent.reap()
    assert "500" == leased().split("|")[0]
    # A node that is still silent after that is dead.
    term.silent_s = 0.0
    assert 1 == await silent.reap()
    assert "0" == leased().split("|")[0]


async def test_node_that_starts_again_goes_on(open_node: Opened, leased: Callable[[], str]) -> None:
    first = await open_node("gw-1")
    await spend_all(first, 1, 400, 1000, 100)
    second = await open_node("gw-1")

    # The lease of the first worker is there.
    assert await second.spend.reserve(KEY, MONTH, 300, 1000) is None
    assert "400" == leased().split("|")[0]


async def test_leases_of_former_workers_go_back(open_node: Opened, leased: Callable[[], str]) -> None:
    first = await open_node("gw-1")
    await first.spend.reserve(KEY, MONTH, 400, 1000)
    first.spend.settle_nowait(KEY, MONTH, 400, 100)
    first.spend._accounts.clear()

    second = await open_node("gw-1")
    await second.spend.adopt()

    await wait_for(lambda: leased() == "100|100|100")


async def test_lease_of_a_killed_worker_is_found(
    open_node: Opened, postgres_server: PostgresServer, postgres_url: str, leased: Callable[[], str]
) -> None:
    ledger, other = await open_node("gw-1"), await open_node("gw-1")
    await spend_all(ledger, 1, 100, 1000, 100)
    # A worker was granted 50 and 40, and was killed before it counted the second.
    lend = "SELECT lent FROM pgtrio.lease_budget('\\x{}', {}, '{}', gen_random_uuid(), gen_random_uuid(), {}, 1000)"
    for amount in (50, 40):
        query = lend.format(KEY.hex(), MONTH, ledger.spend.holder.id, amount)
        assert str(amount) == postgres_server.query(query, postgres_url)
    ledger.spend.granted.add(KEY, MONTH, 50)

    ledger.spend.granted.mark(KEY, MONTH)
    while_marked = await other.spend.mend()
    ledger.spend.granted.settle(KEY, MONTH, 0)
    found = [0, 0]

    async def mend(place: int, worker: PostgresLedger) -> None:
        found[place] = await worker.spend.mend()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(mend, 0, ledger)
        nursery.start_soon(mend, 1, other)
    again = await ledger.spend.mend()

    assert (0, 1, 0) == (while_marked, sum(found), again)
    assert 190 == ledger.spend.granted.read(KEY, MONTH)
    await wait_for(lambda: leased() == "100|100|100")


# Another worker of gw-1, in a process of its own.
RESERVE = """
import sys, trio
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tests.support.postgres_ledger import open_postgres_ledger

async def main(url, folder, key, month):
    async with trio.open_nursery() as nursery:
        with ExitStack() as stack:
            ledger = await open_postgres_ledger(nursery, url, stack, Path(folder), name="gw-1")
            # So that there is a connection.
            await ledger.spend.tell()
            print("opened", flush=True)
            sys.stdin.readline()
            await ledger.spend.reserve(bytes.fromhex(key), int(month), 40, 100)

trio.run(main, *sys.argv[1:])
"""


async def test_worker_is_killed_between_grant_and_count(
    open_node: Opened, postgres_url: str, tmp_path: Path, leased: Callable[[], str]
) -> None:
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    survivor = await open_node("gw-1")
    async with engine_relay(port) as relay:
        url = postgres_url.replace(f":{port}/", f":{relay.port}/")
        command = [sys.executable, "-c", RESERVE, url, str(tmp_path), KEY.hex(), str(MONTH)]
        root = Path(__file__).parents[2]
        worker = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root)
        assert worker.stdin is not None
        assert worker.stdout is not None
        async with worker.stdin, worker.stdout:
            try:
                with trio.fail_after(PROCESS_LIMIT_S):
                    assert b"opened" == (await worker.stdout.receive_some()).strip()
                    relay.replies.close()
                    await worker.stdin.send_all(b"\n")
                    await wait_for(lambda: leased() == "40|0|40")
                    before = await survivor.spend.mend()
            finally:
                worker.kill()
                with trio.CancelScope(shield=True):
                    await worker.wait()

    # As a gateway does every second.
    await wait_for(lambda: survivor.shared.reap() > 0)
    assert (0, 1) == (before, await survivor.spend.mend())
    assert survivor.spend.reserve_nowait(KEY, MONTH, 40, 100) is None


async def test_return_of_a_killed_worker_is_found(open_node: Opened, leased: Callable[[], str]) -> None:
    dead, alive = await open_node("gw-1"), await open_node("gw-1")
    await spend_all(dead, 1, 100, 1000, 60)
    # Out of memory, and then it was killed.
    dead.spend._take_out_unspent(dead.spend._account(KEY, MONTH))
    dead.spend._accounts.clear()
    dead.spend.granted.settle(KEY, MONTH, 0)

    assert 1 == await alive.spend.mend()
    await wait_for(lambda: leased() == "60|60|60")


async def test_many_budgets_are_told_at_once(
    open_node: Opened, postgres_server: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leased_spend, "TOLD_AT_ONCE", 25)
    # But for the first time, it is told by the test alone.
    monkeypatch.setattr(leased_spend, "TELL_S", 3600.0)
    ledger = await open_node()
    await wait_for(lambda: ledger.spend.term._heard_since is not None)
    keys = [number.to_bytes(16, "big") for number in range(1, 61)]
    for key in keys:
        assert await ledger.spend.reserve(key, MONTH, 100, 1000) is None
        ledger.spend.settle_nowait(key, MONTH, 100, 70)
    asked: list[str] = []
    use = ledger.pool.use

    async def count(*arguments: Any) -> Any:
        asked.append("statement")
        return await use(*arguments)

    monkeypatch.setattr(type(ledger.pool), "use", lambda pool, *arguments: count(*arguments))
    await ledger.spend.tell()

    # And one that says that this node lives.
    assert 4 == len(asked)
    told = "SELECT count(*), sum(settled) FROM pgtrio.budget_leases WHERE settled = 70"
    assert "60|4200" == postgres_server.query(told, postgres_url)


# ── the tables ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nodes_that_start_at_once_migrate_once(postgres_server: PostgresServer, postgres_url: str) -> None:
    async with trio.open_nursery() as nursery:
        pools: list[object] = []

        async def start() -> None:
            pool = await migrated_pool(nursery, postgres_url)
            pools.append(pool)
            pool.close()

        async with trio.open_nursery() as starting:
            for _ in range(4):
                starting.start_soon(start)
        nursery.cancel_scope.cancel()

    count = postgres_server.query("SELECT count(*) FROM pgtrio.schema_versions", postgres_url)
    assert (4, len(read_steps())) == (len(pools), int(count))


@pytest.mark.parametrize(("ahead", "is_refused"), [(1, False), (2, True)])
async def test_old_release_works_one_step_behind(postgres_url: str, ahead: int, is_refused: bool) -> None:
    steps = read_steps()
    newer = [MigrationStep(steps[-1].number + one, f"next_{one}", "SELECT 1") for one in range(1, ahead + 1)]
    connection = await TrioConnection.open(postgres_url)
    try:
        assert [step.name for step in [*steps, *newer]] == await migrate_schema(connection, [*steps, *newer])
        if is_refused:
            with pytest.raises(StoreError, match="run the newer release"):
                await migrate_schema(connection, steps)
        else:
            assert [] == await migrate_schema(connection, steps)
    finally:
        connection.pgconn.finish()


async def test_failed_step_changes_nothing(postgres_server: PostgresServer, postgres_url: str) -> None:
    broken = MigrationStep(1, "001_broken", "CREATE TABLE pgtrio.half (n int); SELECT * FROM missing")
    connection = await TrioConnection.open(postgres_url)
    try:
        with pytest.raises(Exception, match="missing"):
            await migrate_schema(connection, [broken])
    finally:
        connection.pgconn.finish()

    tables = postgres_server.query("SELECT count(*) FROM pg_tables WHERE tablename = 'half'", postgres_url)
    assert "0" == tables


async def test_old_budgets_of_client_tokens_are_forgotten(
    open_node: Opened, postgres_server: PostgresServer, postgres_url: str
) -> None:
    ledger, this_month = await open_node(), month_of(time.time())
    kept = [(KEY, MONTH), (HOLDER, this_month), (HOLDER, this_month - 1)]
    for key, month in [*kept, (HOLDER, this_month - 2), (HOLDER, MONTH)]:
        assert await ledger.spend.reserve(key, month, 1, 100) is None
        ledger.spend.settle_nowait(key, month, 1, 1)
    await ledger.spend.tell()

    forgotten = postgres_server.query("SELECT pgtrio.forget_client_budgets()", postgres_url)

    assert "2" == forgotten
    for table in ("budgets", "budget_leases", "budget_lease_ids"):
        assert "3" == postgres_server.query(f"SELECT count(*) FROM pgtrio.{table}", postgres_url)
    # A report of a forgotten month changes nothing.
    await ledger.spend.tell()


async def test_holders_go_on_in_another_file(nursery: trio.Nursery, postgres_url: str, tmp_path: Path) -> None:
    pool = await migrated_pool(nursery, postgres_url)
    budgets = HolderBudgets(pool, partial(LeaseTerm, Node("gw-1", "id of gw-1"), 3600.0, 1800.0))
    leased: list[LeasedSpend] = []

    def join(parts: HolderParts) -> HolderBooks:
        leased.append(budgets.start(parts))
        leases = ImmediateLeases(parts.leases)
        return HolderBooks(ImmediateBuckets(parts.buckets), leased[0], leases, parts.has_room)

    settings = evolve(Settings(), gateway=GatewaySettings(data_dir=tmp_path))
    file = HolderFile(settings, None, join, ACCOUNTS)
    for task in (file.watch, budgets.run):
        nursery.start_soon(task)
    spend = (await file.open()).spend
    assert await spend.reserve(HOLDER, MONTH, 40, 100) is None
    await spend.settle(HOLDER, MONTH, 40, 40)
    await leased[0].tell()
    before = leased[0].holder

    (tmp_path / FILE_NAME).unlink()
    await wait_for(lambda: leased[0].holder != before)

    assert (40, 0) == await spend.reserve(HOLDER, MONTH, 61, 100)
    assert await spend.reserve(HOLDER, MONTH, 60, 100) is None
    await spend.settle(HOLDER, MONTH, 60, 60)
    await budgets.aclose()
    file.close()
    pool.close()
