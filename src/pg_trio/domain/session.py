"""Sessions: the stored conversation, and the turn that a call adds. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from uuid import UUID

from attrs import frozen

from pg_trio.domain.chat import Message

NO_TAGS: Mapping[int, str] = MappingProxyType({})
NO_PLACES: Mapping[str, int] = MappingProxyType({})


@frozen(slots=True)
class StoredSession:
    """A session as it is in the file: its messages in order, its owner, its counts. Times are Unix seconds.

    `token_count` is the providers' count over all its turns, `byte_count` the size of its messages as JSON. `tags` are
    the places of messages that have a name, by it. `holder`: see Token.holder.
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
    tags: Mapping[str, int] = NO_PLACES
    holder: str = ""


@frozen(slots=True)
class Turn:
    """The addition of one successful call to a session: the client's messages and the answer, stored together or not at
    all.

    `is_first`: it is the session's first turn. `tags` are the names of messages, by their places in the turn.
    """

    session_id: UUID
    is_first: bool
    endpoint: UUID
    token_id: int
    at: float
    messages: tuple[Message, ...]
    token_count: int
    tags: Mapping[int, str] = NO_TAGS
    holder: str = ""
