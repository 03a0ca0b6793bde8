"""Sessions in their file: complete turns or none, in order under concurrent writers. Real files and threads."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio
import trio.testing
from attrs import evolve

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.chat import Message, ToolCall
from pg_trio.domain.session import Turn
from pg_trio.errors import StoreError
from pg_trio.store import session_file
from pg_trio.store.sessions import LOCKED_TRIES, SessionStore
from tests.support.content import parts

PATIENCE_S = 10
ENDPOINT, OTHER_ENDPOINT = UUID(int=7), UUID(int=8)
KEEP_S = {ENDPOINT: 100.0}
SESSION = UUID(int=1)


def make_turn(said: str = "Hi", session: UUID = SESSION, **fields: Any) -> Turn:
    turn = Turn(
        session_id=session,
        is_first=False,
        endpoint=ENDPOINT,
        token_id=4,
        at=1_000.0,
        messages=(Message("user", said), Message("assistant", f"You said: {said}")),
        token_count=10,
    )
    return evolve(turn, **fields)


def first_turn(said: str = "Hi", session: UUID = SESSION, **fields: Any) -> Turn:
    return make_turn(said, session, **{"is_first": True, **fields})


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(data_dir=tmp_path / "data")


@pytest.fixture
async def idle_store(settings: GatewaySettings) -> AsyncIterator[SessionStore]:
    """A store without a writer task."""
    async with await SessionStore.open(settings, KEEP_S, busy_limit_s=0.02) as store:
        yield store


@pytest.fixture
def store(idle_store: SessionStore, nursery: trio.Nursery) -> SessionStore:
    nursery.start_soon(idle_store.write)
    return idle_store


def connect(settings: GatewaySettings) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(settings.data_dir / "sessions.db", isolation_level=None))


def count(settings: GatewaySettings, table: str) -> int:
    with connect(settings) as file:
        return int(file.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def texts(store: SessionStore, session: UUID = SESSION) -> list[object]:
    stored = await store.load(session)
    assert stored is not None
    return [message.content for message in stored.messages]


async def test_first_turn_makes_session(store: SessionStore) -> None:
    turn = first_turn()

    assert await store.append(turn)

    stored = await store.load(SESSION)
    assert stored is not None
    assert (SESSION, ENDPOINT, 4) == (stored.id, stored.endpoint, stored.token_id)
    assert (1_000.0, 1_000.0, 2, 10) == (
        stored.created_at,
        stored.last_active_at,
        stored.message_count,
        stored.token_count,
    )
    assert turn.messages == stored.messages
    assert stored.byte_count > 0


async def test_unknown_session_is_none(store: SessionStore) -> None:
    assert await store.load(SESSION) is None


async def test_messages_come_back_whole(store: SessionStore) -> None:
    messages = (
        Message("system", "Be kind.\x00\n\u2028"),
        Message(
            "user",
            parts({"type": "text", "text": "Grüße 🙂"}, {"type": "image_url", "image_url": {"url": "https://x"}}),
        ),
        Message("user", "", name="jane"),
        Message("assistant", None, tool_calls=(ToolCall("c-1", "add", '{"a": 1.0, "b": "\\u0000"}'),)),
        Message("tool", "[[1, 2], [3]]", tool_call_id="c-1"),
        Message("assistant", ""),
    )

    await store.append(first_turn(messages=messages))

    stored = await store.load(SESSION)
    assert stored is not None
    assert messages == stored.messages
    assert 6 == stored.message_count


async def test_tags_come_back(store: SessionStore) -> None:
    await store.append(first_turn(tags={1: "one"}))
    await store.append(make_turn("Ho", tags={0: "two", 1: "three"}))

    stored = await store.load(SESSION)

    assert stored is not None
    assert {"one": 1, "two": 2, "three": 3} == stored.tags
    assert ["Hi", "You said: Hi", "Ho", "You said: Ho"] == [message.content for message in stored.messages]


async def test_second_turn_follows_first(store: SessionStore) -> None:
    await store.append(first_turn("one", token_count=5))
    await store.append(make_turn("two", token_count=7, at=1_005.0))

    stored = await store.load(SESSION)

    assert stored is not None
    assert ["one", "You said: one", "two", "You said: two"] == await texts(store)
    assert (4, 12, 1_000.0, 1_005.0) == (
        stored.message_count,
        stored.token_count,
        stored.created_at,
        stored.last_active_at,
    )


async def test_activity_never_goes_back(store: SessionStore) -> None:
    await store.append(first_turn(at=1_000.0))
    await store.append(make_turn(at=990.0))

    stored = await store.load(SESSION)

    assert stored is not None
    assert 1_000.0 == stored.last_active_at


async def test_appended_turn_is_committed(store: SessionStore, settings: GatewaySettings) -> None:
    await store.append(first_turn())

    assert (1, 2) == (count(settings, "sessions"), count(settings, "messages"))


async def test_file_survives_power_loss(idle_store: SessionStore) -> None:
    level = await idle_store._writer.run(lambda connection: connection.execute("PRAGMA synchronous").fetchone()[0])

    assert 2 == level  # FULL


async def test_turn_of_gone_session_leaves_nothing(store: SessionStore, settings: GatewaySettings) -> None:
    assert not await store.append(make_turn())

    assert (0, 0) == (count(settings, "sessions"), count(settings, "messages"))


async def test_gone_session_stops_no_other(
    idle_store: SessionStore, nursery: trio.Nursery, settings: GatewaySettings
) -> None:
    outcomes: dict[str, bool] = {}

    async def append(name: str, turn: Turn) -> None:
        outcomes[name] = await idle_store.append(turn)

    async with trio.open_nursery() as appending:
        appending.start_soon(append, "gone", make_turn(session=UUID(int=9)))
        appending.start_soon(append, "first", first_turn())
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(idle_store.write)

    assert {"gone": False, "first": True} == outcomes
    assert 2 == count(settings, "messages")


async def test_what_waits_is_one_transaction(idle_store: SessionStore, nursery: trio.Nursery) -> None:
    statements: list[str] = []
    idle_store._writer._connection.set_trace_callback(statements.append)
    async with trio.open_nursery() as appending:
        for number in range(20):
            appending.start_soon(idle_store.append, first_turn(session=UUID(int=number)))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(idle_store.write)

    # The trigger's steps are traced under the text of the statement that they belong to.
    assert {"INSERT INTO turns"} == {statement[:17] for statement in statements}
    assert 1 == len(set(statements))


async def test_long_queue_is_written_in_parts(
    idle_store: SessionStore, nursery: trio.Nursery, settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pg_trio.store.sessions.BATCH_TURNS", 7)
    async with trio.open_nursery() as appending:
        for number in range(50):
            appending.start_soon(idle_store.append, first_turn(session=UUID(int=number)))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(idle_store.write)

    assert (50, 100) == (count(settings, "sessions"), count(settings, "messages"))


async def test_turns_at_once_stay_contiguous(settings: GatewaySettings) -> None:
    """Two workers' stores on one file, thirty calls on one session: each pair side by side, none lost."""
    async with (
        await SessionStore.open(settings, KEEP_S) as first,
        await SessionStore.open(settings, KEEP_S) as second,
        trio.open_nursery() as writing,
    ):
        writing.start_soon(first.write)
        writing.start_soon(second.write)
        await first.append(first_turn("0"))
        async with trio.open_nursery() as appending:
            for number in range(1, 31):
                appending.start_soon((first if number % 2 else second).append, make_turn(str(number)))
                if number % 3 == 0:
                    await trio.lowlevel.checkpoint()
        said = await texts(first)
        writing.cancel_scope.cancel()

    assert sorted(map(str, range(31))) == sorted(str(text) for text in said[::2])
    assert [f"You said: {text}" for text in said[::2]] == said[1::2]


