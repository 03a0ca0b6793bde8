"""Ids of responses and of their items.

An id has 32 hexadecimal digits of the session and 16 of the response: its `tag`, under which the session stores the
answer. An item's id has 4 more, its place in the output. So a response can be continued, and its message be quoted,
without a table of responses. A response that no session stores has its request's id in place of the session's.
"""

from __future__ import annotations

import re
from typing import Self
from uuid import UUID

from pg_trio.domain.value import value

_TAG_DIGITS = 16
_RESPONSE = re.compile(r"resp_([0-9a-f]{32})([0-9a-f]{16})")
_MESSAGE = re.compile(r"msg_([0-9a-f]{32})([0-9a-f]{16})[0-9a-f]{4}")


@value(slots=True)
class ResponseIds:
    """The ids of one response: the session that stores it, and its own tag."""

    session_id: UUID
    tag: str

    @classmethod
    def make(cls, request_id: UUID, session_id: UUID | None = None) -> Self:
        """The ids of the response to a request. `session_id` is None without a session, or for one that it starts."""
        return cls(session_id or request_id, request_id.hex[:_TAG_DIGITS])

    @classmethod
    def read_response(cls, response_id: str) -> Self | None:
        """What a response's id names; None if it is no such id."""
        return cls._read(_RESPONSE, response_id)

    @classmethod
    def read_message(cls, item_id: str) -> Self | None:
        """What a message's id names; None if it is no such id."""
        return cls._read(_MESSAGE, item_id)

    @classmethod
    def _read(cls, pattern: re.Pattern[str], text: str) -> Self | None:
        found = pattern.fullmatch(text)
        return None if found is None else cls(UUID(hex=found[1]), found[2])

    def response_id(self) -> str:
        """The id of the response."""
        return f"resp_{self.session_id.hex}{self.tag}"

    def item_id(self, kind: str, index: int) -> str:
        """The id of an output item: `msg`, `rs` or `fc`, and the item's place in the output."""
        return f"{kind}_{self.session_id.hex}{self.tag}{index:04x}"
