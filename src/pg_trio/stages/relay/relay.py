"""Relays a stream to the client, token by token, and always ends it with its true result.

Rules (docs/api.md, "Streaming"):
1. Tokens are relayed as they arrive. The next ones are not read before the client's side has taken these, so memory is
   bounded by one read.
2. The head is sent with the first token, or early: at `head_at`, or with reasoning. Before the head a failure is
   raised; after it a failure is data, and the client sees it.
3. While nothing is sent, a keep-alive comment is sent every KEEP_ALIVE_S. It resets no clock.
4. `idle_timeout_ms` between signs of life (tokens, reasoning) ends the open stream, which another candidate may carry
   on; the deadline over all of it ends the answer. Both are errors.
5. `stop` ends the answer where it is, at any time before its end is written. What the client has is the whole answer
   then, for its session and its row too.
6. The answer is stored in its session before the client gets the end of the stream. If storing fails, the stream has
   failed.

The relay is a state machine with the phases of clock.py. What gives the events, counts them and changes candidates is
its source (domain/event_source.py).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

import trio
from attrs import Factory, define, field

from pg_trio.domain.call import StreamClient
from pg_trio.domain.chat import Usage
from pg_trio.domain.event_source import EventSource, SpokenEvents
from pg_trio.domain.events import Event, Finished
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed, ClientLeft, DeadlineExceeded, GatewayError
from pg_trio.racing.deadline_keeper import DeadlineKeeper
from pg_trio.stages.relay.clock import RelayPhase, StreamClock
from pg_trio.stages.relay.watch import LAST_WRITE_S, StopAsked, Watch, error_as_value

# How a stream ended: whole, with the error that ends the answer, or stopped. None: another candidate may carry it on.
StreamEnd: TypeAlias = Finished | GatewayError | StopAsked | None


@define(eq=False)
class Relay:
    """One stream on its way. `take_deadline` hands the request's deadline over to the relay; it returns its
    milliseconds, or raises DeadlineExceeded.
    """

    source: EventSource
    client: StreamClient
    clock: StreamClock
    take_deadline: Callable[[], int]
    # Keeps the times of all streams' clocks.
    keeper: DeadlineKeeper
    # Whether the client gets reasoning.
    relays_reasoning: bool = True
    # Whether the client's surface keeps reasoning until the answer begins: it sends nothing then, so no head either.
    holds_reasoning: bool = False
    # Awaited with the usage of the complete answer before the stream ends, if the answer must be stored.
    keep: Callable[[Usage], Awaitable[None]] | None = None
    # Whose reasoning the source has given last, before the first token.
    find_speaker: Callable[[], Candidate] | None = None
    # Called when the first token has come.
    note_first_token: Callable[[], None] | None = None
    # Why the answer ended with an error.
    failure: GatewayError | None = None
    # The outcome of the last stream, for its row.
    outcome: str = field(default="cancelled", init=False)
    # Whether a token has come, or a complete answer without one.
    has_begun: bool = field(default=False, init=False)
    # Events that came in the moment in which the idle limit passed, or a client asked for the end.
    _unsent: Sequence[Event] = field(default=(), init=False)
    _watch: Watch = field(
        default=Factory(lambda relay: relay.make_watch(), takes_self=True),
        init=False,
    )

    def make_watch(self) -> Watch:
        """What acts beside the reading task."""
        return Watch(self.client, self.clock, self.take_deadline, self.keeper, self.holds_reasoning)

    async def run(self) -> None:
        """Relay the whole stream and end it; `failure` says whether it broke.

        Raises GatewayError if it failed before the head was sent; ClientLeft if a limit passed while the client read
        nothing, so that no error can be sent to it.
        """
        end: StreamEnd = None
        while end is None:
            end = await self._watched(self._relay_stream)
        if isinstance(end, StopAsked):
            end = await self._stop_source()
        if isinstance(end, GatewayError) and not self.clock.is_committed:
            try:
                raise end
            finally:
                # The error refers to its frames, and this frame to the error: a cycle for the garbage collector, one
                # for each failure.
                del end
        await self._end(end)

    def stop(self) -> bool:
        """End the answer here. False if its end is being written already."""
        if self.clock.phase is RelayPhase.ENDING or isinstance(self._watch.cut_by, GatewayError):
            return False
        self._watch.stop()
        return True

    async def _watched(self, work: Callable[[], Awaitable[StreamEnd]]) -> StreamEnd:
        """The result of `work`, or of what cut it. Raises ClientLeft if a limit passed while the client read
        nothing."""
        results: list[StreamEnd] = []
        watch = self._watch
        async with trio.open_nursery() as nursery:
            watch.begin(nursery)
            try:
                results.append(await work())
                await watch.end_reading()
            finally:
                watch.forget()
            if watch.is_acting:
                nursery.cancel_scope.cancel(reason="the stream is over")
        cut_by = watch.cut_by
        if cut_by is None or (isinstance(cut_by, StopAsked) and results and isinstance(results[0], Finished)):
            return results[0]
        if self.clock.phase is RelayPhase.WRITING:
            raise ClientLeft
        if not isinstance(cut_by, AttemptFailed):
            return cut_by
        if not self._unsent:
            self.clock.phase = RelayPhase.OPENING
            self.source.give_up(cut_by)
        return None

    # ── OPENING ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def takes_reasoning(self) -> bool:
        """Whether `hear` may be called; False if only a token may send the head."""
        is_open = self.clock.is_committed or self.clock.head_at < math.inf
        return self.relays_reasoning and (self.holds_reasoning or is_open)

    def allow_head(self, at: float) -> None:
        """The head may be sent from this time on, if no token has come: it was held until now."""
        self.clock.head_at = at
        self._watch.look()

    async def hear(self, spoken: SpokenEvents) -> None:
        """Relay a candidate's reasoning before its first token. Waits until the client's side has taken it."""
        await self._watch.hear(partial(self._speak, spoken))

    def _speak(self, spoken: SpokenEvents) -> Sequence[Event]:
        events = spoken()
        if self.find_speaker is not None and events:
            speaker = self.find_speaker()
            self.client.name_speaker(speaker.provider, speaker.model)
        return events

    async def _relay_stream(self) -> StreamEnd:
        """Open the source, if it is not open, and relay one candidate's stream."""
        try:
            if self.clock.phase is RelayPhase.OPENING:
                await self._open()
            return await self._pass_on()
        except GatewayError as error:
            return error_as_value(error)

    async def _open(self) -> None:
        await self.source.open(self)
        try:
            self._unsent = await self._receive_first()
        except GatewayError:
            # A wrapper refuses the answer, of which tokens have come.
            self.has_begun = True
            raise
        try:
            await self._watch.end_opening()
        except DeadlineExceeded:
            self.outcome = "cancelled: deadline"
            raise
        if not self.has_begun:
            self.has_begun = True
            if self.note_first_token is not None:
                self.note_first_token()
        candidate = self.source.candidate
        self.client.name_source(candidate.provider, candidate.model)

    async def _receive_first(self) -> Sequence[Event]:
        """The first events to send. While a wrapper holds them back, the head stays open, and the provider's silence
        counts."""
        clock, watch = self.clock, self._watch
        clock.phase = RelayPhase.READING
        clock.wind_idle(trio.current_time())
        while True:
            events = await self.source.receive_events()
            if events or watch.cut_by is not None:
                return events
            if clock.has_lived:
                clock.wind_idle(trio.current_time())

    # ── READING and WRITING, in turn ─────────────────────────────────────────────────────────────────────────────────

    async def _pass_on(self) -> Finished | None:
        """Relay one stream to its end: whole, or None if it broke, or if a clock cut it."""
        watch, client, clock, receive = self._watch, self.client, self.clock, self.source.receive_events
        reading, writing = RelayPhase.READING, RelayPhase.WRITING
        clock.begin_reading(trio.current_time())
        events, self._unsent = self._unsent, ()
        # They came with signs of life.
        clock.has_lived = bool(events)
        while True:
            if events:
                clock.phase = writing
                if watch.writing is not None:
                    await watch.writing.wait()
                was_sent = await client.send_events(events)
                # After the write: the client's time is not the provider's silence.
                now = trio.current_time()
                if was_sent:
                    clock.sent_at = now
                if clock.has_lived:
                    # As wind_idle, inlined, because every token runs it.
                    clock.lived_at = now
                    clock.has_lived = False
                if events[-1].is_last:
                    return self._end_stream(events[-1])
                if watch.cut_by is not None:
                    return None
            elif clock.has_lived:
                # A wrapper holds back what came.
                clock.wind_idle(trio.current_time())
            clock.phase = reading
            events = await receive()
            if watch.cut_by is not None:
                # A limit passed in the same moment: a write of these events would be cut.
                self._unsent = events
                return None

    def _end_stream(self, last: Event) -> Finished | None:
        if isinstance(last, Finished):
            return last
        # Another candidate may carry it on.
        self.clock.phase = RelayPhase.OPENING
        return None

    async def _stop_source(self) -> Finished | GatewayError:
        """The end of a stopped answer. Sent before it: what came in the moment of the stop, because the record has it,
        and what the source has held back."""
        self.clock.phase = RelayPhase.WRITING
        events, self._unsent = self._unsent, ()
        try:
            self._watch.commit()
            if not events or not isinstance(events[-1], Finished):
                events = [*events, *await self.source.end_now()]
        except GatewayError as error:
            return error_as_value(error)
        with trio.move_on_after(LAST_WRITE_S) as limit:
            await self.client.send_events(events)
        if limit.cancelled_caught:
            raise ClientLeft
        last = events[-1]
        assert isinstance(last, Finished)
        return last

    # ── ENDING ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _end(self, end: Finished | GatewayError) -> None:
        self.clock.phase = RelayPhase.ENDING
        ends_at = self.clock.ends_at
        if isinstance(end, Finished):
            self.outcome = "cancelled: stopped" if end.is_stopped else "won"
            self.failure = None if self.keep is None else await self._keep(self.keep, end)
        else:
            self.failure = end
            if isinstance(end, DeadlineExceeded):
                self.outcome = "cancelled: deadline"
        with trio.move_on_at(max(ends_at, trio.current_time() + LAST_WRITE_S)) as limit:
            if self.failure is not None:
                await self.client.fail(self.failure)
            elif isinstance(end, Finished):
                assert end.usage is not None  # a source says it
                if end.is_stopped:
                    await self.client.finish_stopped(end.usage)
                else:
                    await self.client.finish(end.finish_reason, end.usage)
        if limit.cancelled_caught:
            raise ClientLeft

    async def _keep(self, keep: Callable[[Usage], Awaitable[None]], end: Finished) -> GatewayError | None:
        """Why the answer could not be stored; None if it is."""
        assert end.usage is not None  # a source says it
        try:
            with trio.fail_at(self.clock.ends_at):
                await keep(end.usage)
        except trio.TooSlowError:
            return DeadlineExceeded(self._watch.limit_ms)
        except GatewayError as error:
            return error_as_value(error)
        return None
