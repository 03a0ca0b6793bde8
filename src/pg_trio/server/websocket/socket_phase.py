"""The phases of a WebSocket in the lane."""

from __future__ import annotations

from enum import Enum


class SocketPhase(Enum):
    """The state of a socket."""

    HANDSHAKE = "handshake"  # the application has not accepted it
    REFUSING = "refusing"  # the application answers in HTTP instead
    OPEN = "open"
    CLOSING = "closing"  # our close frame is queued, the client's has not come
    CLOSED = "closed"  # the client's close frame has come, or the connection is about to end
    GONE = "gone"  # the client is gone
