"""The names of what rows of the log name by an id: projects of the configuration, tokens of the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

import trio
from attrs import define, field

from pg_trio.domain.project import Project, Token
from pg_trio.domain.request_filter import RequestFilter, Word
from pg_trio.web.admin.request_shapes import token_texts_of

if TYPE_CHECKING:
    from pg_trio.web.admin.admin_app import Desk

# Reading the tokens takes 10 µs each.
FRESH_S = 1.0


@define(eq=False)
class RowNames:
    """The names, as they are known now. See request_shapes.Names."""

    projects: Mapping[UUID, Project]
    tokens: dict[int, Token] = field(factory=dict)
    _read_at: float = -FRESH_S

    async def refresh(self, desk: Desk) -> None:
        """Read the tokens, unless that was done a moment ago. Raises StoreError."""
        if trio.current_time() - self._read_at < FRESH_S:
            return
        self._read_at = trio.current_time()
        tokens: list[Token] = await desk.gateway.administer_tokens(lambda admin: admin.list_tokens())
        self.tokens = {token.id: token for token in tokens}

    def find_tokens(self, words: RequestFilter) -> tuple[frozenset[int], ...]:
        """For each word, the ids of the tokens that it finds."""
        return tuple(frozenset(self._find_each(word)) for word in words.words)

    def _find_each(self, word: Word) -> list[int]:
        if word.kind not in ("token", "bare"):
            return []
        found = []
        for token in self.tokens.values():
            texts = token_texts_of(token)
            if word.holds(0, {"token": texts, "bare": texts[:1], "id": ()}):
                found.append(token.id)
        return found
