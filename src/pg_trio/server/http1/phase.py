"""The phases of a client's connection."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Where a connection is in its life; each names what it waits for and what its end costs.

    The way of one that is used twice: NEW, (HEAD,) SERVING, IDLE, (HEAD,) SERVING, IDLE, ENDED.
    """

    NEW = "new"  # no request was served yet, and nothing of one is here
    HEAD = "head"  # a part of a request's head is here; the limit for a whole head runs
    SERVING = "serving"  # a request is with the application
    DESERTED = "deserted"  # the client left after its answer was written; the application may finish
    IDLE = "idle"  # at least one request was served and no other has begun: closing costs the client nothing
    LINGERING = "lingering"  # the last answer is sent; only the client's end is awaited
    HANDED_OVER = "handed over"  # HTTP/2 or a WebSocket: another protocol owns the socket from here on
    ENDED = "ended"  # a limit, the drain or an error: nothing of the application's may be sent any more
    LEFT = "left"  # the client is gone, and everything that ran for it is cancelled

    def after_end(self) -> Phase:
        """The phase once the connection is over: a client that left stays gone."""
        return Phase.LEFT if self in (Phase.DESERTED, Phase.LEFT) else Phase.ENDED


# No byte of a request is here: such a connection may be closed if there are too many.
WAITING = (Phase.NEW, Phase.IDLE, Phase.LINGERING)
OVER = (Phase.ENDED, Phase.LEFT)
GONE = (Phase.DESERTED, Phase.LEFT)
