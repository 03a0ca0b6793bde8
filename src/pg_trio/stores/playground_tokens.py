"""Tokens of the playground beside the stored ones: one for each project, of this worker alone, never written anywhere.

A stored token is recalled as before: these are looked for only where nothing is remembered.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from uuid import UUID

from pg_trio.domain.project import Project, Token
from pg_trio.domain.signing_key import SigningKey
from pg_trio.stores.store_protocols import Tokens

# `pg_tmp_`: not a token of any application. Id 0: the stores count from 1.
PREFIX = "pg_tmp_"
PLAYGROUND_ID = 0


class PlaygroundTokens:
    """See Tokens; `of` is the playground's token for a project."""

    def __init__(self, stored: Tokens, projects: Mapping[UUID, Project]) -> None:
        self._stored = stored
        self._projects = projects
        self._plain: dict[UUID, str] = {}
        self._tokens: dict[bytes, Token] = {}
        # The hot path is the store's own, and so is what client tokens need of it. No stored token has the playground's
        # id, so what is noted for it is written nowhere.
        self.recall = stored.recall
        self.note_used = stored.note_used
        self.catch_up = stored.catch_up
        self.poll_after = stored.poll_after
        self.find_by_id = stored.find_by_id
        self.keep_verified = stored.keep_verified
        self.recall_verified = stored.recall_verified

    @property
    def generation(self) -> int:
        """See ParentTokens."""
        return self._stored.generation

    @property
    def signing_keys(self) -> tuple[SigningKey, ...]:
        """See ParentTokens."""
        return self._stored.signing_keys

    async def find(self, digest: bytes) -> Token | None:
        """The token of this digest. Raises StoreError."""
        if digest not in self._tokens:
            return await self._stored.find(digest)
        # What operators changed must be known here, too.
        await self._stored.catch_up()
        return self._tokens[digest]

    async def list_tokens(self, project_uuid: UUID) -> Sequence[Token]:
        """A project's stored tokens."""
        return await self._stored.list_tokens(project_uuid)

    def of(self, project: str) -> str | None:
        """The playground's token for the project of this UUID; None if there is none."""
        try:
            uuid = UUID(project)
        except ValueError:
            return None
        if uuid not in self._projects:
            return None
        if uuid not in self._plain:
            plaintext = self._plain[uuid] = PREFIX + secrets.token_urlsafe(32)
            digest = sha256(plaintext.encode("ascii")).digest()
            self._tokens[digest] = Token(
                PLAYGROUND_ID, uuid, "playground", PREFIX, digest, "test", ("chat",), True, time.time()
            )
        return self._plain[uuid]
