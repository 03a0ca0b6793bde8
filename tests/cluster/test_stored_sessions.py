"""Sessions in PostgreSQL while their tables are locked."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest
import trio

from pg_trio.cluster.postgres.postgres_pool import PostgresPool, Work
from pg_trio.cluster.postgres.postgres_sessions import PostgresSessions
from pg_trio.errors import StoreError
from tests.cluster.test_stored_tokens import turn_of
from tests.support.postgres_ledger import migrated_pool

LIMIT_S = 0.3


async def test_turn_that_meets_a_lock_waits_for_one_limit(
    nursery: trio.Nursery, postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await migrated_pool(nursery, postgres_url)
    pool.limit_s = LIMIT_S
    ends, use = [], PostgresPool.use

    async def note_use(pool: PostgresPool, work: Work[object], limit_s: float | None = None) -> object:
        ends.append(trio.current_time() + (limit_s or pool.limit_s))
        return await use(pool, work, limit_s)

    monkeypatch.setattr(PostgresPool, "use", note_use)
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE pgtrio.sessions")

        with pytest.raises(StoreError, match="does not answer in time"):
            await PostgresSessions(pool, {}).append(turn_of(uuid4(), "a", is_first=True))

    assert ends[-1] < ends[0] + LIMIT_S / 2
    assert "cannot use sessions: PostgreSQL does not answer in time. Trying again until it works." in caplog.messages
    pool.close()
