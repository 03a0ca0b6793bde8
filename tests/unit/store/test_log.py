"""The log: rows are recorded without waiting, and always in the file after closing. Real files and threads."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
import trio
import trio.testing
from attrs import NOTHING, evolve, fields

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.log_row import AttemptRow, LogRow
from pg_trio.errors import StoreError
from pg_trio.store.log import LogStore
from pg_trio.store.log_file import BATCH_ROWS, SCHEMA

PATIENCE_S = 10
FULL_ROW = LogRow(
    request_id=UUID(int=1),
    at=1_700_000_000.25,
    status=200,
    latency_ms=12.5,
    project_uuid=UUID(int=2),
    endpoint_uuid=UUID(int=3),
    endpoint_slug="summarize",
    token_id=4,
    provider="openai",
    model="gpt-4o-mini",
    error_code="ProviderCallFailed",
    error="Provider call failed: Grüße 🙂",
    prompt_tokens=5,
    completion_tokens=6,
    cost_nano_usd=7,
    stages='{"budget":0.250,"provider_call":10.500}',
    attempts=(
        AttemptRow("openai", "gpt-4o-mini", "main", 0.5, 4.0, "failed: 500", None, "refused"),
        AttemptRow("groq", "llama", "spare", 4.0, 11.0, "won", 7.5, "", True),
    ),
    client_request_id="trace-1",
    client_address="2001:db8::7",
    request_body='{"messages":[{"role":"user","content":"Grüße 🙂"}]}',
    response_body='{"content":"Hello"}',
    cached_tokens=3,
    cache_write_tokens=1,
    reasoning_tokens=2,
    price="prices[2]",
    surface="gateway",
    outcome="all_failed",
    deadline_ms=1_200,
    subject="someone",
    client_token="ct_1",
    guardrails=(GuardrailVerdict("pii_filter", "email", "input", "mask", 2),),
)


def make_row(number: int) -> LogRow:
    return LogRow(request_id=UUID(int=number), at=float(number), status=200, latency_ms=1.0)


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(data_dir=tmp_path / "data", log_queue_rows=100, log_batch_ms=5)


@pytest.fixture
async def store(settings: GatewaySettings) -> AsyncIterator[LogStore]:
    store = await LogStore.open(settings, busy_limit_s=0.02)
    yield store
    await store.aclose()


async def eventually(is_so: Callable[[], bool]) -> None:
    """Returns once `is_so`; what is waited for happens on a thread, so it is asked again."""
    with trio.fail_after(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - nothing here could set an event
            await trio.sleep(0.001)


async def read_all(settings: GatewaySettings) -> list[LogRow]:
    async with await LogStore.open(settings) as reader:
        return list(reversed(await reader.recent(100_000)))


def lock_file(settings: GatewaySettings) -> closing[sqlite3.Connection]:
    holder = sqlite3.connect(settings.data_dir / "log.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    return closing(holder)


async def test_rows_come_back_whole(store: LogStore, settings: GatewaySettings) -> None:
    bare = make_row(9)

    store.record(FULL_ROW)
    store.record(bare)
    await store.aclose()

    assert [FULL_ROW, bare] == await read_all(settings)


@pytest.mark.parametrize("emptied", [one.name for one in fields(LogRow) if one.default is not NOTHING])
async def test_each_empty_column_alone_comes_back_empty(
    store: LogStore, settings: GatewaySettings, emptied: str
) -> None:
    values = {one.name: getattr(FULL_ROW, one.name) for one in fields(LogRow) if one.name != emptied}
    row = LogRow(**values)

    store.record(row)
    await store.aclose()

    assert [row] == await read_all(settings)
    with closing(sqlite3.connect(settings.data_dir / "log.db")) as connection:
        stored = connection.execute("SELECT * FROM gateway_logs").fetchone()
    assert not [value for value in stored if isinstance(value, int) and value < 0]


async def test_text_of_a_zero_is_no_null(store: LogStore, settings: GatewaySettings) -> None:
    zeros = evolve(FULL_ROW, error_code="0", error="0", prompt_tokens=0, request_body="0", response_body="")

    store.record(zeros)
    await store.aclose()

    assert [zeros] == await read_all(settings)


async def test_writer_writes_in_background(store: LogStore, nursery: trio.Nursery) -> None:
    nursery.start_soon(store.write)
    for batch in range(3):
        store.record(make_row(batch))
        await eventually(lambda: store.waiting == 0)

    assert [make_row(2), make_row(1)] == await store.recent(2)


async def test_row_beside_a_batch_is_written_next(store: LogStore, nursery: trio.Nursery) -> None:
    late = iter([make_row(2)])

    def record_late(statement: str) -> None:
        for row in late:
            trio.from_thread.run_sync(store.record, row)

    store._connection._connection.set_trace_callback(record_late)
    store.record(make_row(1))
    nursery.start_soon(store.write)
    await eventually(lambda: store.waiting == 0)

    assert [make_row(2), make_row(1)] == await store.recent(2)


async def test_batch_is_one_statement(store: LogStore) -> None:
    statements: list[str] = []
    store._connection._connection.set_trace_callback(statements.append)
    for number in range(100):
        store.record(make_row(number))

    await store.aclose()

    assert ["INSERT INTO gateway_logs"] == [statement[:24] for statement in statements]


@pytest.mark.parametrize("size", [1, 15, 16, 17, 32, 33, 1_000])
async def test_batch_of_any_size_is_whole(settings: GatewaySettings, size: int) -> None:
    rows = [make_row(number) for number in range(size)]
    async with await LogStore.open(evolve(settings, log_queue_rows=size)) as store:
        for row in rows:
            store.record(row)

    assert rows == await read_all(settings)


async def test_recording_never_waits(store: LogStore) -> None:
    with trio.testing.assert_no_checkpoints():
        assert store.record(make_row(1))


async def test_overflow_is_counted(store: LogStore, settings: GatewaySettings) -> None:
    recorded = [store.record(make_row(number)) for number in range(103)]

    await store.aclose()

    assert [True] * 100 + [False] * 3 == recorded
    assert 3 == store.dropped
    assert [make_row(number) for number in range(100)] == await read_all(settings)


def with_body(number: int, characters: int) -> LogRow:
    return evolve(make_row(number), request_body="x" * characters)


async def test_bodies_are_dropped_before_rows(settings: GatewaySettings) -> None:
    # Two bodies fit (with what Python adds to each); after half of the queue's 100 rows, none does.
    async with await LogStore.open(evolve(settings, log_queue_body_bytes=2_500)) as store:
        recorded = [store.record(evolve(with_body(number, 1_000), response_body="y")) for number in range(4)]
        recorded += [store.record(make_row(number)) for number in range(4, 99)]
        recorded += [store.record(with_body(number, 1)) for number in (99, 100)]

    assert ([True] * 100 + [False], 1, 3) == (recorded, store.dropped, store.dropped_bodies)
    kept = [row.at for row in await read_all(settings) if (row.request_body, row.response_body) != (None, None)]
    assert [0.0, 1.0] == kept


async def test_written_bodies_make_room(settings: GatewaySettings, nursery: trio.Nursery) -> None:
    store = await LogStore.open(evolve(settings, log_queue_body_bytes=2_500))
    nursery.start_soon(store.write)
    for number in range(5):
        store.record(with_body(number, 2_000))
        await eventually(lambda: store.waiting == 0)
    await store.aclose()

    assert 0 == store.dropped_bodies
    assert [2_000] * 5 == [len(row.request_body or "") for row in await read_all(settings)]


async def test_batches_of_bodies_are_bounded(store: LogStore, settings: GatewaySettings) -> None:
    sizes: list[int] = []
    store._connection._connection.set_trace_callback(lambda statement: sizes.append(len(statement)))
    rows = [with_body(number, 300_000) for number in range(10)]
    for row in rows:
        store.record(row)

    await store.aclose()

    assert rows == await read_all(settings)
    # Four of them pass the bound of 1 MiB; each statement ends with the one that does.
    assert [4, 4, 2] == [round(size / 300_000) for size in sizes]


async def test_long_queue_is_written_in_parts(settings: GatewaySettings) -> None:
    settings = evolve(settings, log_queue_rows=2_500)
    async with await LogStore.open(settings) as store, trio.open_nursery() as nursery:
        nursery.start_soon(store.write)
        for number in range(2_500):
            store.record(make_row(number))
        await eventually(lambda: store.waiting == 0)
        nursery.cancel_scope.cancel()

    assert [make_row(number) for number in range(2_500)] == await read_all(settings)


async def test_workers_share_the_file(settings: GatewaySettings) -> None:
    async with (
        await LogStore.open(settings) as first,
        await LogStore.open(settings) as second,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(first.write)
        nursery.start_soon(second.write)
        for number in range(200):
            (first if number % 2 else second).record(make_row(number))
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    rows = await read_all(settings)
    assert [make_row(number) for number in range(200)] == sorted(rows, key=lambda row: row.at)


class LateRow:
    """A request whose row is made when it is asked for."""

    has_bodies = False

    def __init__(self, number: int) -> None:
        self.number = number
        self.made = 0

    def to_row(self) -> LogRow:
        self.made += 1
        return make_row(self.number)


async def test_row_is_made_by_the_writer(store: LogStore, settings: GatewaySettings) -> None:
    late = LateRow(1)

    store.record(late)
    made_at_once = late.made
    await store.aclose()

    assert (0, 1) == (made_at_once, late.made)
    assert [make_row(1)] == await read_all(settings)


async def test_backlog_is_kept_as_rows(settings: GatewaySettings) -> None:
    async with await LogStore.open(evolve(settings, log_queue_rows=2 * BATCH_ROWS)) as store:
        late = [LateRow(number) for number in range(BATCH_ROWS + 1)]

        for row in late:
            store.record(row)

        assert [0, 0, 1] == [row.made for row in (late[0], late[-2], late[-1])]


async def test_closed_store_drops(store: LogStore) -> None:
    await store.aclose()

    assert not store.record(make_row(1))
    assert 1 == store.dropped


async def test_writer_returns_at_closing(store: LogStore) -> None:
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.write)
            await trio.testing.wait_all_tasks_blocked()
            await store.aclose()


async def test_closing_under_cancellation_flushes(settings: GatewaySettings) -> None:
    with trio.CancelScope() as scope:
        async with await LogStore.open(settings) as store, trio.open_nursery() as nursery:
            nursery.start_soon(store.write)
            for number in range(50):
                store.record(make_row(number))
            scope.cancel()

    assert [make_row(number) for number in range(50)] == await read_all(settings)


@pytest.mark.parametrize("checkpoints", range(8))
async def test_cancelled_writer_neither_loses_nor_doubles(settings: GatewaySettings, checkpoints: int) -> None:
    async with await LogStore.open(settings) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.write)
            for number in range(20):
                store.record(make_row(number))
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        store.record(make_row(20))

    assert [make_row(number) for number in range(21)] == await read_all(settings)


async def test_failing_writer_keeps_rows(
    store: LogStore, settings: GatewaySettings, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with lock_file(settings) as holder:
        nursery.start_soon(store.write)
        store.record(make_row(1))
        await eventually(lambda: bool(caplog.records))
        # One more failure, to see that it is not said twice.
        with pytest.raises(StoreError, match="locked"):
            await store._write_batch()
        for number in range(2, 104):
            store.record(make_row(number))
        holder.execute("ROLLBACK")
    await eventually(lambda: store.waiting == 0)

    await store.aclose()

    assert [make_row(number) for number in range(1, 101)] == await read_all(settings)
    assert 3 == store.dropped
    first, second, third = [record.getMessage() for record in caplog.records]
    assert "log.db: locked by another process for too long" in first
    assert "cannot write the log: works again." == second
    assert "The log could not keep up: 3 rows were dropped, and the bodies of 0 more." == third


async def test_closing_gives_up_in_time(
    store: LogStore, settings: GatewaySettings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pg_trio.store.log.CLOSE_LIMIT_S", 0.1)
    with lock_file(settings):
        store.record(make_row(1))

        with trio.fail_after(PATIENCE_S):
            await store.aclose()

    assert (1, 0) == (store.dropped, store.waiting)
    assert "1 log rows were lost at closing." == caplog.records[-1].getMessage()


async def test_closing_says_at_once_what_waits(
    store: LogStore, settings: GatewaySettings, caplog: pytest.LogCaptureFixture, nursery: trio.Nursery
) -> None:
    store.record(make_row(1))
    store.record(make_row(2))
    with lock_file(settings):
        nursery.start_soon(store.aclose)
        await eventually(lambda: len(caplog.records) > 1)
    await eventually(lambda: store.waiting == 0)

    locked, waits = [record.getMessage() for record in caplog.records][:2]
    assert "log.db: locked by another process for too long" in locked
    assert "2 log rows wait for the file, for at most 10 s." == waits
    assert 0 == store.dropped


async def test_unstorable_row_stops_no_other(
    store: LogStore, settings: GatewaySettings, caplog: pytest.LogCaptureFixture
) -> None:
    store.record(make_row(1))
    store.record(evolve(make_row(2), prompt_tokens=2**63))
    store.record(evolve(make_row(3), prompt_tokens=object()))  # type: ignore[arg-type]
    store.record(make_row(4))
    attempt = AttemptRow("openai", object(), "main", 0.5, 4.0, "won")  # type: ignore[arg-type]
    store.record(evolve(make_row(5), attempts=(attempt,)))
    store.record(evolve(make_row(6), request_id=None))  # type: ignore[arg-type]
    store.record(make_row(7))

    await store.aclose()

    assert [make_row(1), make_row(4), make_row(7)] == await read_all(settings)
    assert 4 == store.dropped
    assert caplog.records[0].getMessage().startswith("4 log rows cannot be stored, first: LogRow(")


async def test_broken_unicode_is_stored(store: LogStore, settings: GatewaySettings) -> None:
    broken = evolve(make_row(1), endpoint_slug="a\ud800b", error="nul \0 and é")

    store.record(broken)
    await store.aclose()

    assert [evolve(broken, endpoint_slug="a?b")] == await read_all(settings)


@pytest.mark.parametrize("said", ["Grüße 🙂", "half a pair: \ud800", 'quoted "text" \\'])
async def test_attempts_come_back_whatever_was_said(store: LogStore, settings: GatewaySettings, said: str) -> None:
    row = evolve(make_row(1), attempts=(AttemptRow("openai", said, "main", 0.5, 4.0, f"failed: {said}"),))

    store.record(row)
    await store.aclose()

    assert [row] == await read_all(settings)


async def test_broken_unicode_splits_no_batch(store: LogStore) -> None:
    statements: list[str] = []
    store._connection._connection.set_trace_callback(statements.append)
    for number in range(10):
        store.record(evolve(make_row(number), model="\ud800"))

    await store.aclose()

    assert 1 == len(statements)


async def test_spend_is_summed_by_endpoint(store: LogStore, settings: GatewaySettings) -> None:
    for number, (at, endpoint, cost) in enumerate(
        [(10.0, 1, 5), (20.0, 1, 7), (20.0, 2, 11), (30.0, 1, 13), (30.0, 2, None), (30.0, 3, None), (30.0, None, 17)]
    ):
        endpoint_uuid = None if endpoint is None else UUID(int=endpoint)
        store.record(evolve(make_row(number), at=at, endpoint_uuid=endpoint_uuid, cost_nano_usd=cost))
    await store.aclose()

    async with await LogStore.open(settings) as reader:
        spend = await reader.spend_since(20.0)

    assert {UUID(int=1): 20, UUID(int=2): 11} == spend


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT endpoint_uuid, sum(cost_nano_usd) FROM gateway_logs WHERE at >= 1 GROUP BY 1", "COVERING INDEX"),
        ("SELECT * FROM gateway_logs WHERE at >= 1 ORDER BY at", "gateway_logs_by_time"),
        ("SELECT * FROM gateway_logs WHERE project_uuid = x'00' ORDER BY at DESC", "gateway_logs_by_project"),
    ],
)
async def test_questions_have_an_index(store: LogStore, settings: GatewaySettings, query: str, index: str) -> None:
    with closing(sqlite3.connect(settings.data_dir / "log.db")) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()

    assert index in plan[0][-1]


async def test_closing_twice_is_fine(store: LogStore) -> None:
    await store.aclose()
    await store.aclose()


# ── files of older releases ──────────────────────────────────────────────────────────────────────────────────────────

# A row as the release before wrote it, to the schema of that time.
OLD_ROW = """
    INSERT INTO gateway_logs (request_id, at, status, latency_ms, endpoint_uuid, endpoint_slug, cost_nano_usd,
        stages_ms, attempts, response_body)
    VALUES (x'00000000000000000000000000000001', 1.5, 200, 2.5, x'00000000000000000000000000000003', 'ask', 7, '{}',
        '[["openai","m","main",0.5,4.0,"won",null]]', '{"content":"Hi"}')
"""


@pytest.mark.parametrize("steps", range(2, len(SCHEMA.steps)))
async def test_file_of_an_older_release_keeps_its_rows(settings: GatewaySettings, steps: int) -> None:
    settings.data_dir.mkdir(mode=0o700)
    with closing(sqlite3.connect(settings.data_dir / "log.db", isolation_level=None)) as old:
        for step in SCHEMA.steps[:steps]:
            for statement in step:
                old.execute(statement)
        old.execute(f"PRAGMA application_id = {SCHEMA.application_id}")
        old.execute(f"PRAGMA user_version = {steps}")
        old.execute(OLD_ROW)

    async with await LogStore.open(settings) as store:
        store.record(FULL_ROW)
        spent = await store.spend_since(0.0)

    kept, new = await read_all(settings)
    assert ("ask", '{"content":"Hi"}', None, None) == (
        kept.endpoint_slug,
        kept.response_body,
        kept.client_request_id,
        kept.client_address,
    )
    assert (0, 0, 0, None) == (kept.cached_tokens, kept.cache_write_tokens, kept.reasoning_tokens, kept.price)
    assert (FULL_ROW, {UUID(int=3): 7}) == (new, spent)
