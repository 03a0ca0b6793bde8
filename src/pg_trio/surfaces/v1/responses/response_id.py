"""Ids of responses and of their items.

`resp_`, then 32 hexadecimal digits of the session, 6 of its number of messages after the turn, 10 of the request. So
only the latest response of a session names the session as it is, and every response has an id of its own. A response
without a session has its request's 32 digits, and names nothing.
"""

from __future__ import annotations

import re
from uuid import UUID

from pg_trio.domain.value import value

_STORED = re.compile(r"resp_([0-9a-f]{32})([0-9a-f]{6})[0-9a-f]{10}")


@value(slots=True)
class SessionPoint:
    """A session after a turn: its id, and its number of messages then."""

    session_id: UUID
    messages: int


def make_response_id(request_id: UUID, point: SessionPoint | None) -> str:
    """The id of the response to this request. `point` is where the next request continues; None without a session."""
    if point is None:
        return f"resp_{request_id.hex}"
    return f"resp_{point.session_id.hex}{point.messages:06x}{request_id.hex[:10]}"


def read_response_id(response_id: str) -> SessionPoint | None:
    """What a response's id names; None if it names no session."""
    found = _STORED.fullmatch(response_id)
    return None if found is None else SessionPoint(UUID(hex=found[1]), int(found[2], 16))


def make_item_id(kind: str, request_id: UUID, index: int) -> str:
    """The id of an output item: `msg`, `rs` or `fc`, the request, and the item's place in the output."""
    return f"{kind}_{request_id.hex}{index:04x}"
