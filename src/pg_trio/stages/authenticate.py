"""Who calls, and may they? The checks and their order: docs/api.md, "Order of the stages".

Bearer present → token format → known and active → project matches the URL → scope → project active → project type; then
the endpoint exists and is active (catalogue.py). No answer tells whether another project, or a revoked token, exists.

A client token has a dot in its text (stores/client_token_text.py). An altered, expired or orphaned one is unknown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from pg_trio.domain.authorization import Authorization
from pg_trio.domain.project import Access, Caller, Project, Token
from pg_trio.errors import (
    ForeignToken,
    MalformedToken,
    MissingScope,
    MissingToken,
    ProjectInactive,
    StoreError,
    TokensUnavailable,
    UnknownToken,
)

# 256 characters are five times a token of ours; longer ones are not worth a hash.
_SHAPE = r"pg_(?:live|test|tmp)_[A-Za-z0-9_-]{1,248}"
# A client token states what it may do. 4,096 characters: see stores/client_token_text.py.
_CLIENT_PREFIX = "pg_tmp_"
_CLIENT_SHAPE = rf"{_CLIENT_PREFIX}[A-Za-z0-9._-]{{1,4089}}"
_TOKEN_SHAPE = re.compile(rf"{_SHAPE}|{_CLIENT_SHAPE}")
# As many as tokens are remembered (`token_cache_entries`), some 300 bytes each; they are made again in 2 µs.
ADMITTED_KEPT = 10_000
# A whole header, as nearly all are. Any other is judged step by step.
_BEARER = re.compile(rf"(?i:bearer) +({_SHAPE}|{_CLIENT_SHAPE}) *", re.ASCII)


class TokenDirectory(Protocol):
    """Where tokens are found by the SHA-256 of their plaintext."""

    def recall(self, digest: bytes, at: float) -> Token | None:
        """The token, if it is remembered, and active at this time (Unix seconds); None says nothing, `find` does."""

    async def find(self, digest: bytes) -> Token | None:
        """Raises StoreError if it must be read and cannot be."""

    def note_used(self, token_id: int, at: float) -> None:
        """Remember for `last_used_at`; never waits."""


class ClientTokenDirectory(Protocol):
    """Verifies client tokens."""

    def recall(self, digest: bytes, at: float) -> Token | None:
        """The token, if it was verified already and is good; None says nothing, `find` does."""

    async def find(self, text: str, digest: bytes, at: float) -> Token | None:
        """Raises StoreError if its parent must be read and cannot be."""


class Authenticate:
    """Proves who calls, and for which project. Without `client_tokens`, there are none."""

    def __init__(
        self,
        tokens: TokenDirectory,
        projects: Mapping[UUID, Project],
        client_tokens: ClientTokenDirectory | None = None,
    ) -> None:
        self._client_tokens = client_tokens
        self._tokens = tokens
        # With its UUID's text, which costs a microsecond each time and is asked for at every request.
        self._projects = {uuid: (str(uuid), project) for uuid, project in projects.items()}
        # Callers that were admitted, by their token's digest, the URL's project and the route: the answer is the same
        # as long as the directory gives the same token.
        self._admitted: dict[tuple[bytes, str, Access], Caller] = {}

    def recall_caller(self, authorization: Sequence[str], project: str, access: Access, at: float) -> Caller | None:
        """The caller, proved, where nothing must be waited for; None says nothing, `find_caller` does. Raises as it."""
        digest = (authorization.digest if type(authorization) is Authorization else None) or _read_digest(authorization)
        token = self._tokens.recall(digest, at)
        if token is None and self._client_tokens is not None:
            token = self._client_tokens.recall(digest, at)
        if token is None:
            return None
        caller = self._admitted.get((digest, project, access))
        if caller is None or caller.token is not token:
            caller = self._admit(token, project, access)
            if len(self._admitted) >= ADMITTED_KEPT:
                self._admitted.clear()
            self._admitted[digest, project, access] = caller
        self._tokens.note_used(token.id, at)
        return caller

    async def find_caller(self, authorization: Sequence[str], project: str, access: Access, at: float) -> Caller:
        """The caller, proved. `project` is the URL's segment as it arrived; `at` is Unix seconds.

        Raises the contract's 401, 403 and 400 errors, and TokensUnavailable if the token cannot be looked up.
        """
        # The same work for a token that was revoked or never was: it is looked up by its hash.
        plaintext = read_bearer(authorization)
        try:
            token = await self._find(plaintext, _digest(plaintext), at)
        except StoreError as exc:
            # Not a 401: the client would throw a good token away.
            raise TokensUnavailable from exc
        if token is None or not token.is_active:
            raise UnknownToken
        caller = self._admit(token, project, access)
        self._tokens.note_used(token.id, at)
        return caller

    async def _find(self, plaintext: str, digest: bytes, at: float) -> Token | None:
        if "." not in plaintext:
            return await self._tokens.find(digest)
        return None if self._client_tokens is None else await self._client_tokens.find(plaintext, digest, at)

    def _admit(self, token: Token, project: str, access: Access) -> Caller:
        text, found = self._projects.get(token.project_uuid) or (str(token.project_uuid), None)
        if project != text and project.lower() != text:
            raise ForeignToken
        if access.scope not in token.scopes and not access.is_met_by(token.scopes):
            raise MissingScope(access.scope, token.scopes)
        # A token outlives its project's entry in the configuration; then there is nothing left to call.
        if found is None or not found.is_active:
            raise ProjectInactive
        if found.project_type not in access.project_types:
            raise access.wrong_type()
        return Caller(token, found)


def _read_digest(authorization: Sequence[str]) -> bytes:
    """The digest of the token. Requests with the same head find it there from now on."""
    digest = _digest(read_bearer(authorization))
    if type(authorization) is Authorization:
        authorization.digest = digest
    return digest


def _digest(plaintext: str) -> bytes:
    return hashlib.sha256(plaintext.encode("ascii")).digest()


def read_bearer(authorization: Sequence[str]) -> str:
    """The token in the values of `Authorization`. Raises MissingToken or MalformedToken, and UnknownToken for a client
    token that was altered so that it has characters which none has.

    Two such headers are refused: one proxy would take the first, another the last.
    """
    if len(authorization) > 1:
        raise MalformedToken
    if authorization and (known := _BEARER.fullmatch(authorization[0])) is not None:
        return known[1]
    scheme, _, credentials = (authorization[0] if authorization else "").partition(" ")
    plaintext = credentials.strip(" ")
    if scheme.lower() != "bearer" or not plaintext:
        raise MissingToken
    if not _TOKEN_SHAPE.fullmatch(plaintext):
        raise UnknownToken if plaintext.startswith(_CLIENT_PREFIX) else MalformedToken
    return plaintext
