"""Which tokens have changed since a revision (`pgtrio.token_changes`)."""

from __future__ import annotations

from attrs import frozen

from pg_trio.cluster.postgres.trio_connection import TrioConnection

# As many revisions as the database keeps names of (migrations/006_changes_and_terms.sql).
KEPT_REVISIONS = 1_000
# Reading more takes longer than asking for each token again when it is used.
MOST_NAMED = 1_000
# One statement, so one state of the database.
READ = (
    "SELECT r.revision, c.revision, c.token, c.digest FROM pgtrio.revisions r"
    " LEFT JOIN pgtrio.token_changes c ON c.revision > %s WHERE r.name = 'tokens' LIMIT %s"
)


@frozen(slots=True)
class TokenChanges:
    """The revision, and what has changed until then; any token may have if `is_all`."""

    revision: int
    token_ids: frozenset[int] = frozenset()
    digests: frozenset[bytes] = frozenset()
    is_all: bool = False


async def read_token_changes(connection: TrioConnection, since: int | None) -> TokenChanges:
    """What has changed after a revision; with None, after nothing that is known. Raises psycopg.Error."""
    values = (0 if since is None else since, MOST_NAMED + 1)
    rows = await (await connection.execute(READ, values)).fetchall()
    revision = rows[0][0] if rows else 0
    named = [(token, digest) for _, changed_at, token, digest in rows if changed_at is not None]
    # An earlier revision: the database was restored.
    is_known = since is not None and 0 <= revision - since < KEPT_REVISIONS
    if not is_known or len(named) > MOST_NAMED or any(token is None for token, _ in named):
        return TokenChanges(revision, is_all=True)
    return TokenChanges(
        revision, frozenset([token for token, _ in named]), frozenset([bytes(digest) for _, digest in named])
    )
