"""What is remembered, what is forgotten, and in which order."""

from __future__ import annotations

import hmac
from uuid import UUID

import pytest

from pg_trio.domain.project import Token
from pg_trio.store.token_cache import UNSEEN, TokenCache


def make_token(number: int) -> Token:
    return Token(
        id=number,
        project_uuid=UUID(int=1),
        name="ci",
        prefix="pg_live_AAAAAAAA",
        digest=digest_of(number),
        env="live",
        scopes=("chat",),
        is_active=True,
        created_at=0.0,
    )


def digest_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def remember(cache: TokenCache, *numbers: int) -> None:
    for number in numbers:
        cache.keep(digest_of(number), make_token(number), cache.generation)


def test_unseen_known_and_unknown() -> None:
    cache = TokenCache(entries=10)
    remember(cache, 1)
    cache.keep(digest_of(2), None, cache.generation)

    answers = [cache.get(digest_of(number)) for number in (1, 2, 3)]

    assert [make_token(1), None, UNSEEN] == answers


def test_empty_digest_is_unseen() -> None:
    assert [UNSEEN, UNSEEN] == [TokenCache(entries=1).get(digest) for digest in (b"", bytes(32))]


def test_flood_evicts_no_known_token() -> None:
    cache = TokenCache(entries=10)
    remember(cache, *range(10))

    for number in range(1_000, 101_000):
        cache.keep(digest_of(number), None, cache.generation)

    assert [make_token(number) for number in range(10)] == [cache.get(digest_of(number)) for number in range(10)]
    assert [UNSEEN, None] == [cache.get(digest_of(100_989)), cache.get(digest_of(100_990))]


def test_longest_unused_goes_first() -> None:
    cache = TokenCache(entries=2)
    remember(cache, 1, 2)
    cache.get(digest_of(1))

    remember(cache, 3)

    assert [make_token(1), UNSEEN, make_token(3)] == [cache.get(digest_of(number)) for number in (1, 2, 3)]


def test_stale_read_is_not_kept() -> None:
    cache = TokenCache(entries=2)
    generation = cache.generation
    remember(cache, 1)

    cache.clear()
    cache.keep(digest_of(1), make_token(1), generation)

    assert UNSEEN is cache.get(digest_of(1))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_answer_compares_once(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    cache = TokenCache(entries=10)
    remember(cache, 1)
    cache.keep(digest_of(2), None, cache.generation)
    compare = hmac.compare_digest
    compared: list[tuple[int, int]] = []

    def compare_and_note(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return compare(left, right)

    monkeypatch.setattr("pg_trio.store.token_cache.compare_digest", compare_and_note)
    cache.get(digest_of(number))

    assert [(32, 32)] == compared


def test_client_tokens_are_remembered_until_tokens_change() -> None:
    cache = TokenCache(entries=10)
    remember(cache, 1)
    cache.keep_verified(digest_of(2), make_token(2), cache.generation)
    cache.keep_by_id(1, make_token(1), cache.generation)
    cache.keep_by_id(3, None, cache.generation)

    before = (cache.get(digest_of(2)), cache.recall_verified(digest_of(2), 0.0), cache.get_by_id(1), cache.get_by_id(3))
    stale = cache.generation
    cache.clear()
    cache.keep_verified(digest_of(2), make_token(2), stale)
    cache.keep_by_id(1, make_token(1), stale)

    assert (UNSEEN, make_token(2), make_token(1), None) == before
    assert (None, UNSEEN) == (cache.recall_verified(digest_of(2), 0.0), cache.get_by_id(1))


def test_flood_of_client_tokens_evicts_client_tokens_alone() -> None:
    cache = TokenCache(entries=10)
    remember(cache, *range(10))

    for number in range(1_000, 2_000):
        cache.keep_verified(digest_of(number), make_token(number), cache.generation)
        cache.keep_by_id(number, make_token(number), cache.generation)

    assert [make_token(number) for number in range(10)] == [cache.get(digest_of(number)) for number in range(10)]
    assert [None, make_token(1_990)] == [cache.recall_verified(digest_of(number), 0.0) for number in (1_989, 1_990)]
    assert [UNSEEN, make_token(1_990)] == [cache.get_by_id(number) for number in (1_989, 1_990)]


def test_forget_drops_the_named_alone() -> None:
    cache = TokenCache(entries=10)
    remember(cache, 1, 2)
    for number in (1, 2):
        cache.keep_verified(digest_of(number + 10), make_token(number), cache.generation)
        cache.keep_by_id(number, make_token(number), cache.generation)
    for number in (3, 4):
        cache.keep(digest_of(number), None, cache.generation)

    cache.forget({1}, {digest_of(3)})

    assert [UNSEEN, make_token(2)] == [cache.get(digest_of(number)) for number in (1, 2)]
    assert [UNSEEN, None] == [cache.get(digest_of(number)) for number in (3, 4)]
    assert [None, make_token(2)] == [cache.recall_verified(digest_of(number), 0.0) for number in (11, 12)]
    assert [UNSEEN, make_token(2)] == [cache.get_by_id(number) for number in (1, 2)]


def test_forget_refuses_reads_in_progress() -> None:
    cache = TokenCache(entries=10)
    generation = cache.generation

    cache.forget({1})
    cache.keep(digest_of(1), make_token(1), generation)

    assert UNSEEN is cache.get(digest_of(1))


def test_forget_verified_keeps_tokens() -> None:
    cache = TokenCache(entries=10)
    remember(cache, 1)
    cache.keep_verified(digest_of(11), make_token(1), cache.generation)
    generation = cache.generation

    cache.forget_verified()
    cache.keep_verified(digest_of(12), make_token(1), generation)

    assert (make_token(1), None, None) == (
        cache.get(digest_of(1)),
        cache.recall_verified(digest_of(11), 0.0),
        cache.recall_verified(digest_of(12), 0.0),
    )
