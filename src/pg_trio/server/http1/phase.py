"""The phases of a client's connection."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """The state of a connection. Each phase says what the connection waits for and what closing it would cost.

    A connection with two requests: NEW, (HEAD,) SERVING, IDLE, (HEAD,) SERVING, IDLE, ENDED.
    """

    NEW = "new"  # no request was served yet, and no byte of one is here
    HEAD = "head"  # a part of a request's head is here; the limit for a whole head runs
    IN_LINE = "in line"  # a whole request is here, and waits until the application has room
    SERVING = "serving"  # a request is with the application
    DESERTED = "deserted"  # the client left after its answer was written; the application may finish
    IDLE = "idle"  # at least one request was served: closing costs the client nothing, if no byte of another is here
    LINGERING = "lingering"  # the last answer is sent; the server waits for the client to close
    HANDED_OVER = "handed over"  # HTTP/2 or a WebSocket: another protocol owns the socket from here on
    ENDED = "ended"  # a limit, the drain or an error: the application may send nothing more
    LEFT = "left"  # the client is gone, and everything that ran for it is cancelled

    def after_end(self) -> Phase:
        """The phase once the connection is over: a client that left stays gone."""
        return Phase.LEFT if self in (Phase.DESERTED, Phase.LEFT) else Phase.ENDED


# No byte of a request is here. Such a connection may be closed if there are too many.
WAITING = (Phase.NEW, Phase.IDLE, Phase.LINGERING)
OVER = (Phase.ENDED, Phase.LEFT)
GONE = (Phase.DESERTED, Phase.LEFT)
