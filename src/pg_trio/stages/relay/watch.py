"""What acts beside a relay: when a clock runs out, and to send what the client gets while no token is there.

Most streams never need it: no clock of theirs runs out. So a stream has no second task, but an entry among the times
of all streams (racing/deadline_keeper.py). A second task is started in the relay's nursery when there is something to
do, and ends when it is done. It runs once at a time.

Then two tasks share a stream. The reading task reads the source, writes its events and sets the clock's phase. The
second one writes only in OPENING and READING (clock.py). Before it writes, the reading task waits for a write of the
second one (`writing`), so that writes never mix.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import trio
from attrs import define, field, frozen

from pg_trio.domain.call import StreamClient
from pg_trio.domain.event_source import SpokenEvents
from pg_trio.errors import AttemptFailed, AttemptTimedOut, DeadlineExceeded, GatewayError
from pg_trio.racing.deadline_keeper import DeadlineKeeper
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
    # Keeps the times at which to look at the clock: `at`, and `looked_at_from`, which is its own.
    keeper: DeadlineKeeper
    # Whether the client's side keeps reasoning until the answer begins.
    holds_reasoning: bool = False
    # The deadline's milliseconds in its error; known once committed.
    limit_ms: int = 0
    # Set when a running write of the second task has ended; None if there is none.
    writing: trio.Event | None = None
    cut_by: AttemptFailed | GatewayError | StopAsked | None = None
    at: float = math.inf
    looked_at_from: float = math.inf
    # Whether the second task runs, and where, while a stream is relayed.
    is_acting: bool = False
    _nursery: trio.Nursery | None = None
    # At most one for each asked candidate, which continues reading when the client has taken it.
    _speeches: list[Speech] = field(factory=list)

    def stop(self) -> None:
        """End the answer here. A write that has begun ends first."""
        self.cut_by = StopAsked()
        self._start()

    def begin(self, nursery: trio.Nursery) -> None:
        """Watch a stream that this nursery's body relays. What cut the stream before does not cut this one."""
        self.cut_by, self._nursery, self.is_acting = None, nursery, False
        self._rest(trio.current_time())

    def forget(self) -> None:
        """The body is over, and so is the watch: nothing is started any more."""
        self._nursery = None
        self.keeper.forget(self)

    def commit(self) -> None:
        """From now on failures are sent in the stream. Raises DeadlineExceeded if it is too late."""
        if not self.clock.is_committed:
            self.limit_ms = self.take_deadline()
            self.clock.is_committed = True

    def look(self) -> None:
        """Act, if a clock has run out, or see when one may."""
        now = trio.current_time()
        if self.clock.find_due(now) is Due.NOTHING:
            self._rest(now)
        else:
            self._start()

    # As the keeper knows it: the time to look has come.
    end = look

    def _rest(self, now: float) -> None:
        self.at = self.clock.next_at(now)
        if self.at < self.looked_at_from and self._nursery is not None:
            self.keeper.watch(self)

    def _start(self) -> None:
        """Start the second task, if it does not run. If it does, it sees by itself what else there is to do."""
        if self._nursery is not None and not self.is_acting:
            self.is_acting = True
            self._nursery.start_soon(self._act, self._nursery.cancel_scope)

    async def hear(self, spoken: SpokenEvents) -> None:
        """Let this task send a candidate's reasoning; only while OPENING. Waits until it is sent."""
        speech = Speech(spoken)
        self._speeches.append(speech)
        self._start()
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

    async def end_reading(self) -> None:
        """The reading task's work is done. After this returns, the client's side has all written bytes."""
        phase, self.clock.phase = self.clock.phase, RelayPhase.WRITING
        if self.writing is not None:
            await self.writing.wait()
        # Nothing is being written from here on.
        self.clock.phase = RelayPhase.ENDING if phase is RelayPhase.WRITING else phase

    async def _act(self, scope: trio.CancelScope) -> None:
        """The second task: do what is to be done. If it ends the stream, cancel the scope."""
        clock = self.clock
        while self.cut_by is None:
            if self._nursery is None:
                # The body ended before this task's first step. A write would be cut.
                return
            now = trio.current_time()
            due = clock.find_due(now)
            if due is Due.NOTHING and not self._has_speech:
                self.is_acting = False
                self._rest(now)
                return
            await self._do(due)
        if clock.phase is RelayPhase.WRITING:
            # Nothing can follow half a write, so a running write may end, so that the client can get the error.
            await trio.sleep_until(clock.ends_at + LAST_WRITE_S)
        # The rows of the ended tries show this reason.
        scope.cancel(reason=CUT_REASONS.get(type(self.cut_by), "the answer has failed"))

    @property
    def _has_speech(self) -> bool:
        return self.clock.phase is RelayPhase.OPENING and bool(self._speeches)

    async def _do(self, due: Due) -> None:
        if due is Due.DEADLINE:
            if not self.clock.is_committed:
                await self._wait_deadline()
            self.cut_by = DeadlineExceeded(self.limit_ms)
        elif due is Due.IDLE:
            self.cut_by = AttemptTimedOut(f"no token within {self.clock.idle_s:g} s")
        elif self._has_speech:
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