async def test_withdrawn_turn_is_not_stored(
    idle_store: SessionStore, nursery: trio.Nursery, settings: GatewaySettings
) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as appending:
            appending.start_soon(idle_store.append, first_turn())
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()

    nursery.start_soon(idle_store.write)
    await idle_store.append(first_turn(session=UUID(int=2)))
    assert (0, 1, 2) == (idle_store.waiting, count(settings, "sessions"), count(settings, "messages"))


@pytest.mark.parametrize("checkpoints", range(8))
async def test_cancelled_turn_is_whole_or_not_there(
    store: SessionStore, settings: GatewaySettings, checkpoints: int
) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as appending:
            appending.start_soon(store.append, first_turn())
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            scope.cancel()

    await store.append(first_turn(session=UUID(int=2)))  # whatever was under way is over then
    assert (count(settings, "sessions"), count(settings, "messages")) in [(1, 2), (2, 4)]


@pytest.mark.parametrize("checkpoints", range(6))
async def test_cancelled_writer_leaves_nobody_waiting(settings: GatewaySettings, checkpoints: int) -> None:
    async with await SessionStore.open(settings, KEEP_S) as store:
        outcomes: list[object] = []

        async def append() -> None:
            try:
                outcomes.append(await store.append(first_turn()))
            except StoreError:
                outcomes.append("refused")

        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as appending:
                async with trio.open_nursery() as writing:
                    appending.start_soon(append)
                    writing.start_soon(store.write)
                    for _ in range(checkpoints):
                        await trio.lowlevel.checkpoint()
                    writing.cancel_scope.cancel()
                await store.aclose()

    assert [True if count(settings, "sessions") else "refused"] == outcomes


