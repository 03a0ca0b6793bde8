"""A worker's view of the tokens: real files, real threads, changes made by another connection."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import pytest
import trio
import trio.testing
from attrs import evolve

from pg_trio.config.settings import GatewaySettings
from pg_trio.errors import StoreError
from pg_trio.store.token_admin import TokenAdmin
from pg_trio.store.token_file import hash_token
from pg_trio.store.tokens import TokenStore

SUPPORT = UUID("6f1c0000-0000-4000-8000-000000000001")
SALES = UUID("6f1c0000-0000-4000-8000-000000000002")
PATIENCE_S = 10
T = TypeVar("T")


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(data_dir=tmp_path / "data", token_poll_ms=5, token_used_flush_ms=5, token_cache_entries=100)


@pytest.fixture
def admin(settings: GatewaySettings) -> TokenAdmin:
    return TokenAdmin(settings.data_dir)


@pytest.fixture
async def store(settings: GatewaySettings, admin: TokenAdmin) -> AsyncIterator[TokenStore]:
    # Its clock stands still: without `watch`, tokens are good for a second.
    store = await TokenStore.open(settings, busy_limit_s=0.05, now_s=lambda: 0.0)
    yield store
    await store.aclose()
    admin.close()


@pytest.fixture
def plaintext(admin: TokenAdmin) -> str:
    """The text of token 1, made before any store is open."""
    return admin.create(SUPPORT, "ci")[1]


@pytest.fixture
async def informed(settings: GatewaySettings, admin: TokenAdmin, plaintext: str) -> AsyncIterator[TokenStore]:
    """A store that watches and knows of every change so far: only one to come makes it forget."""
    async with await TokenStore.open(settings, busy_limit_s=0.05) as store, trio.open_nursery() as nursery:
        nursery.start_soon(store.watch)
        yield store
        nursery.cancel_scope.cancel()
    admin.close()


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Returns once `is_so`; what is waited for happens on threads and in other processes, so it is asked again."""
    with trio.fail_after(PATIENCE_S):
        while not await is_so():  # noqa: ASYNC110 - nothing here could set an event
            await trio.sleep(0.001)


def last_used(admin: TokenAdmin) -> list[float | None]:
    return [token.last_used_at for token in admin.list_tokens()]


async def test_finds_token_by_digest(store: TokenStore, admin: TokenAdmin) -> None:
    token, plaintext = admin.create(SUPPORT, "ci")

    found = [await store.find(hash_token(text)) for text in (plaintext, plaintext + "x", plaintext[:-1], "\udc80")]

    assert [token, None, None, None] == found


async def test_hit_is_no_checkpoint(store: TokenStore, admin: TokenAdmin) -> None:
    token, plaintext = admin.create(SUPPORT, "ci")
    await store.find(hash_token(plaintext))
    await store.find(hash_token("unknown"))

    with trio.CancelScope() as scope:
        scope.cancel()
        found = [await store.find(hash_token(plaintext)), await store.find(hash_token("unknown"))]

    assert [token, None] == found
    assert not scope.cancelled_caught


async def test_recalls_only_what_is_remembered_and_active(store: TokenStore, admin: TokenAdmin) -> None:
    good, plaintext = admin.create(SUPPORT, "good")
    _, revoked = admin.create(SUPPORT, "revoked")
    admin.revoke("2")
    digests = [hash_token(text) for text in (plaintext, revoked, "nobody's")]

    unseen = [store.recall(digest, 0.0) for digest in digests]
    for digest in digests:
        await store.find(digest)
    seen = [store.recall(digest, 0.0) for digest in digests]
    await store._poll_once()
    forgotten = [store.recall(digest, 0.0) for digest in digests]

    assert [None, None, None] == unseen
    assert [good, None, None] == seen
    assert [None, None, None] == forgotten


async def test_simultaneous_misses_read_once(store: TokenStore, admin: TokenAdmin) -> None:
    _, plaintext = admin.create(SUPPORT, "ci")
    statements: list[str] = []
    store._lookups._connection.set_trace_callback(statements.append)

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(store.find, hash_token(plaintext))

    assert 1 == len(statements)


async def test_lists_one_project(store: TokenStore, admin: TokenAdmin) -> None:
    support, _ = admin.create(SUPPORT, "a")
    admin.create(SALES, "b")
    admin.revoke("2")

    assert [support] == await store.list_tokens(SUPPORT)
    assert [False] == [token.is_active for token in await store.list_tokens(SALES)]


async def test_revocation_reaches_the_cache(informed: TokenStore, admin: TokenAdmin, plaintext: str) -> None:
    assert await informed.find(hash_token(plaintext))

    admin.revoke("1")

    async def is_revoked() -> bool:
        token = await informed.find(hash_token(plaintext))
        return token is not None and not token.is_active

    await eventually(is_revoked)


@pytest.mark.parametrize("limit", ["rate_limit_per_minute", "tokens_per_minute", "max_concurrent"])
async def test_changed_limit_reaches_the_cache(
    informed: TokenStore, admin: TokenAdmin, plaintext: str, limit: str
) -> None:
    assert await informed.find(hash_token(plaintext))

    changed = admin.set_limits("1", **{limit: 7})

    async def is_limited() -> bool:
        return changed == await informed.find(hash_token(plaintext))

    await eventually(is_limited)


async def test_rotation_kills_the_old_one(informed: TokenStore, admin: TokenAdmin, plaintext: str) -> None:
    assert await informed.find(hash_token(plaintext))

    token, new = admin.rotate("1")

    async def is_gone() -> bool:
        return await informed.find(hash_token(plaintext)) is None

    await eventually(is_gone)
    assert token == await informed.find(hash_token(new))


