"""The log of all nodes, as operators see it from any of them."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import trio
from attrs import evolve

from pg_trio.cluster.postgres.log_forwarding import IDS_OF_BATCH
from pg_trio.cluster.postgres.log_plans import GAP_LIMIT_S, SPAN_DAYS, Arrivals, split_days
from pg_trio.cluster.postgres.postgres_log_reader import PostgresLogReader
from pg_trio.cluster.postgres.postgres_operator_admin import PostgresOperatorAdmin
from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.log_row import LogRow
from pg_trio.domain.request_filter import RowChoice, parse_filter
from pg_trio.domain.request_sums import TimeRange
from pg_trio.store.log import LogStore
from pg_trio.store.log_reader import LogFilter
from pg_trio.store.log_spool import LOCK_NAME
from pg_trio.store.sweep_lock import SweepLock
from tests.cluster.waiting import LIMIT_S
from tests.cluster.world import ClusterWorld, ask
from tests.support.gateway import Gateway, Operators, endpoint, project, start_pages
from tests.support.processes import run_command
from tests.support.read_logs import PostgresLog, send_rows, send_to_cluster

DAY_S = 86_400.0
NEW = LogRow(request_id=UUID(int=0), at=0.0, status=200, latency_ms=1.0, endpoint_slug="ask")
ONE_ROW = (
    "INSERT INTO pgtrio.gateway_logs (id, node, request_id, at, status, latency_ms, stages_ms, attempts)"
    " VALUES (%s, 'gw-2', %s, 0, 200, 1, '{}', '[]')"
)
CONFIGURATION = project() + endpoint("ask", log_bodies="full")


# ── statements ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def days(tmp_path: Path, postgres_url: str) -> Iterator[PostgresLog]:
    """A log of 40 days."""
    with closing(PostgresLog(tmp_path, postgres_url)) as log:
        rows = [evolve(NEW, request_id=UUID(int=number), at=number * DAY_S / 50) for number in range(2_000)]
        log.write(rows)
        log.analyze()
        log.queries.clear()
        yield log


@pytest.mark.parametrize(
    "choice",
    [
        RowChoice(),
        RowChoice(parse_filter("status:5xx error:nothing zz")),
        RowChoice(parse_filter("subject:ada")),
        RowChoice(project=UUID(int=5)),
        RowChoice(until=30 * DAY_S),
    ],
)
def test_pages_come_from_an_index(days: PostgresLog, choice: RowChoice) -> None:
    days.page(choice, (35 * DAY_S, 10**9), 10)

    for statement in days.queries[1:]:
        plan = days.explain(statement)
        assert "Seq Scan" not in plan
        # An incremental sort is one of rows of the same time.
        assert "->  Sort" not in plan


def test_one_request_comes_from_an_index(tmp_path: Path, postgres_url: str) -> None:
    with closing(PostgresLog(tmp_path, postgres_url)) as log:
        log.write([evolve(NEW, request_id=UUID(int=number << 64), at=float(number)) for number in range(20_000)])
        log.analyze()
        log.queries.clear()

        log.one(UUID(int=3 << 64))

        assert "gateway_logs_0_request_id_idx" in log.explain(log.queries[1])


def test_only_days_of_the_range_are_read(days: PostgresLog) -> None:
    days.overview(RowChoice(), TimeRange(10.5 * DAY_S, 11.5 * DAY_S, 1.0))
    days.page(RowChoice(since=10.5 * DAY_S, until=11.5 * DAY_S), None, 100)

    plans = "".join(days.explain(statement) for statement in days.queries if "pg_inherits" not in statement[0])
    assert {"10", "11"} == set(re.findall(r"on gateway_logs_(\d+)", plans))


def test_days_are_read_some_at_a_time() -> None:
    spans = list(split_days([*range(100, 0, -1)], 20.5 * DAY_S, 90.0 * DAY_S))

    assert [90 * DAY_S, (90 - SPAN_DAYS) * DAY_S, (90 - 2 * SPAN_DAYS) * DAY_S] == [span.until for span in spans]
    assert 20.5 * DAY_S == spans[-1].since
    assert [] == list(split_days([1, 2], 3 * DAY_S, None))


# ── followers ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_follower_waits_for_a_batch_on_its_way(postgres_url: str, tmp_path: Path) -> None:
    with closing(PostgresLog(tmp_path, postgres_url)) as log, psycopg.connect(postgres_url) as slow:
        log.write([NEW])
        with log.reader() as reader:
            reader.last(LogFilter(), 1)
            number = slow.execute("SELECT nextval('pgtrio.log_batches')").fetchone()
            assert number is not None
            log.write([evolve(NEW, request_id=UUID(int=2))])
            before = list(reader.new(LogFilter()))
            slow.execute(ONE_ROW, (number[0] * IDS_OF_BATCH, UUID(int=1)))
            slow.commit()
            after = list(reader.new(LogFilter()))

    assert [] == before
    assert [("gw-2", 1), ("gw-1", 2)] == [(row.node, row.request_id.int) for row in after]


def test_follower_that_begins_misses_no_batch_on_its_way(postgres_url: str, tmp_path: Path) -> None:
    with closing(PostgresLog(tmp_path, postgres_url)) as log, psycopg.connect(postgres_url) as slow:
        log.write([NEW])
        (number,) = slow.execute("SELECT nextval('pgtrio.log_batches')").fetchone() or (0,)
        log.write([evolve(NEW, request_id=UUID(int=2))])
        with log.reader() as reader:
            first = reader.last(LogFilter(), 5)
            slow.execute(ONE_ROW, (number * IDS_OF_BATCH, UUID(int=1)))
            slow.commit()
            log.write([evolve(NEW, request_id=UUID(int=3))])
            later = list(reader.new(LogFilter()))

    assert [[0, 2], [1, 3]] == [[row.request_id.int for row in rows] for rows in (first, later)]


def test_follower_waits_for_no_lost_batch() -> None:
    now = 0.0
    arrivals = Arrivals(lambda: now)
    ids = [5 * IDS_OF_BATCH, 5 * IDS_OF_BATCH + 1, 7 * IDS_OF_BATCH]

    first = arrivals.find_end(4 * IDS_OF_BATCH, ids)
    now = GAP_LIMIT_S - 0.1
    again = arrivals.find_end(first, ids[2:])
    now = GAP_LIMIT_S
    last = arrivals.find_end(first, ids[2:])

    assert (ids[1], ids[1], ids[2]) == (first, again, last)


# ── pages of any node ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def world(world: ClusterWorld) -> AsyncIterator[ClusterWorld]:
    yield world
    await world.stop()


async def open_pages(nursery: trio.Nursery, world: ClusterWorld, node: Gateway) -> Operators:
    pages = await start_pages(nursery, node)
    with PostgresOperatorAdmin(world.postgres_url) as admin:
        return evolve(pages, operator=admin.create("Olga")[1])


async def list_rows(pages: Operators, count: int) -> list[dict[str, Any]]:
    with trio.fail_after(LIMIT_S):
        while len(rows := (await pages.call("GET", "requests")).json()["data"]) < count:  # noqa: ASYNC110
            await trio.sleep(0.02)
    found: list[dict[str, Any]] = rows
    return found


async def test_pages_show_all_nodes(nursery: trio.Nursery, world: ClusterWorld) -> None:
    first, second = await world.start(CONFIGURATION, 2)
    token, pages = world.make_token(), await open_pages(nursery, world, second)
    answers = [await ask(node, token, "ask") for node in (first, second)]
    ids = {answer.headers["x-request-id"]: f"gw-{number}" for number, answer in enumerate(answers, 1)}

    rows = await list_rows(pages, 2)
    table = await pages.call("GET", "requests?format=csv")
    one = (await pages.call("GET", f"requests/{next(iter(ids))}")).json()["data"]
    total = (await pages.call("GET", "overview")).json()["data"]["total"]

    assert ids == {row["request_id"]: row["node"] for row in rows}
    assert ids == {row["request_id"]: row["node"] for row in csv.DictReader(io.StringIO(table.body.decode()))}
    assert ("gw-1", "Hello there") == (one["node"], one["request_body"]["messages"][-1]["content"])
    assert 2 == total["requests"]


async def test_request_is_shown_before_it_is_sent(nursery: trio.Nursery, world: ClusterWorld) -> None:
    (node,) = await world.start(CONFIGURATION, 1)
    pages = await open_pages(nursery, world, node)
    with psycopg.connect(world.postgres_url) as other:
        # Rows cannot be sent meanwhile.
        other.execute("LOCK TABLE pgtrio.log_spools IN EXCLUSIVE MODE")
        answer = await ask(node, world.make_token(), "ask")
        with trio.fail_after(LIMIT_S):
            path = f"requests/{answer.headers['x-request-id']}"
            while 200 != (one := await pages.call("GET", path)).status:  # noqa: ASYNC110
                await trio.sleep(0.02)
        listed = (await pages.call("GET", "requests")).json()["data"]

    assert ("gw-1", []) == (one.json()["data"]["node"], listed)


async def test_log_that_does_not_answer_is_a_503(
    nursery: trio.Nursery, world: ClusterWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pg_trio.stores.clustered.STATEMENT_LIMIT_S", 1)
    (node,) = await world.start(CONFIGURATION, 1)
    token, pages = world.make_token(), await open_pages(nursery, world, node)
    await ask(node, token, "ask")
    await list_rows(pages, 1)
    with psycopg.connect(world.postgres_url) as other:
        other.execute("LOCK TABLE pgtrio.gateway_logs IN ACCESS EXCLUSIVE MODE")
        answers = [await pages.call("GET", path) for path in ("requests", "overview", f"requests/{UUID(int=1)}")]
        served = await ask(node, token, "ask")
    later = await pages.call("GET", "requests")

    text = "The log cannot be shown: it took over 10 s; narrow the filter or the range."
    assert [(503, text)] * 3 == [(answer.status, answer.json()["error"]) for answer in answers]
    assert (200, 200) == (served.status, later.status)


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def write(data_dir: Path, *rows: LogRow) -> None:
    store = await LogStore.open(GatewaySettings(data_dir=data_dir))
    for row in rows:
        store.record(row)
    await store.aclose()


async def test_commands_show_nodes(tmp_path: Path, postgres_url: str) -> None:
    now = time.time()
    await write(tmp_path / "data", evolve(NEW, request_id=UUID(int=1), at=now - 5))
    await write(tmp_path / "data-3", evolve(NEW, request_id=UUID(int=3), at=now - 4, endpoint_slug="other"))
    config = await send_to_cluster(tmp_path / "data", postgres_url)
    await send_rows(tmp_path / "data-3", postgres_url, "gw-3")

    rows = await run_command("logs", "--json", "--config", str(config))
    shown = await run_command("show", str(UUID(int=3)), "--config", str(config))

    assert [(1, "gw-1"), (3, "gw-3")] == [
        (UUID(row["request_id"]).int, row["node"]) for row in map(json.loads, rows[1].splitlines())
    ]
    assert "· other · gw-3 ·" in shown[1].splitlines()[0]


async def test_command_says_what_is_not_sent(tmp_path: Path, postgres_url: str) -> None:
    config = await send_to_cluster(tmp_path / "data", postgres_url)
    await write(tmp_path / "data-2", evolve(NEW, at=time.time()))
    (tmp_path / "data-2" / "node.id").write_text("0" * 32)

    status, output, errors = await run_command("logs", "--json", "--config", str(config))
    own = await run_command("logs", "--json", "--data-dir", str(tmp_path / "data-2"))

    assert (0, "") == (status, output)
    assert "1 rows of this node are not in PostgreSQL yet" in errors
    assert "`--data-dir DIR` in place of `--config FILE` shows this node's own log" in errors
    assert 1 == len(own[1].splitlines())


async def test_command_waits_for_rows_on_their_way(tmp_path: Path, postgres_url: str) -> None:
    await write(tmp_path / "data", NEW)
    await send_rows(tmp_path / "data", postgres_url)
    await write(tmp_path / "data", evolve(NEW, request_id=UUID(int=2)))
    # A gateway runs here.
    lock = SweepLock(tmp_path / "data" / LOCK_NAME)
    assert lock.try_hold()

    async with trio.open_nursery() as nursery:

        def read() -> list[LogRow]:
            with PostgresLogReader.open(postgres_url, tmp_path / "data") as reader:
                assert reader.note is None
                return reader.last(LogFilter(), 5)

        found: list[LogRow] = []

        async def read_on_a_thread() -> None:
            found.extend(await trio.to_thread.run_sync(read))

        nursery.start_soon(read_on_a_thread)
        await send_rows(tmp_path / "data", postgres_url)
    lock.close()

    assert 2 == len(found)


@pytest.mark.parametrize(
    ("command", "url", "text"),
    [
        ("logs", "postgresql://postgres@127.0.0.1:1/none", "PostgreSQL: connection failed: connection to server at"),
        ("stats", "postgresql://postgres@127.0.0.1:1/none", "shows this node's own log"),
        ("top", "", "PostgreSQL: has no log yet; `pg-trio migrate` makes the tables"),
    ],
)
async def test_commands_say_what_to_do(tmp_path: Path, postgres_url: str, command: str, url: str, text: str) -> None:
    cluster = f'[cluster]\nredis_url = "redis://127.0.0.1:1/0"\npostgres_url = "{url or postgres_url}"\n'
    (tmp_path / "pg.toml").write_text(cluster)

    status, output, errors = await run_command(command, "--config", str(tmp_path / "pg.toml"))

    assert (1, "") == (status, output)
    assert text in errors
