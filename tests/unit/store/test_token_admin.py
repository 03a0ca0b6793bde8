"""Creating, listing, rotating and revoking tokens in a real file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from pg_trio.domain.project import TokenLimits
from pg_trio.errors import StoreError
from pg_trio.store.database import open_database
from pg_trio.store.migrations import Schema
from pg_trio.store.token_admin import TokenAdmin
from pg_trio.store.token_file import SCHEMA, hash_token

SUPPORT = UUID("6f1c0000-0000-4000-8000-000000000001")
SALES = UUID("6f1c0000-0000-4000-8000-000000000002")


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[TokenAdmin]:
    with TokenAdmin(tmp_path) as admin:
        yield admin


def read_revision(data_dir: Path) -> int:
    with closing(sqlite3.connect(data_dir / "tokens.db")) as connection:
        return int(connection.execute("SELECT revision FROM token_revision").fetchone()[0])


def test_created_token_is_listed(admin: TokenAdmin) -> None:
    token, plaintext = admin.create(SUPPORT, "ci", "test", ["models", "chat", "chat"])

    assert [token] == admin.list_tokens(SUPPORT)
    assert (SUPPORT, "ci", "test", ("chat", "models"), True, None) == (
        token.project_uuid,
        token.name,
        token.env,
        token.scopes,
        token.is_active,
        token.last_used_at,
    )
    assert plaintext[:16] == token.prefix
    assert hash_token(plaintext) == token.digest


@pytest.mark.parametrize("env", ["live", "test"])
def test_plaintext_names_its_env(admin: TokenAdmin, env: str) -> None:
    _, plaintext = admin.create(SUPPORT, "ci", "live" if env == "live" else "test")

    assert plaintext.startswith(f"pg_{env}_")
    assert 43 == len(plaintext.removeprefix(f"pg_{env}_"))


def test_plaintext_is_nowhere_in_files(admin: TokenAdmin, tmp_path: Path) -> None:
    _, first = admin.create(SUPPORT, "ci")
    _, second = admin.rotate("1")

    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())

    assert hash_token(second) in stored
    assert first[16:].encode() not in stored
    assert second[16:].encode() not in stored


def test_lists_one_project_or_all(admin: TokenAdmin) -> None:
    support, _ = admin.create(SUPPORT, "a")
    sales, _ = admin.create(SALES, "b")

    assert [sales] == admin.list_tokens(SALES)
    assert [support, sales] == admin.list_tokens()


@pytest.mark.parametrize(
    "pick", [lambda token, plain: str(token.id), lambda token, plain: token.prefix, lambda token, plain: plain]
)
def test_reference_is_id_prefix_or_text(admin: TokenAdmin, pick: Callable[..., str]) -> None:
    token, plaintext = admin.create(SUPPORT, "ci")

    revoked = admin.revoke(pick(token, plaintext))

    assert (token.id, False) == (revoked.id, revoked.is_active)


def test_rotation_keeps_the_row(admin: TokenAdmin) -> None:
    old, old_plaintext = admin.create(SUPPORT, "ci", "live", ["admin"])

    new, plaintext = admin.rotate(old.prefix)

    assert (old.id, "ci", ("admin",), old.created_at) == (new.id, new.name, new.scopes, new.created_at)
    assert hash_token(plaintext) == new.digest != hash_token(old_plaintext)
    assert [new] == admin.list_tokens()


def test_revoked_token_is_not_rotated(admin: TokenAdmin) -> None:
    admin.create(SUPPORT, "ci")
    admin.revoke("1")

    with pytest.raises(StoreError, match=r"Token 1 \(pg_live_.*…\) is revoked and stays so; create a new one"):
        admin.rotate("1")


@pytest.mark.parametrize("reference", ["7", "pg_live_nobody00", "", "9" * 40, "١", "' OR 1=1 --"])
def test_unknown_reference_is_refused(admin: TokenAdmin, reference: str) -> None:
    admin.create(SUPPORT, "ci")

    with pytest.raises(StoreError, match=r"No token .*pg-trio token list"):
        admin.revoke(reference)

    assert admin.list_tokens()[0].is_active


def test_refusal_cuts_a_whole_token(admin: TokenAdmin) -> None:
    with pytest.raises(StoreError) as caught:
        admin.revoke("pg_live_ABCDEFGHrest-of-the-secret")

    assert "pg_live_ABCDEFGH…" in str(caught.value)
    assert "rest" not in str(caught.value)


def test_ambiguous_prefix_names_ids(admin: TokenAdmin, tmp_path: Path) -> None:
    admin.create(SUPPORT, "a")
    admin.create(SUPPORT, "b")
    with closing(sqlite3.connect(tmp_path / "tokens.db")) as connection, connection:
        connection.execute("UPDATE tokens SET prefix = 'pg_live_AAAAAAAA'")

    with pytest.raises(StoreError, match="Several tokens begin with 'pg_live_AAAAAAAA'; use an id: 1, 2"):
        admin.revoke("pg_live_AAAAAAAA")


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[31mred", "x" * 201])
def test_unshowable_name_is_refused(admin: TokenAdmin, name: str) -> None:
    with pytest.raises(ValueError, match="a token's name has 1 to 200 printable characters"):
        admin.create(SUPPORT, name)


@pytest.mark.parametrize(("scopes", "got"), [(["chat", "root"], "root"), ([], "none")])
def test_unknown_scope_is_refused(admin: TokenAdmin, scopes: list[str], got: str) -> None:
    with pytest.raises(ValueError, match=f"one or more of chat, models, admin, proxy, mcp, mint; got {got}"):
        admin.create(SUPPORT, "ci", "live", scopes)


def test_revision_counts_all_but_use(admin: TokenAdmin, tmp_path: Path) -> None:
    revisions = [read_revision(tmp_path)]

    admin.create(SUPPORT, "ci")
    revisions.append(read_revision(tmp_path))
    admin.rotate("1")
    revisions.append(read_revision(tmp_path))
    with closing(sqlite3.connect(tmp_path / "tokens.db")) as connection, connection:
        connection.execute("UPDATE tokens SET last_used_at = 5")
    revisions.append(read_revision(tmp_path))
    admin.revoke("1")
    revisions.append(read_revision(tmp_path))
    admin.revoke("1")
    revisions.append(read_revision(tmp_path))
    with closing(sqlite3.connect(tmp_path / "tokens.db")) as connection, connection:
        connection.execute("DELETE FROM tokens")
    revisions.append(read_revision(tmp_path))

    assert [0, 1, 2, 2, 3, 3, 4] == revisions


def test_missing_file_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"tokens\.db: not there, so no token was ever created here"):
        TokenAdmin(tmp_path / "typo", create=False)

    assert not (tmp_path / "typo").exists()


def test_limits_are_kept_and_changed(admin: TokenAdmin) -> None:
    created, _ = admin.create(SUPPORT, "ci", limits=TokenLimits(rate_limit_per_minute=60, max_concurrent=4))

    changed = admin.set_limits("1", tokens_per_minute=90_000, max_concurrent=None)
    freed = admin.set_limits("1", rate_limit_per_minute=None, tokens_per_minute=None)

    assert TokenLimits(60, None, 4) == created.limits
    assert TokenLimits(60, 90_000, None) == changed.limits
    assert freed.limits is None
    assert [freed] == admin.list_tokens()


@pytest.mark.parametrize("limit", [0, -1, 1_000_000_001])
def test_odd_limit_is_refused(admin: TokenAdmin, limit: int) -> None:
    admin.create(SUPPORT, "ci")

    with pytest.raises(ValueError, match="a limit is 1 to 1000000000"):
        admin.create(SUPPORT, "ci", limits=TokenLimits(max_concurrent=limit))
    with pytest.raises(ValueError, match="a limit is 1 to 1000000000"):
        admin.set_limits("1", tokens_per_minute=limit)

    assert [None] == [token.limits for token in admin.list_tokens()]


def test_changed_limits_turn_the_revision(admin: TokenAdmin, tmp_path: Path) -> None:
    admin.create(SUPPORT, "ci")
    before = read_revision(tmp_path)

    admin.set_limits("1", max_concurrent=3)

    assert before + 1 == read_revision(tmp_path)


def test_rotated_token_keeps_its_limits(admin: TokenAdmin) -> None:
    admin.create(SUPPORT, "ci", limits=TokenLimits(max_concurrent=3))

    token, _ = admin.rotate("1")

    assert TokenLimits(max_concurrent=3) == token.limits


def test_file_of_the_first_schema_gets_limits(tmp_path: Path) -> None:
    first = Schema(SCHEMA.application_id, SCHEMA.steps[:1])
    with closing(open_database(tmp_path / "tokens.db", first, synchronous="FULL", busy_limit_s=1.0)) as connection:
        connection.execute(
            "INSERT INTO tokens (project_uuid, name, prefix, digest, env, scopes, created_at)"
            " VALUES (?, 'old', 'pg_live_AAAAAAAA', ?, 'live', 'chat', 0)",
            (SUPPORT.bytes, bytes(32)),
        )

    with TokenAdmin(tmp_path) as admin:
        (old,) = admin.list_tokens()
        limited = admin.set_limits("pg_live_AAAAAAAA", rate_limit_per_minute=5)

    assert ("old", None) == (old.name, old.limits)
    assert TokenLimits(5) == limited.limits