async def test_read_before_revocation_is_not_kept(
    store: TokenStore, admin: TokenAdmin, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plaintext = admin.create(SUPPORT, "ci")
    run, has_read, go_on = store._lookups.run, trio.Event(), trio.Event()

    async def run_late(work: Callable[[sqlite3.Connection], T], *, abandon_on_cancel: bool = False) -> T:
        result = await run(work, abandon_on_cancel=abandon_on_cancel)
        has_read.set()
        await go_on.wait()
        return result

    monkeypatch.setattr(store._lookups, "run", run_late)
    nursery.start_soon(store.find, hash_token(plaintext))
    await has_read.wait()
    monkeypatch.setattr(store._lookups, "run", run)
    admin.revoke("1")
    nursery.start_soon(store.watch)
    generation = store._cache.generation

    async def was_cleared() -> bool:
        return store._cache.generation > generation

    await eventually(was_cleared)
    go_on.set()
    await trio.testing.wait_all_tasks_blocked()

    found = await store.find(hash_token(plaintext))

    assert found is not None
    assert not found.is_active


async def test_cancelled_find_leaves_at_once(store: TokenStore, admin: TokenAdmin) -> None:
    token, plaintext = admin.create(SUPPORT, "ci")
    is_reading, go_on = threading.Event(), threading.Event()

    def hold(_: str) -> None:
        is_reading.set()
        go_on.wait(PATIENCE_S)

    store._lookups._connection.set_trace_callback(hold)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.find, hash_token(plaintext))
        await trio.to_thread.run_sync(is_reading.wait, PATIENCE_S)
        nursery.cancel_scope.cancel()

    assert 1 == store._lookups.busy_threads
    go_on.set()
    assert token == await store.find(hash_token(plaintext))


async def test_use_is_flushed_in_background(store: TokenStore, admin: TokenAdmin, nursery: trio.Nursery) -> None:
    admin.create(SUPPORT, "a")
    admin.create(SUPPORT, "b")
    nursery.start_soon(store.watch)

    store.note_used(1, 5.0)
    store.note_used(1, 6.0)

    async def is_written() -> bool:
        return [6.0, None] == last_used(admin)

    await eventually(is_written)


async def test_use_is_flushed_at_close(settings: GatewaySettings, admin: TokenAdmin) -> None:
    admin.create(SUPPORT, "a")
    with trio.CancelScope() as scope:
        async with await TokenStore.open(settings) as store:
            store.note_used(1, 5.0)
            scope.cancel()

    assert [5.0] == last_used(admin)
    admin.close()


async def test_earlier_use_changes_nothing(settings: GatewaySettings, admin: TokenAdmin) -> None:
    admin.create(SUPPORT, "a")
    for at in (9.0, 3.0):
        async with await TokenStore.open(settings) as store:
            store.note_used(1, at)

    assert [9.0] == last_used(admin)
    admin.close()


async def test_use_clears_no_cache(store: TokenStore, admin: TokenAdmin) -> None:
    _, plaintext = admin.create(SUPPORT, "a")
    await store.find(hash_token(plaintext))
    await store._poll_once()
    generation = store._cache.generation
    store.note_used(1, 5.0)

    await store._flush_used()
    await store._poll_once()

    assert [5.0] == last_used(admin)
    assert generation == store._cache.generation


async def test_locked_file_is_logged_once(
    store: TokenStore, admin: TokenAdmin, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    token, plaintext = admin.create(SUPPORT, "a")
    store.note_used(1, 5.0)
    path = store._chores._path
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        nursery.start_soon(store.watch)

        async def is_logged() -> bool:
            return bool(caplog.records)

        await eventually(is_logged)
        # A writer's lock holds up neither look-ups nor polls.
        assert token == await store.find(hash_token(plaintext))
        # The watcher may be trying with the first use right now; this one is still to be written.
        store.note_used(1, 5.0)
        with pytest.raises(StoreError, match="locked"):
            await store._flush_used()
        holder.execute("ROLLBACK")

    async def is_written() -> bool:
        return [5.0] == last_used(admin) and 2 == len(caplog.records)

    await eventually(is_written)
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith("cannot write when tokens were last used: ")
    assert "tokens.db: locked by another process for too long" in first
    assert "cannot write when tokens were last used: works again." == second


async def test_failing_poll_keeps_watching(
    store: TokenStore, admin: TokenAdmin, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    token, plaintext = admin.create(SUPPORT, "a")
    assert token == await store.find(hash_token(plaintext))
    with closing(sqlite3.connect(store._lookups._path, isolation_level=None)) as saboteur:
        saboteur.execute("ALTER TABLE token_revision RENAME TO hidden")
        nursery.start_soon(store.watch)

        async def is_logged() -> bool:
            return bool(caplog.records)

        await eventually(is_logged)
        assert token == await store.find(hash_token(plaintext))
        saboteur.execute("ALTER TABLE hidden RENAME TO token_revision")
    admin.revoke("1")

    async def is_revoked() -> bool:
        return evolve(token, is_active=False) == await store.find(hash_token(plaintext))

    await eventually(is_revoked)
    assert ["cannot look for revoked tokens", "cannot look for revoked tokens"] == [
        record.getMessage().split(",")[0] for record in caplog.records
    ]


async def test_closing_twice_is_fine(store: TokenStore) -> None:
    await store.aclose()
    await store.aclose()
