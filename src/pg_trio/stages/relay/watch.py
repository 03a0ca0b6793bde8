"""The clocks of one stream, and everything that the client gets while no token is there.

Two tasks share a stream. The reading task reads the provider and writes its tokens. This one sleeps until a clock runs
out. The phase, which the reading task sets, says what each may do:

| phase | the reading task | this task | idle clock |
|---|---|---|---|
| OPENING | waits for a candidate's first token | writes the head, comments, reasoning | rests |
| READING | waits for the provider's next event | writes comments | runs |
| WRITING | waits for the client | writes nothing | rests: it is the client's time |

Before it writes, the reading task waits for a write of this one (`writing`), so that writes never mix.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from functools import partial
from typing import Generic, TypeAlias, TypeVar

import trio
from attrs import define, field

from pg_trio.domain.call import StreamClient
from pg_trio.domain.events import Event
from pg_trio.errors import AttemptFailed, AttemptTimedOut, DeadlineExceeded

S = TypeVar("S")
Speak: TypeAlias = Callable[[S, Sequence[Event]], Awaitable[None]]

# 10 s: below the idle limits of common proxies and load balancers (AWS: 60 s, Heroku: 55 s, mobile networks: 30 s).
KEEP_ALIVE_S = 10.0
# The time for the last write after the deadline, which tells the client.
LAST_WRITE_S = 1.0


class RelayPhase(Enum):
    """The thing that the reading task waits for; see the table above."""

    OPENING = "opening"
    READING = "reading"
    WRITING = "writing"


@define(slots=True, eq=False)
class Said(Generic[S]):
    """A source's reasoning before its first token, until the client has it."""

    source: S
    events: Sequence[Event]
    taken: trio.Event = field(factory=trio.Event)


@define(slots=True, eq=False)
class Watch(Generic[S]):
    """Watches one stream. Times are Trio's clock.

    `head_at` is the time of the head if no token has come; infinity for never. Until the stream is committed, the
    request's own deadline acts, and a failure is an ordinary answer. After that, this task keeps the deadline, and a
    failure is data. `take_deadline` returns its milliseconds, or raises DeadlineExceeded.
    """

    client: StreamClient
    idle_s: float
    ends_at: float
    head_at: float
    take_deadline: Callable[[], int]
    phase: RelayPhase = RelayPhase.OPENING
    is_committed: bool = False
    # The deadline's milliseconds in its error; known once committed.
    limit_ms: int = 0
    # The provider's last sign of life, and the last byte to the client.
    lived_at: float = 0.0
    sent_at: float = 0.0
    # Set when this task's running write has ended; None if there is none.
    writing: trio.Event | None = None
    cut_by: AttemptFailed | DeadlineExceeded | None = None
    # At most one for each asked candidate, which continues reading when the client has taken it.
    _said: list[Said[S]] = field(factory=list)
    _woken: trio.Event = field(factory=trio.Event)

    def restart(self) -> None:
        """Reset the cut: the error that cut the previous stream does not cut the next one."""
        self.cut_by = None

    def commit(self) -> None:
        """From now on failures are sent in the stream. Raises DeadlineExceeded if it is too late."""
        if not self.is_committed:
            self.limit_ms = self.take_deadline()
            self.is_committed = True

    async def hear(self, source: S, events: Sequence[Event]) -> None:
        """Let this task send the source's reasoning; only while OPENING. Waits until it is sent."""
        said = Said(source, events)
        self._said.append(said)
        self._woken.set()
        try:
            await said.taken.wait()
        finally:
            if said in self._said:
                self._said.remove(said)

    async def end_opening(self) -> None:
        """A source has won: the reading task writes from now on. Raises DeadlineExceeded if it is too late."""
        self.phase = RelayPhase.WRITING
        self.commit()
        if self.writing is not None:
            await self.writing.wait()

    async def end(self) -> None:
        """The reading task's work is done. After this returns, the client's side has all written bytes."""
        self.phase = RelayPhase.WRITING
        if self.writing is not None:
            await self.writing.wait()
        self.phase = RelayPhase.READING

    async def run(self, scope: trio.CancelScope, speak: Speak[S]) -> None:
        """Act whenever a clock runs out, until one of them ends the stream; then cancel the scope.

        `speak` sends a source's reasoning.
        """
        while self.cut_by is None:
            with trio.move_on_at(self._next_at()):
                await self._woken.wait()
            if self._woken.is_set():
                self._woken = trio.Event()
            await self._act(trio.current_time(), speak)
        if self.phase is RelayPhase.WRITING:
            # Nothing can follow half a write, so a running write may end, so that the client can get the error.
            await trio.sleep_until(self.ends_at + LAST_WRITE_S)
        # The rows of the ended tries show this reason.
        scope.cancel(reason="deadline" if isinstance(self.cut_by, DeadlineExceeded) else "idle")

    def _next_at(self) -> float:
        # A clock that starts while this task sleeps runs out no earlier than one that starts now.
        now = trio.current_time()
        idle_at = (self.lived_at if self.phase is RelayPhase.READING else now) + self.idle_s
        comment_at = now + KEEP_ALIVE_S if self.phase is RelayPhase.WRITING else self._comment_at()
        return min(idle_at, comment_at, now + KEEP_ALIVE_S, self.ends_at)

    async def _act(self, now: float, speak: Speak[S]) -> None:
        if now >= self.ends_at:
            if not self.is_committed:
                await self._wait_deadline()
            self.cut_by = DeadlineExceeded(self.limit_ms)
        elif self.phase is RelayPhase.READING and now >= self.lived_at + self.idle_s:
            self.cut_by = AttemptTimedOut(f"no token within {self.idle_s:g} s")
        elif self.phase is RelayPhase.OPENING and self._said:
            said = self._said.pop(0)
            await self._write(partial(speak, said.source, said.events))
            said.taken.set()
        elif self.phase is not RelayPhase.WRITING and now >= self._comment_at():
            await self._write(self.client.send_keep_alive)

    def _comment_at(self) -> float:
        return self.sent_at + KEEP_ALIVE_S if self.is_committed else self.head_at

    async def _write(self, write: Callable[[], Awaitable[None]]) -> None:
        try:
            self.commit()
        except DeadlineExceeded:
            await self._wait_deadline()
        self.writing = trio.Event()
        with trio.move_on_at(self.ends_at + LAST_WRITE_S) as limit:
            await write()
        if limit.cancelled_caught:
            # Half of it may be sent: nothing may follow it, and the clock that ran out ends the stream.
            self.phase = RelayPhase.WRITING
            return
        self.sent_at = trio.current_time()
        self.writing.set()
        self.writing = None

    async def _wait_deadline(self) -> None:
        # Before the stream is committed, the request's own deadline acts and cancels this wait.
        await trio.sleep_forever()