async def test_locked_file_is_said_and_over(
    store: SessionStore, settings: GatewaySettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with connect(settings) as holder:
        holder.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(StoreError, match="locked by another process for too long"):
                await store.append(first_turn())
        assert await store.load(SESSION) is None  # readers do not wait for a writer
        holder.execute("ROLLBACK")

    assert await store.append(first_turn())

    assert ["cannot store sessions: ", "cannot store sessions: works again."] == [
        record.getMessage()[: 23 + 12 * index] for index, record in enumerate(caplog.records)
    ]


def unlock_after(store: SessionStore, tries: int, holder: sqlite3.Connection) -> list[int]:
    """The holder lets go once the writer has met its lock so often. Returns the sizes of the batches, as they come."""
    sizes: list[int] = []
    write_together = store._write_together

    async def counted(batch: list[Any]) -> None:
        sizes.append(len(batch))
        await write_together(batch)
        if len(sizes) == tries:
            holder.execute("ROLLBACK")

    store._write_together = counted  # type: ignore[method-assign]
    return sizes


async def test_turn_outlasts_a_lock(store: SessionStore, settings: GatewaySettings) -> None:
    with connect(settings) as holder:
        holder.execute("BEGIN IMMEDIATE")
        sizes = unlock_after(store, LOCKED_TRIES - 1, holder)

        assert await store.append(first_turn())

    assert [1] * LOCKED_TRIES == sizes
    assert (1, 2) == (count(settings, "sessions"), count(settings, "messages"))


async def test_turns_behind_a_lock_keep_their_order(
    idle_store: SessionStore, settings: GatewaySettings, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pg_trio.store.sessions.BATCH_TURNS", 2)
    with connect(settings) as holder:
        holder.execute("BEGIN IMMEDIATE")
        sizes = unlock_after(idle_store, 2, holder)
        async with trio.open_nursery() as appending:
            for number in range(5):
                appending.start_soon(idle_store.append, first_turn(session=UUID(int=number)))
                await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(idle_store.write)

    assert [2, 2, 2, 2, 1] == sizes
    with connect(settings) as file:
        ids = [UUID(bytes=row[0]).int for row in file.execute("SELECT id FROM sessions ORDER BY number")]
    assert [0, 1, 2, 3, 4] == ids


async def test_long_lock_ends_all_that_wait_together(
    idle_store: SessionStore, settings: GatewaySettings, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pg_trio.store.sessions.BATCH_TURNS", 1)
    failed: list[int] = []

    async def append(number: int) -> None:
        with pytest.raises(StoreError, match="locked"):
            await idle_store.append(first_turn(session=UUID(int=number)))
        failed.append(number)

    with connect(settings) as holder:
        holder.execute("BEGIN IMMEDIATE")
        sizes = unlock_after(idle_store, LOCKED_TRIES + 1, holder)
        async with trio.open_nursery() as appending:
            for number in range(3):
                appending.start_soon(append, number)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(idle_store.write)

    assert (LOCKED_TRIES, {0, 1, 2}) == (len(sizes), set(failed))
    assert 0 == idle_store.waiting


async def test_turn_withdrawn_behind_a_lock_is_not_stored(store: SessionStore, settings: GatewaySettings) -> None:
    write_together, failures = store._write_together, [trio.Event(), trio.Event()]

    async def told(batch: list[Any]) -> None:
        await write_together(batch)
        next((event for event in failures if not event.is_set()), failures[-1]).set()

    store._write_together = told  # type: ignore[method-assign]
    with connect(settings) as holder:
        holder.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as appending:
            appending.start_soon(store.append, first_turn())
            await failures[0].wait()
            # The next try has begun.
            appending.cancel_scope.cancel()
        await failures[1].wait()
        holder.execute("ROLLBACK")

    await store.append(first_turn(session=UUID(int=2)))
    assert (0, 1) == (store.waiting, count(settings, "sessions"))


async def test_full_disk_stores_nothing(store: SessionStore, settings: GatewaySettings) -> None:
    await store.append(first_turn())
    pages = await store._writer.run(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    store._writer._connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StoreError, match="the disk is full"):
        await store.append(make_turn("x" * 100_000))

    store._writer._connection.execute("PRAGMA max_page_count = 1000000")
    assert await store.append(make_turn("two"))
    assert ["Hi", "You said: Hi", "two", "You said: two"] == await texts(store)


async def test_damaged_page_is_said(settings: GatewaySettings) -> None:
    async with await SessionStore.open(settings, KEEP_S) as store, trio.open_nursery() as nursery:
        nursery.start_soon(store.write)
        for number in range(100):
            await store.append(first_turn("x" * 2_000, UUID(int=number)))
        nursery.cancel_scope.cancel()
    path = settings.data_dir / "sessions.db"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))

    async with await SessionStore.open(settings, KEEP_S) as store:
        with pytest.raises(StoreError, match="damaged"):
            await store.load(UUID(int=50))


@pytest.mark.parametrize(
    "body", ["", "{", "1", "[]", '{"role": "user"}', '{"role": "user", "content": "a", "tool_calls": [1]}']
)
async def test_foreign_message_is_said(store: SessionStore, settings: GatewaySettings, body: str) -> None:
    await store.append(first_turn())
    with connect(settings) as file:
        file.execute("UPDATE messages SET body = ? WHERE position = 1", (body,))

    with pytest.raises(StoreError, match="holds what was never written to it"):
        await store.load(SESSION)


async def test_unstorable_turn_stops_no_other(
    idle_store: SessionStore, nursery: trio.Nursery, settings: GatewaySettings
) -> None:
    outcomes: dict[str, object] = {}

    async def append(name: str, turn: Turn) -> None:
        try:
            outcomes[name] = await idle_store.append(turn)
        except OverflowError as error:
            outcomes[name] = type(error)

    async with trio.open_nursery() as appending:
        appending.start_soon(append, "good", first_turn())
        appending.start_soon(append, "bad", first_turn(session=UUID(int=2), token_id=2**70))
        appending.start_soon(append, "greedy", first_turn(session=UUID(int=3), token_count=2**70))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(idle_store.write)

    assert {"good": True, "bad": OverflowError, "greedy": True} == outcomes
    assert 2 == count(settings, "sessions")


async def test_closed_store_refuses(idle_store: SessionStore) -> None:
    await idle_store.aclose()

    with pytest.raises(StoreError, match="shutting down"):
        await idle_store.append(first_turn())


async def test_closing_tells_who_waits(idle_store: SessionStore) -> None:
    async with trio.open_nursery() as nursery:

        async def append() -> None:
            with pytest.raises(StoreError, match="shutting down"):
                await idle_store.append(first_turn())

        nursery.start_soon(append)
        await trio.testing.wait_all_tasks_blocked()
        await idle_store.aclose()


async def test_session_is_read_by_index(idle_store: SessionStore, settings: GatewaySettings) -> None:
    with connect(settings) as file:
        plan = [row[3] for row in file.execute(f"EXPLAIN QUERY PLAN {session_file._READ}", (SESSION.bytes,))]

    assert [] == [step for step in plan if step.startswith("SCAN") and "CONSTANT" not in step]
    assert 2 == sum(step.startswith("SEARCH") for step in plan)


async def test_forgotten_session_is_gone(store: SessionStore, settings: GatewaySettings) -> None:
    await store.append(first_turn())
    stored = await store.load(SESSION)
    assert stored is not None

    await store.forget(stored)

    assert (0, 0) == (count(settings, "sessions"), count(settings, "messages"))


async def test_revived_session_is_not_forgotten(store: SessionStore) -> None:
    await store.append(first_turn())
    stored = await store.load(SESSION)
    assert stored is not None
    await store.append(make_turn("two", at=1_001.0))

    await store.forget(stored)

    assert 4 == len(await texts(store))


async def test_rows_read_well_in_a_shell(store: SessionStore, settings: GatewaySettings) -> None:
    await store.append(first_turn())
    await store.append(first_turn("Ho", UUID(int=2)))

    with connect(settings) as file:
        rows = file.execute("SELECT session, position, body FROM messages ORDER BY place").fetchall()

    assert [(1, 0, "Hi"), (1, 1, "You said: Hi"), (2, 0, "Ho"), (2, 1, "You said: Ho")] == [
        (session, position, json.loads(body)["content"]) for session, position, body in rows
    ]


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_deleted_file_takes_no_turn(store: SessionStore, settings: GatewaySettings, is_replaced: bool) -> None:
    await store.append(make_turn(is_first=True))
    (settings.data_dir / "sessions.db").unlink()
    if is_replaced:
        (settings.data_dir / "sessions.db").touch()

    with pytest.raises(StoreError, match="was deleted or replaced under the running gateway"):
        await store.append(make_turn("Again"))
