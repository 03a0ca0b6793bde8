"""The task beside a relay: it sleeps until a clock runs out, and sends what the client gets while no token is there.

Two tasks share a stream. The reading task reads the source, writes its events and sets the clock's phase. This one
writes only in OPENING and READING (clock.py). Before it writes, the reading task waits for a write of this one
(`writing`), so that writes never mix.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import trio
from attrs import define, field, frozen

from pg_trio.domain.call import StreamClient
from pg_trio.domain.event_source import SpokenEvents
from pg_trio.errors import AttemptFailed, AttemptTimedOut, DeadlineExceeded, GatewayError
from pg_trio.stages.relay.clock import Due, RelayPhase, StreamClock

# The time for the last write after the deadline, which tells the client.
LAST_WRITE_S = 1.0


@frozen(slots=True)
class StopAsked:
    """A client asked for the answer's end: what it has of it is the answer."""


CUT_REASONS: Mapping[type, str] = {DeadlineExceeded: "deadline", AttemptTimedOut: "idle", StopAsked: "stopped"}


@define(slots=True, eq=False)
class Speech:
    """A candidate's reasoning before its first token, until the client has it."""

    spoken: SpokenEvents
    taken: trio.Event = field(factory=trio.Event)


@define(slots=True, eq=False)
class Watch:
    """Watches one stream.

    Until the stream is committed, the request's own deadline acts, and a failure is an ordinary answer. After that,
    this task keeps the deadline, and a failure is data. `take_deadline` returns its milliseconds, or raises
    DeadlineExceeded.
    """

    client: StreamClient
    clock: StreamClock
    take_deadline: Callable[[], int]
    # Whether the client's side keeps reasoning until the answer begins.
    holds_reasoning: bool = False
    # The deadline's milliseconds in its error; known once committed.
    limit_ms: int = 0
    # Set when this task's running write has ended; None if there is none.
    writing: trio.Event | None = None
    cut_by: AttemptFailed | GatewayError | StopAsked | None = None
    # At most one for each asked candidate, which continues reading when the client has taken it.
    _speeches: list[Speech] = field(factory=list)
    _woken: trio.Event = field(factory=trio.Event)

    def stop(self) -> None:
        """End the answer here. A write that has begun ends first."""
        self.cut_by = StopAsked()
        self._woken.set()

    def restart(self) -> None:
        """Reset the cut: the error that cut the previous stream does not cut the next one."""
        self.cut_by = None

    def commit(self) -> None:
        """From now on failures are sent in the stream. Raises DeadlineExceeded if it is too late."""
        if not self.clock.is_committed:
            self.limit_ms = self.take_deadline()
            self.clock.is_committed = True

    def wake(self) -> None:
        """The clock has changed."""
        self._woken.set()

    async def hear(self, spoken: SpokenEvents) -> None:
        """Let this task send a candidate's reasoning; only while OPENING. Waits until it is sent."""
        speech = Speech(spoken)
        self._speeches.append(speech)
        self._woken.set()
        try:
            await speech.taken.wait()
        finally:
            if speech in self._speeches:
                self._speeches.remove(speech)

    async def end_opening(self) -> None:
        """A source is open: the reading task writes from now on. Raises DeadlineExceeded if it is too late."""
        self.clock.phase = RelayPhase.WRITING
        self.commit()
        if self.writing is not None:
            await self.writing.wait()

    async def end(self) -> None:
        """The reading task's work is done. After this returns, the client's side has all written bytes."""
        phase, self.clock.phase = self.clock.phase, RelayPhase.WRITING
        if self.writing is not None:
            await self.writing.wait()
        # Nothing is being written from here on.
        self.clock.phase = RelayPhase.ENDING if phase is RelayPhase.WRITING else phase

    async def run(self, scope: trio.CancelScope) -> None:
        """Act whenever a clock runs out, until one of them ends the stream; then cancel the scope."""
        clock = self.clock
        while self.cut_by is None:
            with trio.move_on_at(clock.next_at(trio.current_time())):
                await self._woken.wait()
            if self._woken.is_set():
                self._woken = trio.Event()
            if self.cut_by is None:
                await self._act(clock.find_due(trio.current_time()))
        if clock.phase is RelayPhase.WRITING:
            # Nothing can follow half a write, so a running write may end, so that the client can get the error.
            await trio.sleep_until(clock.ends_at + LAST_WRITE_S)
        # The rows of the ended tries show this reason.
        scope.cancel(reason=CUT_REASONS.get(type(self.cut_by), "the answer has failed"))

    async def _act(self, due: Due) -> None:
        if due is Due.DEADLINE:
            if not self.clock.is_committed:
                await self._wait_deadline()
            self.cut_by = DeadlineExceeded(self.limit_ms)
        elif due is Due.IDLE:
            self.cut_by = AttemptTimedOut(f"no token within {self.clock.idle_s:g} s")
        elif self.clock.phase is RelayPhase.OPENING and self._speeches:
            await self._send_speech(self._speeches.pop(0))
        elif due is Due.COMMENT:
            await self._write(self.client.send_keep_alive)

    async def _send_speech(self, speech: Speech) -> None:
        try:
            events = speech.spoken()
        except GatewayError as error:
            # A wrapper ends the answer. As a value, see Relay.
            self.cut_by = error_as_value(error)
            return
        if events and self.holds_reasoning:
            # The client's side keeps them and sends nothing, so the head stays open.
            await self.client.send_events(events)
        elif events:
            await self._write(partial(self.client.send_events, events))
        speech.taken.set()

    async def _write(self, write: Callable[[], Awaitable[object]]) -> None:
        try:
            self.commit()
        except DeadlineExceeded:
            await self._wait_deadline()
        self.writing = trio.Event()
        with trio.move_on_at(self.clock.ends_at + LAST_WRITE_S) as limit:
            await write()
        if limit.cancelled_caught:
            # Half of it may be sent: nothing may follow it, and the clock that ran out ends the stream.
            self.clock.phase = RelayPhase.WRITING
            return
        self.clock.sent_at = trio.current_time()
        self.writing.set()
        self.writing = None

    async def _wait_deadline(self) -> None:
        # Before the stream is committed, the request's own deadline acts and cancels this wait.
        await trio.sleep_forever()


def error_as_value(error: GatewayError) -> GatewayError:
    """The error as a value, because the relay's nursery would put a raised one into a group.

    Without its frames, because they refer to the relay, which will refer to the error.
    """
    error.__context__ = None
    return error.with_traceback(None)
