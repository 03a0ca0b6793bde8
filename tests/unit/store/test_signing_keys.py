"""The keys that sign client tokens: one for all workers, renewed, and kept while a token may need them."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio

from pg_trio.config.settings import GatewaySettings
from pg_trio.store.token_file import KEY_AGE_S, KEY_REST_S, open_tokens, read_signing_keys, renew_signing_keys
from pg_trio.store.tokens import TokenStore

PATIENCE_S = 10


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(data_dir=tmp_path / "data", token_poll_ms=5)


def renewals(settings: GatewaySettings, *at: float) -> Iterator[list[int]]:
    """The ids of the keys after a start at each of these times."""
    with closing(open_tokens(settings.data_dir, 1.0)) as connection:
        for now_s in at:
            renew_signing_keys(connection, now_s)
            yield [key.id for key in read_signing_keys(connection)]


async def test_workers_have_the_same_key(settings: GatewaySettings) -> None:
    async with await TokenStore.open(settings) as one, await TokenStore.open(settings) as other:
        (key,) = one.signing_keys

        assert (key,) == other.signing_keys
        assert 32 == len(key.secret)
        assert 0o600 == stat.S_IMODE((settings.data_dir / "tokens.db").stat().st_mode)


def test_old_key_rests_and_then_goes(settings: GatewaySettings) -> None:
    settings.data_dir.mkdir(mode=0o700)
    month = KEY_AGE_S + 1

    found = list(renewals(settings, 0.0, KEY_AGE_S - 1, month, month + KEY_REST_S, 2 * month, 3 * month))

    assert [[1], [1], [2, 1], [2, 1], [3, 2], [4, 3]] == found


async def test_new_key_is_known_within_a_poll(settings: GatewaySettings) -> None:
    async with await TokenStore.open(settings) as store, trio.open_nursery() as nursery:
        nursery.start_soon(store.watch)
        with closing(open_tokens(settings.data_dir, 1.0)) as connection:
            renew_signing_keys(connection, store.signing_keys[0].created_at + KEY_AGE_S + 1)

        with trio.fail_after(PATIENCE_S):
            while len(store.signing_keys) == 1:  # noqa: ASYNC110 - another connection made the change
                await trio.sleep(0.001)
        nursery.cancel_scope.cancel()

        assert [2, 1] == [key.id for key in store.signing_keys]


async def test_gateway_starts_without_a_key(settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: object, now_s: float) -> None:
        import sqlite3

        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("pg_trio.store.tokens.renew_signing_keys", fail)

    async with await TokenStore.open(settings) as store:
        assert () == store.signing_keys
