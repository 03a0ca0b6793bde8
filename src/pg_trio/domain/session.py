"""Sessions: what was said before, and what is added to it. Values only."""

from __future__ import annotations

from uuid import UUID

from attrs import frozen

from pg_trio.domain.chat import Message


@frozen(slots=True)
class StoredSession:
    """A session as it is in the file: its messages in order, whose it is, what it came to. Times are Unix seconds.

    `token_count` is the providers' count over all its turns, `byte_count` what its messages take as JSON.
    """

    id: UUID
    endpoint: UUID
    token_id: int
    created_at: float
    last_active_at: float
    message_count: int
    token_count: int
    byte_count: int
    messages: tuple[Message, ...]


@frozen(slots=True)
class Turn:
    """What one successful call adds to a session: the client's messages and the answer, all or nothing.

    `is_first`: the session begins with it.
    """

    session_id: UUID
    is_first: bool
    endpoint: UUID
    token_id: int
    at: float
    messages: tuple[Message, ...]
    token_count: int
