"""A worker that did not run: it looks for revoked tokens and operators' changes before it serves a token from memory.

The tasks that poll do not run here, as after a pause: requests may come first. Real files and threads, no real time.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
import trio
import trio.testing
from attrs import define, evolve, field

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.mint_terms import MintTerms
from pg_trio.domain.operator import Change, Operator, Override
from pg_trio.domain.signing_key import KNOWN_AFTER_S
from pg_trio.errors import StoreError
from pg_trio.store.operators import OperatorStore
from pg_trio.store.polls import FRESH_S, Polls
from pg_trio.store.token_admin import TokenAdmin
from pg_trio.store.token_cache import TokenCache
from pg_trio.store.token_file import KEY_AGE_S, hash_token, open_tokens, renew_signing_keys
from pg_trio.store.tokens import TokenStore
from pg_trio.stores.client_tokens import ClientTokens

SUPPORT = UUID("6f1c0000-0000-4000-8000-000000000001")
TERMS = MintTerms(600, frozenset({"support"}), "ada")


@define
class Clock:
    """Unix seconds."""

    now_s: float = 1_000.0

    def read(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[TokenAdmin]:
    with closing(TokenAdmin(tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
async def store(tmp_path: Path, admin: TokenAdmin, clock: Clock) -> AsyncIterator[TokenStore]:
    settings = GatewaySettings(data_dir=tmp_path / "data")
    async with await TokenStore.open(settings, busy_limit_s=0.05, now_s=clock.read) as opened:
        yield opened


# ── the store ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_token_revoked_in_a_pause_is_refused(store: TokenStore, admin: TokenAdmin, clock: Clock) -> None:
    token, plaintext = admin.create(SUPPORT, "ci")
    digest = hash_token(plaintext)
    await store.find(digest)
    admin.revoke("1")

    within = store.recall(digest, clock.now_s + FRESH_S)
    clock.now_s += 3
    after = store.recall(digest, clock.now_s)
    found = await store.find(digest)

    assert (token, None) == (within, after)
    assert evolve(token, is_active=False) == found


async def test_other_tokens_are_recalled_again(store: TokenStore, admin: TokenAdmin, clock: Clock) -> None:
    token, plaintext = admin.create(SUPPORT, "ci")
    digest = hash_token(plaintext)
    await store.find(digest)
    clock.now_s += 3

    await store.find(digest)

    assert token == store.recall(digest, clock.now_s)
    assert store.recall(digest, clock.now_s + FRESH_S + 1) is None


async def test_client_tokens_end_with_a_parent_revoked_in_a_pause(
    store: TokenStore, admin: TokenAdmin, clock: Clock
) -> None:
    parent, _ = admin.create(SUPPORT, "server", scopes=("mint",))
    client_tokens = ClientTokens(store)
    _, text = client_tokens.mint(parent, TERMS, clock.now_s)
    digest = hash_token(text)
    await client_tokens.find(text, digest, clock.now_s)
    assert client_tokens.recall(digest, clock.now_s) is not None
    admin.revoke("1")
    clock.now_s += 3

    assert client_tokens.recall(digest, clock.now_s) is None
    assert await client_tokens.find(text, digest, clock.now_s) is None


async def test_key_made_in_a_pause_is_known(tmp_path: Path, store: TokenStore, admin: TokenAdmin, clock: Clock) -> None:
    parent, _ = admin.create(SUPPORT, "server", scopes=("mint",))
    made_at = store.signing_keys[0].created_at + KEY_AGE_S + 1
    with closing(open_tokens(tmp_path / "data", 1.0)) as connection:
        renew_signing_keys(connection, made_at)
    clock.now_s = made_at + KNOWN_AFTER_S + 1
    async with await TokenStore.open(GatewaySettings(data_dir=tmp_path / "data"), now_s=clock.read) as other:
        _, text = ClientTokens(other).mint(parent, TERMS, clock.now_s)

    assert await ClientTokens(store).find(text, hash_token(text), clock.now_s) is not None


async def test_unreadable_file_costs_no_known_token(store: TokenStore, admin: TokenAdmin, clock: Clock) -> None:
    token, plaintext = admin.create(SUPPORT, "ci")
    digest = hash_token(plaintext)
    await store.find(digest)
    with closing(sqlite3.connect(store._lookups._path, isolation_level=None)) as saboteur:
        saboteur.execute("ALTER TABLE token_revision RENAME TO hidden")
        clock.now_s += 3

        assert token == await store.find(digest) == store.recall(digest, clock.now_s)


# ── polls ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@define
class Polled:
    """What `Polls` polls: each poll takes `takes_s`, and waits until it may go on."""

    clock: Clock
    cache: TokenCache = field(factory=lambda: TokenCache(10))
    polls: int = 0
    takes_s: float = 0.0
    failure: StoreError | None = None
    go_on: trio.Event = field(factory=trio.Event)

    async def poll(self) -> None:
        self.polls += 1
        await self.go_on.wait()
        self.clock.now_s += self.takes_s
        if self.failure is not None:
            raise self.failure

    def watched(self, poll_s: float = 0.25) -> Polls:
        watched = Polls(self.cache, self.poll, poll_s, (StoreError,), self.clock.read)
        watched.began(self.clock.now_s)
        return watched


async def test_requests_wait_for_the_same_poll(clock: Clock) -> None:
    polled = Polled(clock)
    polls = polled.watched()
    clock.now_s += 3
    async with trio.open_nursery() as requests:
        for _ in range(100):
            requests.start_soon(polls.catch_up)
        await trio.testing.wait_all_tasks_blocked()
        polled.go_on.set()

    assert 1 == polled.polls


async def test_catching_up_in_time_is_no_checkpoint(clock: Clock) -> None:
    polled = Polled(clock)
    polls = polled.watched()
    clock.now_s += FRESH_S

    with trio.CancelScope() as scope:
        scope.cancel()
        await polls.catch_up()

    assert (0, False) == (polled.polls, scope.cancelled_caught)


async def test_poll_begun_before_a_pause_says_nothing(clock: Clock, nursery: trio.Nursery) -> None:
    polled = Polled(clock)
    polls = polled.watched()
    nursery.start_soon(polls.poll)
    await trio.testing.wait_all_tasks_blocked()
    clock.now_s += 3
    polled.go_on.set()

    await polls.catch_up()

    assert (2, clock.now_s + FRESH_S) == (polled.polls, polled.cache.good_until)


async def test_request_that_leaves_hands_its_poll_on(clock: Clock) -> None:
    polled = Polled(clock)
    polls = polled.watched()
    clock.now_s += 3
    leaving = trio.CancelScope()

    async def leave() -> None:
        with leaving:
            await polls.catch_up()

    async with trio.open_nursery() as requests:
        requests.start_soon(leave)
        await trio.testing.wait_all_tasks_blocked()
        requests.start_soon(polls.catch_up)
        await trio.testing.wait_all_tasks_blocked()
        leaving.cancel()
        polled.go_on.set()

    assert (2, clock.now_s + FRESH_S) == (polled.polls, polled.cache.good_until)


async def test_nothing_waits_while_polls_fail(clock: Clock) -> None:
    polled = Polled(clock, failure=StoreError("tokens.db: the disk failed"))
    polls = polled.watched()
    polled.go_on.set()
    for _ in range(3):
        clock.now_s += 3
        await polls.catch_up()
    failing = (polled.polls, polled.cache.good_until)

    polled.failure = None
    await polls.poll()

    assert (1, math.inf) == failing
    assert clock.now_s + FRESH_S == polled.cache.good_until


async def test_rare_polls_are_waited_for(clock: Clock) -> None:
    polled = Polled(clock)

    polled.watched(poll_s=60)

    assert clock.now_s + 120 == polled.cache.good_until


async def test_other_file_is_looked_at_first(clock: Clock, nursery: trio.Nursery) -> None:
    polled = Polled(clock)
    polls = polled.watched()
    looked = trio.Event()
    polls.poll_after(looked.wait)
    polled.go_on.set()
    clock.now_s += 3

    nursery.start_soon(polls.catch_up)
    await trio.testing.wait_all_tasks_blocked()
    before = polled.polls, polled.cache.good_until
    looked.set()
    await trio.testing.wait_all_tasks_blocked()

    assert (0, clock.now_s - 3 + FRESH_S) == before
    assert (1, clock.now_s + FRESH_S) == (polled.polls, polled.cache.good_until)


# ── operators' overrides ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_overrides_of_a_pause_hold_before_a_token_is_recalled(
    tmp_path: Path, store: TokenStore, admin: TokenAdmin, clock: Clock, nursery: trio.Nursery
) -> None:
    _, plaintext = admin.create(SUPPORT, "ci")
    digest = hash_token(plaintext)
    await store.find(digest)
    held: list[Sequence[Override]] = []
    seen = trio.Event()

    def hold(overrides: Sequence[Override]) -> None:
        held.append(overrides)
        seen.set()

    operators = await OperatorStore.open(tmp_path / "data", clock.read)
    async with trio.open_nursery() as watching:
        watching.start_soon(operators.watch, hold)
        await seen.wait()
        # As when a process is stopped: nothing polls any more.
        watching.cancel_scope.cancel()
    store.poll_after(operators.catch_up)
    switched_off = Override("provider:openai", "is_active", False)
    operator = Operator(1, "Olga", "pg_op_", bytes(32), "operator", True, 0.0)
    await operators.override([switched_off], Change(operator, "update", "provider:openai", None))
    clock.now_s += 3

    recalled = store.recall(digest, clock.now_s)
    await store.find(digest)
    await operators.aclose()

    assert recalled is None
    assert [[], [switched_off]] == held
