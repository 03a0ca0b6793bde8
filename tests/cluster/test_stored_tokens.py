"""Tokens and sessions of all nodes in PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import trio
from attrs import evolve

from pg_trio.cluster.postgres.postgres_pool import PostgresPool
from pg_trio.cluster.postgres.postgres_sessions import PostgresSessions
from pg_trio.cluster.postgres.postgres_token_admin import PostgresTokenAdmin
from pg_trio.cluster.postgres.postgres_tokens import PostgresTokens
from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.chat import Message
from pg_trio.domain.mint_terms import MintTerms
from pg_trio.domain.project import TokenLimits
from pg_trio.domain.session import Turn
from pg_trio.errors import StoreError, TokensUnavailable
from pg_trio.store.token_file import KEY_AGE_S, KEY_REST_S, hash_token
from pg_trio.stores.client_tokens import ClientTokens
from tests.cluster.waiting import wait_for
from tests.support.engine_relay import engine_relay
from tests.support.engines import PostgresServer
from tests.support.postgres_ledger import migrated_pool

PROJECT, ENDPOINT = UUID(int=1), UUID(int=2)
TERMS = MintTerms(600, frozenset({"support"}), "ada")
SETTINGS = GatewaySettings(data_dir=Path("/nowhere"), token_used_flush_ms=20)


@pytest.fixture
async def pool(nursery: trio.Nursery, postgres_url: str) -> AsyncIterator[PostgresPool]:
    opened = await migrated_pool(nursery, postgres_url)
    yield opened
    opened.close()


@pytest.fixture
def admin(pool: PostgresPool, postgres_url: str) -> Iterator[PostgresTokenAdmin]:
    with PostgresTokenAdmin(postgres_url) as opened:
        yield opened


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_created_token_is_found_and_recalled(pool: PostgresPool, admin: PostgresTokenAdmin) -> None:
    limits = TokenLimits(rate_limit_per_minute=5, max_concurrent=2)
    token, plaintext = admin.create(PROJECT, "ci", "test", ("models", "chat"), limits)
    tokens = PostgresTokens(pool, SETTINGS)

    found = await tokens.find(hash_token(plaintext))

    assert (token, token) == (found, tokens.recall(hash_token(plaintext), 0.0))
    assert (("chat", "models"), limits, plaintext[:16]) == (token.scopes, token.limits, token.prefix)
    assert await tokens.find(hash_token("pg_live_unknown")) is None
    assert [token] == await tokens.list_tokens(PROJECT) == admin.list_tokens() == admin.list_tokens(PROJECT)
    assert [] == admin.list_tokens(UUID(int=9))


async def test_revocation_is_told(pool: PostgresPool, admin: PostgresTokenAdmin, nursery: trio.Nursery) -> None:
    token, plaintext = admin.create(PROJECT, "ci")
    tokens = PostgresTokens(pool, SETTINGS)
    nursery.start_soon(tokens.run)
    await tokens.find(hash_token(plaintext))

    admin.revoke(plaintext)

    await wait_for(lambda: tokens.recall(hash_token(plaintext), 0.0) is None)
    found = await tokens.find(hash_token(plaintext))
    assert found == evolve(token, is_active=False)


async def test_lost_notification_is_made_good_by_the_poll(
    pool: PostgresPool, admin: PostgresTokenAdmin, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pg_trio.cluster.postgres.changes.CHANNEL", "another")
    _, plaintext = admin.create(PROJECT, "ci")
    tokens = PostgresTokens(pool, SETTINGS)
    nursery.start_soon(tokens.run)
    await tokens.find(hash_token(plaintext))

    admin.revoke(plaintext)

    await wait_for(lambda: tokens.recall(hash_token(plaintext), 0.0) is None)


@pytest.mark.parametrize("channel", ["pgtrio", "another"])
async def test_change_costs_no_other_token_its_place(
    pool: PostgresPool,
    admin: PostgresTokenAdmin,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
    channel: str,
) -> None:
    # On another channel every notification is lost, and the poll names what has changed.
    monkeypatch.setattr("pg_trio.cluster.postgres.changes.CHANNEL", channel)
    texts = [admin.create(PROJECT, name)[1] for name in ("kept", "revoked", "rotated", "limited", "deleted")]
    kept, revoked, rotated, limited, _ = texts
    tokens = PostgresTokens(pool, SETTINGS)
    await tokens.begin()
    nursery.start_soon(tokens.run)
    for text in texts:
        await tokens.find(hash_token(text))

    admin.revoke(revoked)
    admin.rotate(rotated)
    admin.set_limits(limited, max_concurrent=1)
    admin._connection.execute("DELETE FROM pgtrio.tokens WHERE name = 'deleted'")

    await wait_for(lambda: all(tokens.recall(hash_token(text), 0.0) is None for text in texts[1:]))
    # PostgreSQL goes away at that moment.
    pool.close()
    assert tokens.recall(hash_token(kept), 0.0) is not None
    for text in texts[1:]:
        with pytest.raises(StoreError, match="PostgreSQL"):
            await tokens.find(hash_token(text))


async def test_notification_alone_forgets_a_token(
    pool: PostgresPool, admin: PostgresTokenAdmin, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, revoked = admin.create(PROJECT, "revoked")
    _, kept = admin.create(PROJECT, "kept")
    tokens = PostgresTokens(pool, SETTINGS)
    await tokens.begin()
    for text in (revoked, kept):
        await tokens.find(hash_token(text))
    # What has changed cannot be read any more.
    monkeypatch.setattr("pg_trio.cluster.postgres.token_changes.READ", "SELECT pg_sleep(3600), %s, %s")
    nursery.start_soon(tokens.run)

    # It may not listen yet.
    with trio.fail_after(10):
        while tokens.recall(hash_token(revoked), 0.0) is not None:
            admin.set_limits(revoked, max_concurrent=1)
            await trio.sleep(0.05)

    assert tokens.recall(hash_token(kept), 0.0) is not None


async def test_created_token_is_found_where_it_was_unknown(
    pool: PostgresPool, admin: PostgresTokenAdmin, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pg_trio.cluster.postgres.postgres_token_admin.invent_plaintext", lambda env: "pg_live_known")
    tokens = PostgresTokens(pool, SETTINGS)
    await tokens.begin()
    nursery.start_soon(tokens.run)
    assert await tokens.find(hash_token("pg_live_known")) is None

    admin.create(PROJECT, "ci")

    with trio.fail_after(10):
        while await tokens.find(hash_token("pg_live_known")) is None:  # noqa: ASYNC110
            await trio.sleep(0.005)


@pytest.mark.parametrize(
    "change",
    [
        # Their names are not kept any more.
        "DO $$ BEGIN FOR n IN 1..1100 LOOP UPDATE pgtrio.tokens SET name = n::text WHERE id = 1; END LOOP; END $$",
        # More than are read.
        "INSERT INTO pgtrio.tokens (project_uuid, name, prefix, digest, env, scopes, created_at)"
        " SELECT gen_random_uuid(), '', '', sha256(n::text::bytea), 'live', '', 0 FROM generate_series(1, 1100) n",
        "TRUNCATE pgtrio.tokens",
        # As in a database that was restored.
        "UPDATE pgtrio.revisions SET revision = 0",
    ],
)
async def test_everything_is_forgotten_where_names_are_missing(
    pool: PostgresPool, admin: PostgresTokenAdmin, nursery: trio.Nursery, change: str
) -> None:
    texts = [admin.create(PROJECT, name)[1] for name in ("one", "two")]
    tokens = PostgresTokens(pool, SETTINGS)
    await tokens.begin()
    for text in texts:
        await tokens.find(hash_token(text))

    admin._connection.execute(change.encode())
    nursery.start_soon(tokens.run)

    await wait_for(lambda: all(tokens.recall(hash_token(text), 0.0) is None for text in texts))


async def test_only_the_newest_names_are_kept(pool: PostgresPool, admin: PostgresTokenAdmin) -> None:
    admin.create(PROJECT, "ci")
    for _ in range(3):
        admin._connection.execute(
            "DO $$ BEGIN FOR n IN 1..600 LOOP UPDATE pgtrio.tokens SET name = n::text; END LOOP; END $$"
        )

    count = admin._connection.execute("SELECT count(*) FROM pgtrio.token_changes").fetchone()

    # Each change names the token as it was and as it is.
    assert (2000,) == count


async def test_revocation_while_cut_off_holds_after_the_reconnection(
    admin: PostgresTokenAdmin, nursery: trio.Nursery, postgres_url: str
) -> None:
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    _, revoked = admin.create(PROJECT, "revoked")
    _, kept = admin.create(PROJECT, "kept")
    async with engine_relay(port) as relay:
        relayed = await migrated_pool(nursery, postgres_url.replace(f":{port}/", f":{relay.port}/"), 1.0)
        tokens = PostgresTokens(relayed, SETTINGS)
        await tokens.begin()
        nursery.start_soon(tokens.run)
        for text in (revoked, kept):
            await tokens.find(hash_token(text))
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not relayed.is_up)

        admin.revoke(revoked)
        meanwhile = [tokens.recall(hash_token(text), 0.0) is None for text in (revoked, kept)]
        relay.accepts = True
        await wait_for(lambda: tokens.recall(hash_token(revoked), 0.0) is None)

        assert [False, False] == meanwhile
        assert tokens.recall(hash_token(kept), 0.0) is not None
        relayed.close()


async def test_use_is_written_and_tells_no_change(
    pool: PostgresPool, admin: PostgresTokenAdmin, nursery: trio.Nursery, postgres_server: PostgresServer
) -> None:
    token, _ = admin.create(PROJECT, "ci")
    tokens = PostgresTokens(pool, SETTINGS)
    await tokens.begin()
    revision = postgres_server.query("SELECT revision FROM pgtrio.revisions", pool.conninfo)
    nursery.start_soon(tokens.run)

    tokens.note_used(token.id, 1_763_800_000.5)

    await wait_for(lambda: admin.list_tokens()[0].last_used_at == 1_763_800_000.5)
    assert revision == postgres_server.query("SELECT revision FROM pgtrio.revisions", pool.conninfo)


async def test_token_is_rotated_and_limited(admin: PostgresTokenAdmin) -> None:
    token, plaintext = admin.create(PROJECT, "ci")

    rotated, fresh = admin.rotate(token.prefix)
    limited = admin.set_limits(str(token.id), tokens_per_minute=100)

    assert (token.id, fresh[:16]) == (rotated.id, rotated.prefix)
    assert TokenLimits(tokens_per_minute=100) == limited.limits
    with pytest.raises(StoreError, match="No token"):
        admin.revoke(plaintext)
    admin.revoke(fresh)
    with pytest.raises(StoreError, match="is revoked and stays so"):
        admin.rotate(str(token.id))


async def test_known_tokens_work_while_postgres_is_away(pool: PostgresPool, admin: PostgresTokenAdmin) -> None:
    _, plaintext = admin.create(PROJECT, "ci")
    tokens = PostgresTokens(pool, SETTINGS)
    await tokens.find(hash_token(plaintext))
    pool.close()

    assert tokens.recall(hash_token(plaintext), 0.0) is not None
    with pytest.raises(StoreError, match="PostgreSQL"):
        await tokens.find(hash_token("pg_live_other"))


async def test_worker_that_was_stopped_looks_first(pool: PostgresPool, admin: PostgresTokenAdmin) -> None:
    token, plaintext = admin.create(PROJECT, "ci")
    now = [100.0]
    tokens = PostgresTokens(pool, SETTINGS, lambda: now[0])
    await tokens.begin()
    await tokens.find(hash_token(plaintext))
    admin.revoke(plaintext)

    before = tokens.recall(hash_token(plaintext), 101.0)
    now[0] = 103.0
    after = tokens.recall(hash_token(plaintext), 103.0)

    assert (token, None) == (before, after)
    assert evolve(token, is_active=False) == await tokens.find(hash_token(plaintext))


async def test_worker_that_was_stopped_goes_on_without_postgres(pool: PostgresPool, admin: PostgresTokenAdmin) -> None:
    token, plaintext = admin.create(PROJECT, "ci")
    now = [100.0]
    tokens = PostgresTokens(pool, SETTINGS, lambda: now[0])
    await tokens.begin()
    await tokens.find(hash_token(plaintext))
    pool.close()
    now[0] = 103.0

    assert token == await tokens.find(hash_token(plaintext)) == tokens.recall(hash_token(plaintext), 103.0)


# ── client tokens ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nodes_have_one_key(pool: PostgresPool, admin: PostgresTokenAdmin) -> None:
    workers = [PostgresTokens(pool, SETTINGS) for _ in range(5)]
    async with trio.open_nursery() as starting:
        for worker in workers:
            starting.start_soon(worker.begin)
    parent, _ = admin.create(PROJECT, "server", scopes=("mint",))
    minted, text = ClientTokens(workers[0]).mint(parent, TERMS, time.time())

    found = await ClientTokens(workers[4]).find(text, hash_token(text), time.time())

    assert found is not None
    assert (minted, parent.id) == (found.grant, found.id)
    assert 1 == len({key.secret for worker in workers for key in worker.signing_keys})


async def test_old_key_rests_and_then_goes(
    pool: PostgresPool, postgres_server: PostgresServer, nursery: trio.Nursery
) -> None:
    first = PostgresTokens(pool, SETTINGS)
    await first.begin()
    nursery.start_soon(first.run)
    seen = []
    for passed_s in (KEY_AGE_S, KEY_REST_S / 2, KEY_AGE_S):
        postgres_server.query(
            f"UPDATE pgtrio.signing_keys SET created_at = created_at - {passed_s + 60}", pool.conninfo
        )
        worker = PostgresTokens(pool, SETTINGS)
        await worker.begin()
        seen.append([key.id for key in worker.signing_keys])

    # At the third time no valid token is of the first key.
    assert [[2, 1], [2, 1], [3, 2]] == seen
    await wait_for(lambda: [3, 2] == [key.id for key in first.signing_keys])


async def test_deleted_key_ends_client_tokens_and_no_other(
    pool: PostgresPool, admin: PostgresTokenAdmin, nursery: trio.Nursery
) -> None:
    parent, plaintext = admin.create(PROJECT, "server", scopes=("mint",))
    tokens = PostgresTokens(pool, SETTINGS)
    await tokens.begin()
    nursery.start_soon(tokens.run)
    await tokens.find(hash_token(plaintext))
    client_tokens = ClientTokens(tokens)
    _, text = client_tokens.mint(parent, TERMS, time.time())
    assert await client_tokens.find(text, hash_token(text), time.time()) is not None

    admin._connection.execute("DELETE FROM pgtrio.signing_keys")

    await wait_for(lambda: client_tokens.recall(hash_token(text), time.time()) is None)
    assert await client_tokens.find(text, hash_token(text), time.time()) is None
    assert tokens.recall(hash_token(plaintext), 0.0) is not None


async def test_client_tokens_end_with_their_parent_alone(
    pool: PostgresPool, admin: PostgresTokenAdmin, nursery: trio.Nursery
) -> None:
    parents = [admin.create(PROJECT, name, scopes=("mint",))[0] for name in ("one", "two")]
    tokens = PostgresTokens(pool, SETTINGS)
    await tokens.begin()
    nursery.start_soon(tokens.run)
    client_tokens = ClientTokens(tokens)
    texts = [client_tokens.mint(parent, TERMS, time.time())[1] for parent in parents]
    for text in texts:
        assert await client_tokens.find(text, hash_token(text), time.time()) is not None

    admin.revoke(str(parents[0].id))

    await wait_for(lambda: client_tokens.recall(hash_token(texts[0]), time.time()) is None)
    assert client_tokens.recall(hash_token(texts[1]), time.time()) is not None


async def test_client_token_cannot_be_judged_before_the_database_was_reached(
    pool: PostgresPool, admin: PostgresTokenAdmin
) -> None:
    tokens = PostgresTokens(pool, SETTINGS)
    await tokens.begin()
    parent, _ = admin.create(PROJECT, "server", scopes=("mint",))
    _, text = ClientTokens(tokens).mint(parent, TERMS, time.time())
    await ClientTokens(tokens).find(text, hash_token(text), time.time())
    pool.close()
    late = PostgresTokens(pool, SETTINGS)
    await late.begin()

    assert await ClientTokens(tokens).find(text, hash_token(text), time.time()) is not None
    with pytest.raises(StoreError, match="keys of client tokens"):
        await ClientTokens(late).find(text, hash_token(text), time.time())
    with pytest.raises(TokensUnavailable):
        ClientTokens(late).mint(parent, TERMS, time.time())


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def turn_of(session: UUID, text: str, *, is_first: bool = False, at: float = 100.0) -> Turn:
    said = (Message("user", text), Message("assistant", f"{text}, and \x00 more"))
    return Turn(session, is_first, ENDPOINT, 7, at, said, 12, {1: f"tag {text}"})


async def test_turns_are_read_in_order(pool: PostgresPool) -> None:
    sessions, session = PostgresSessions(pool, {}), uuid4()

    kept = [
        await sessions.append(turn_of(session, "a", is_first=True)),
        await sessions.append(turn_of(session, "b", at=90.0)),
    ]
    stored = await sessions.load(session)

    assert [True, True] == kept
    assert stored is not None
    assert ["a", "a, and \x00 more", "b", "b, and \x00 more"] == [message.content for message in stored.messages]
    assert (ENDPOINT, 7, 100.0, 100.0) == (
        stored.endpoint,
        stored.token_id,
        stored.created_at,
        stored.last_active_at,
    )
    assert (4, 24, {"tag a": 1, "tag b": 3}) == (stored.message_count, stored.token_count, stored.tags)
    assert await sessions.load(uuid4()) is None


async def test_turns_of_two_nodes_stay_pairs(pool: PostgresPool, nursery: trio.Nursery, postgres_url: str) -> None:
    other = await migrated_pool(nursery, postgres_url)
    nodes, session = [PostgresSessions(each, {}) for each in (pool, other)], uuid4()
    await nodes[0].append(turn_of(session, "first", is_first=True))

    async with trio.open_nursery() as writers:
        for number in range(20):
            writers.start_soon(nodes[number % 2].append, turn_of(session, str(number)))
    stored = await nodes[0].load(session)
    other.close()

    assert stored is not None
    texts = [str(message.content) for message in stored.messages]
    assert [f"{one}, and \x00 more" for one in texts[::2]] == texts[1::2]
    assert 42 == len(texts)


async def test_turn_of_a_deleted_session_is_not_stored(pool: PostgresPool) -> None:
    sessions, session = PostgresSessions(pool, {ENDPOINT: 50.0}), uuid4()
    await sessions.append(turn_of(session, "a", is_first=True))
    stored = await sessions.load(session)
    assert stored is not None

    await sessions.forget(stored)

    assert (None, False) == (await sessions.load(session), await sessions.append(turn_of(session, "b")))


async def test_session_with_a_newer_turn_is_not_forgotten(pool: PostgresPool) -> None:
    sessions, session = PostgresSessions(pool, {}), uuid4()
    await sessions.append(turn_of(session, "a", is_first=True))
    stored = await sessions.load(session)
    assert stored is not None
    await sessions.append(turn_of(session, "b", at=200.0))

    await sessions.forget(stored)

    assert await sessions.load(session) is not None


async def test_old_sessions_are_purged(pool: PostgresPool) -> None:
    sessions, old, new = PostgresSessions(pool, {ENDPOINT: 50.0}), uuid4(), uuid4()
    await sessions.append(turn_of(old, "a", is_first=True, at=100.0))
    await sessions.append(turn_of(new, "a", is_first=True, at=130.0))

    assert 1 == await sessions.purge(160.0)

    assert (True, False) == (await sessions.load(old) is None, await sessions.load(new) is None)


async def test_turn_whose_answer_was_lost_is_stored_once(
    pool: PostgresPool, nursery: trio.Nursery, postgres_url: str
) -> None:
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    session, kept = uuid4(), []
    async with engine_relay(port) as relay:
        relayed = await migrated_pool(nursery, postgres_url.replace(f":{port}/", f":{relay.port}/"))
        sessions = PostgresSessions(relayed, {})
        await sessions.append(turn_of(session, "a", is_first=True))
        relay.replies.close()

        async def append() -> None:
            kept.append(await sessions.append(turn_of(session, "b")))

        async with trio.open_nursery() as writer:
            writer.start_soon(append)
            await relay.replies.wait_held()
            # The turn is committed, and its answer is lost.
            relay.replies.open()
            relay.cut()
        relayed.close()

    stored = await PostgresSessions(pool, {}).load(session)
    assert stored is not None
    assert ([True], 4) == (kept, stored.message_count)


async def test_sessions_fail_while_postgres_is_away(pool: PostgresPool) -> None:
    sessions = PostgresSessions(pool, {})
    pool.close()

    with pytest.raises(StoreError, match="PostgreSQL is away"):
        await sessions.load(uuid4())
    with pytest.raises(StoreError, match="PostgreSQL is away"):
        await sessions.append(turn_of(uuid4(), "a", is_first=True))
    assert not sessions.is_up
