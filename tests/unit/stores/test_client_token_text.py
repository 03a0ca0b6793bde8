"""The text of client tokens: what was stated is read again, and nothing else is."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.client_grant import ClientGrant, holder_key
from pg_trio.domain.signing_key import SigningKey, choose_signing_key
from pg_trio.stores.client_token_text import MOST_CHARS, mark_parent, read_text, write_text

KEY = SigningKey(1, bytes(range(32)), 0.0)
OTHER_KEY = SigningKey(2, bytes(32), 0.0)
DIGEST = bytes(range(32, 64))
LIMITS = st.none() | st.integers(1, 10**9)
GRANTS = st.builds(
    ClientGrant,
    token_id=st.from_regex(r"[A-Za-z0-9_-]{12}", fullmatch=True),
    parent_id=st.integers(1, 2**62),
    expires_at=st.integers(0, 2**40),
    endpoints=st.frozensets(st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True), min_size=1, max_size=8),
    subject=st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    rate_limit_per_minute=LIMITS,
    max_concurrent=LIMITS,
    monthly_budget_nano_usd=st.none() | st.integers(1, 10**18),
)
GRANT = ClientGrant("abcdefghijkl", 7, 1_796_000_000, frozenset({"support"}), "user-17", 20, 2, 500_000_000)


@given(GRANTS)
def test_what_was_written_is_read(grant: ClientGrant) -> None:
    text = write_text(grant, DIGEST, KEY)

    signed = read_text(text, [OTHER_KEY, KEY])

    assert signed is not None
    assert (grant, KEY) == (signed.grant, signed.key)
    assert mark_parent(DIGEST, KEY) == signed.parent_mark
    assert re.fullmatch(r"pg_tmp_[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}", text)


@given(st.data())
def test_another_character_anywhere_is_refused(data: st.DataObject) -> None:
    text = write_text(GRANT, DIGEST, KEY)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([sign for sign in map(chr, range(33, 127)) if sign != text[place]]))

    assert read_text(text[:place] + other + text[place + 1 :], [KEY]) is None


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200))
def test_invented_text_is_refused(tail: str) -> None:
    assert read_text("pg_tmp_" + tail, [KEY]) is None


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_form_of_another_release_is_refused(version: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pg_trio.stores.client_token_text.VERSION", version)
    text = write_text(GRANT, DIGEST, KEY)
    monkeypatch.undo()

    assert read_text(text, [KEY]) is None


def test_key_that_is_gone_signs_nothing() -> None:
    assert read_text(write_text(GRANT, DIGEST, OTHER_KEY), [KEY]) is None
    assert read_text(write_text(GRANT, DIGEST, KEY), []) is None


def test_too_long_text_is_not_looked_at() -> None:
    text = write_text(evolve(GRANT, subject="x" * MOST_CHARS), DIGEST, KEY)

    assert read_text(text, [KEY]) is None


def test_parents_digest_does_not_show() -> None:
    text = write_text(GRANT, DIGEST, KEY)

    assert urlsafe_b64encode(DIGEST).decode().rstrip("=") not in text
    assert mark_parent(DIGEST, KEY) != mark_parent(DIGEST, OTHER_KEY)


@given(GRANTS, GRANTS)
def test_holders_are_told_apart(one: ClientGrant, other: ClientGrant) -> None:
    same = (one.parent_id, one.subject or one.token_id) == (other.parent_id, other.subject or other.token_id)

    assert 17 == len(one.key)
    assert one.key == holder_key(one.parent_id, one.holder)
    assert same or one.key != other.key


def test_subject_is_never_a_tokens_id() -> None:
    named, nameless = evolve(GRANT, subject="abcdefghijkl"), evolve(GRANT, subject=None)
    disguised = evolve(GRANT, subject="t:abcdefghijkl")

    assert 3 == len({named.key, nameless.key, disguised.key})


@pytest.mark.parametrize(
    ("ages_s", "chosen"),
    [([], None), ([0.0], 0), ([5.0, 0.0], 0), ([0.0, 100.0], 1), ([20.0, 100.0], 0), ([-50.0, 100.0], 1)],
)
def test_key_signs_when_every_worker_knows_it(ages_s: list[float], chosen: int | None) -> None:
    keys = tuple([SigningKey(9 - number, bytes(32), 1_000.0 - age) for number, age in enumerate(ages_s)])

    found = choose_signing_key(keys, 1_000.0)

    # Where all are new, the oldest.
    expected = None if chosen is None else keys[-1] if all(age < 10 for age in ages_s) else keys[chosen]
    assert expected == found
