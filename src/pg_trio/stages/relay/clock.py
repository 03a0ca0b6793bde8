"""The clocks of one stream in one object: what is due, and when to look again. It never waits and sends nothing.

| phase | the relay | due before the next event | idle clock |
|---|---|---|---|
| OPENING | waits for a candidate's first token | the head, comments, reasoning | rests |
| READING | waits for the provider's next event | comments | runs |
| WRITING | waits for the client | nothing | rests: it is the client's time |
| ENDING | stores the answer and writes its end | nothing | rests |

The phases follow each other so: OPENING, then READING and WRITING in turn, OPENING again if another candidate carries
the stream on, and ENDING. The deadline holds in all of them. Times are Trio's clock.
"""

from __future__ import annotations

import math
from enum import Enum

from attrs import define

# 10 s: below the idle limits of common proxies and load balancers (AWS: 60 s, Heroku: 55 s, mobile networks: 30 s).
KEEP_ALIVE_S = 10.0


class RelayPhase(Enum):
    """What the relay waits for; see the table above."""

    OPENING = "opening"
    READING = "reading"
    WRITING = "writing"
    ENDING = "ending"


MAY_COMMENT = (RelayPhase.OPENING, RelayPhase.READING)


class Due(Enum):
    """What a clock of the stream asks for."""

    NOTHING = "nothing"
    COMMENT = "comment"
    IDLE = "idle"
    DEADLINE = "deadline"


@define(slots=True, eq=False)
class StreamClock:
    """`idle_s` limits the time between signs of life, `ends_at` the whole stream.

    `head_at` is the time of the head if no token has come; infinity for never.
    """

    idle_s: float
    ends_at: float
    head_at: float = math.inf
    phase: RelayPhase = RelayPhase.OPENING
    # Whether the head is sent, or about to be.
    is_committed: bool = False
    # The provider's last sign of life, as far as the relay has come to it; the last byte to the client.
    lived_at: float = 0.0
    sent_at: float = 0.0
    # Whether a sign of life came since then.
    has_lived: bool = False
    # Whether a wrapper waits for something else than its provider.
    rests: bool = False

    def begin_reading(self, now: float) -> None:
        """A stream is open, and its events come next."""
        self.sent_at = now
        self.wind_idle(now)

    def wind_idle(self, now: float) -> None:
        """The provider has lived, and what came is with the client or held back: its silence begins now."""
        self.lived_at = now
        self.has_lived = False

    def next_at(self, now: float) -> float:
        """When to look again. A clock that starts in between runs out no earlier than one that starts now."""
        phase = self.phase
        idle_at = math.inf if self.rests else (self.lived_at if phase is RelayPhase.READING else now) + self.idle_s
        comment_at = self._comment_at() if phase in MAY_COMMENT else math.inf
        return min(idle_at, comment_at, now + KEEP_ALIVE_S, self.ends_at)

    def find_due(self, now: float) -> Due:
        """What is to be done now. The deadline comes before the idle limit, and that before a comment."""
        if now >= self.ends_at:
            return Due.DEADLINE
        phase = self.phase
        if phase is RelayPhase.READING and not self.rests and now >= self.lived_at + self.idle_s:
            return Due.IDLE
        if phase in MAY_COMMENT and now >= self._comment_at():
            return Due.COMMENT
        return Due.NOTHING

    def _comment_at(self) -> float:
        return self.sent_at + KEEP_ALIVE_S if self.is_committed else self.head_at
