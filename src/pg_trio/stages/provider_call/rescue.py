"""The source of a streamed answer: the first candidate's stream, and those that carry it on when it fails.

Rules (`on_stream_failure`; domain/event_source.py):
1. A candidate that failed at this request, before its first token or after it, is not asked again for it: there are as
   many rescues as candidates left, all within the stream's deadline, and none of them is retried (retry.py).
2. `restart` asks for the whole answer again; what comes takes the place of what was sent.
3. `continue` sends the text so far as a last message of the assistant's. Models that go on from such a message do
   so; one that does not answers it as it likes. Its output limit is less by what is out already.
4. An answer with tool calls is not carried on, because two halves of a call's arguments cannot be joined.
5. A client that has received events of a candidate is told when another takes its place (`Joined`), even if the events
   were reasoning only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import trio
from attrs import Factory, define, evolve, field

from pg_trio.domain.chat import Message, Prompt, estimate_tokens
from pg_trio.domain.event_source import LifeClock, SourceListener
from pg_trio.domain.events import Event, Finished, Joined
from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed, ProviderCallFailed
from pg_trio.stages.provider_call.call_plan import CallPlan
from pg_trio.stages.provider_call.stream import Listener, OpenStream
from pg_trio.stages.provider_call.stream_meter import StreamMeter


class StreamOpener(Protocol):
    """Opens streams: the stage itself."""

    async def open_stream(
        self, plan: CallPlan, prompt: Prompt, ends_at: float, attempts: Attempts, listener: Listener | None = None
    ) -> OpenStream: ...

    async def open_rescue(
        self, plan: CallPlan, prompt: Prompt, ends_at: float, attempts: Attempts, listener: Listener | None = None
    ) -> OpenStream | None: ...


@define(eq=False)
class RescuedSource:
    """A streamed answer by one candidate after the other; see domain.event_source.EventSource.

    `now` is the stream that was opened last. The holder must call `aclose()`.
    """

    opener: StreamOpener
    plan: CallPlan
    prompt: Prompt
    ends_at: float
    attempts: Attempts
    now: OpenStream | None = None
    meter: StreamMeter = field(
        default=Factory(
            lambda source: StreamMeter(source.prompt.characters(), source.plan.on_stream_failure == "continue"),
            takes_self=True,
        )
    )
    # Only while a stream is opened.
    _listener: SourceListener | None = field(default=None, init=False)
    _clock: LifeClock | None = field(default=None, init=False)
    # The stream of which the client has received something.
    _heard: OpenStream | None = field(default=None, init=False)
    # Whether the open stream's first events are still to come.
    _is_new: bool = field(default=True, init=False)

    @property
    def candidate(self) -> Candidate:
        """The candidate whose events come next."""
        assert self.now is not None, "the source is not open"
        return self.now.candidate

    def find_speaker(self) -> Candidate:
        """The candidate whose events the client had last."""
        assert self._heard is not None, "no candidate has spoken"
        return self._heard.candidate

    async def open(self, listener: SourceListener) -> None:
        """Open the first stream, or the one that carries on a broken one. Raises GatewayError."""
        self._listener, self._clock = listener, listener.clock
        try:
            if self.now is None:
                self.now = await self.opener.open_stream(self.plan, self.prompt, self.ends_at, self.attempts, self)
            else:
                self.now = await self._open_next(self.now)
        finally:
            # It refers to this source: together they would be a cycle for the garbage collector.
            self._listener = None
        self._is_new = True

    async def receive_events(self) -> Sequence[Event]:
        """The next events, counted."""
        stream, clock = self.now, self._clock
        assert stream is not None
        assert clock is not None
        events = await stream.receive_events()
        if self._is_new:
            events = self._begin(stream, events)
        if not events:
            return events
        add = self.meter.assembler.add
        for event in events:
            add(event)
            if event.shows_life:
                clock.has_lived = True
        return self.meter.end(events) if event.is_last else events

    def give_up(self, failure: AttemptFailed) -> None:
        """The open stream has failed for this reason: it was silent for too long."""
        self.meter.failure = failure

    async def end_now(self) -> Sequence[Event]:
        """See EventSource. The usage is an estimate, unless the provider has said it."""
        await self.aclose()
        return [Finished("stop", self.meter.usage, is_stopped=True)]

    async def _open_next(self, broken: OpenStream) -> OpenStream:
        """The stream that takes the place of the broken one. Raises its failure if no other candidate is left."""
        meter, failure = self.meter, self.meter.failure
        assert failure is not None, "the open stream has not failed"
        self.note_end(f"failed: {failure.said}")
        if self.plan.on_stream_failure == "error" or meter.assembler.has_calls:
            raise ProviderCallFailed(failure.said)
        await self.aclose()
        text = meter.text_so_far
        prompt = continue_prompt(self.prompt, text) if meter.continues else self.prompt
        opened = await self.opener.open_rescue(self.plan, prompt, self.ends_at, self.attempts, self)
        if opened is None:
            raise ProviderCallFailed(failure.said)
        meter.go_on(broken.candidate, text)
        return opened

    # ── who speaks ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def takes_reasoning(self) -> bool:
        """Whether the listener takes reasoning before a first token."""
        return self._listener is not None and self._listener.takes_reasoning

    async def hear(self, source: OpenStream, events: Sequence[Event]) -> None:
        """Pass on what a candidate reasons before its first token; see stream.Listener."""
        assert self._listener is not None
        await self._listener.hear(partial(self._speak, source, events))

    def _speak(self, source: OpenStream, events: Sequence[Event]) -> Sequence[Event]:
        joined = self._introduce(source)
        self.meter.hear(events)
        return events if joined is None else [joined, *events]

    def _begin(self, stream: OpenStream, events: Sequence[Event]) -> Sequence[Event]:
        """The first events of the open stream, with the word about it that the client may need."""
        self._is_new = False
        joined = self._introduce(stream)
        self.meter.begin(stream.reasoned)
        return events if joined is None else [joined, *events]

    def _introduce(self, source: OpenStream) -> Joined | None:
        """The event sent before the first event of a new stream; None if the client already has events of this stream,
        or has none at all."""
        before, self._heard = self._heard, source
        if before is None or before is source:
            return None
        meter = self.meter
        meter.lose_heard()
        return Joined(
            mode="continue" if meter.continues and self.now is not None else "restart",
            characters=meter.text_chars,
            provider=source.candidate.provider,
            model=source.candidate.model,
            why=self._why_lost(before.candidate),
        )

    def _why_lost(self, candidate: Candidate) -> str:
        """Why the candidate's last try ended, masked; for the client that has heard something of it."""
        key = candidate.credential.name, candidate.model
        for row in reversed(self.attempts.rows):
            if (row.credential, row.model) == key and row.outcome.startswith(("failed", "cancelled")):
                return row.outcome.removeprefix("failed: ").removeprefix("cancelled: ")
        return "cancelled"

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def note_end(self, outcome: str) -> None:
        """How the stream that is open now has ended, for its row and the breakers; only the first word counts."""
        now, stream = trio.current_time(), self.now
        if self.attempts.end_stream(now, outcome) and outcome.startswith("failed") and stream is not None:
            stream.note_broken(now, outcome.removeprefix("failed: "))

    async def aclose(self) -> None:
        """Let go of the connection; does its work under cancellation too."""
        if self.now is not None:
            await self.now.aclose()


def continue_prompt(prompt: Prompt, text: str) -> Prompt:
    """The prompt for a candidate that continues this text."""
    messages = (*prompt.messages, Message("assistant", text))
    options, limit = prompt.options, prompt.options.max_output_tokens
    if limit is not None:
        options = evolve(options, max_output_tokens=max(1, limit - estimate_tokens(len(text))))
    return evolve(prompt, messages=messages, options=options)


def candidates_left(candidates: Sequence[Candidate], attempts: Attempts) -> tuple[Candidate, ...]:
    """Those that have not failed at this request."""
    return tuple(candidate for candidate in candidates if not attempts.has_failed(candidate))
