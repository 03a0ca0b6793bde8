"""Relays a stream to the client, token by token, and always ends it with its true result.

Rules (docs/api.md, "Streaming"):
1. Tokens are relayed as they arrive. The next ones are not read before the client's side has taken these, so memory is
   bounded by one read.
2. The head is sent with the first token, or early: at `head_at`, or with reasoning. Before the head a failure is
   raised; after it a failure is data, and the client sees it.
3. While nothing is sent, a keep-alive comment is sent every KEEP_ALIVE_S. It resets no clock.
4. `idle_timeout_ms` between signs of life (tokens, reasoning), and the deadline over the whole stream, end the stream
   with an error.
5. Relayed tokens are counted, also if the client left in the middle.
6. The answer is stored in its session before the client gets the end of the stream. If storing fails, the stream has
   failed.
7. If the endpoint configures it (`mode`), another candidate continues a failed stream, in the same answer to the
   client. The idle clock rests until that candidate's first token. An answer with tool calls is not continued, because
   two halves of a call's arguments cannot be joined.
8. A client that has received events of a candidate is told when another takes its place (`Joined`), even if the events
   were reasoning only.

watch.py has the clocks, and the task that acts when one of them runs out.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Literal, Protocol, TypeAlias

import trio
from attrs import Factory, define, field

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.call import StreamClient
from pg_trio.domain.chat import Reply, Usage
from pg_trio.domain.events import Broken, Event, Joined, ReasoningDelta
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed, ClientLeft, DeadlineExceeded, GatewayError, ProviderCallFailed
from pg_trio.stages.relay.watch import LAST_WRITE_S, RelayPhase, Watch

# Why a stream ended early; None if it is complete.
Failed: TypeAlias = AttemptFailed | GatewayError | None


class EventSource(Protocol):
    """A stream of one candidate. `reasoned`: characters of its reasoning that came before its events."""

    @property
    def candidate(self) -> Candidate: ...

    @property
    def reasoned(self) -> int: ...

    @property
    def is_over(self) -> bool: ...

    async def receive_events(self) -> Sequence[Event]: ...

    def give_up(self, failure: AttemptFailed) -> Sequence[Event]: ...


class Carrier(Protocol):
    """Finds the first stream, and the streams that continue a failed one. `listener` gets the reasoning of candidates
    meanwhile."""

    @property
    def mode(self) -> Literal["restart", "continue"] | None: ...

    async def open_first(self, listener: Relay) -> EventSource:
        """The first stream, after its first token. Raises GatewayError."""

    async def open_next(self, failure: AttemptFailed, text: str, listener: Relay) -> EventSource | None:
        """The next stream, after its first token; None if no candidate is left. Raises GatewayError."""

    def why_lost(self, candidate: Candidate) -> str:
        """Why the candidate whose reasoning was relayed does not answer, masked."""


@define(eq=False)
class Relay:
    """One stream on its way. Times are Trio's clock.

    `head_at` is the latest time of the head; infinity means only with the first token. `take_deadline` hands the
    request's deadline over to the relay; it returns its milliseconds, or raises DeadlineExceeded.
    """

    carrier: Carrier
    client: StreamClient
    idle_s: float
    ends_at: float
    take_deadline: Callable[[], int]
    prompt_chars: int
    head_at: float = math.inf
    # Whether the client gets reasoning.
    relays_reasoning: bool = True
    # Whether the client's surface keeps reasoning until the answer begins: it sends nothing then, so no head either.
    holds_reasoning: bool = False
    # Whether `reply_so_far` will be used.
    keeps_text: bool = False
    # Awaited with the complete answer before the stream ends, if it must be stored.
    keep: Callable[[Reply, Usage], Awaitable[None]] | None = None
    # Called when the first token has come.
    note_first_token: Callable[[], None] | None = None
    failure: GatewayError | None = None
    # The outcome of the last stream, for its row.
    outcome: str = field(default="cancelled", init=False)
    # Whether a token has come, or a complete answer without one: then `usage` and `model` are meaningful.
    has_begun: bool = field(default=False, init=False)
    _source: EventSource | None = field(default=None, init=False)
    # The source of which the client has received something; the characters of reasoning that no winner's `reasoned`
    # counts.
    _heard: EventSource | None = field(default=None, init=False)
    _heard_chars: int = field(default=0, init=False)
    _lost_chars: int = field(default=0, init=False)
    _is_spent: bool = field(default=False, init=False)
    _assembler: Assembler = field(default=Factory(lambda relay: relay.make_assembler(), takes_self=True), init=False)
    # What the streams before this one used, and whose they were.
    earlier: list[tuple[Candidate, Usage]] = field(factory=list, init=False)
    # Characters that the client has from earlier streams, and the part of them at the end of this stream's prompt.
    _relayed_chars: int = field(default=0, init=False)
    _continued_chars: int = field(default=0, init=False)
    _watch: Watch[EventSource] = field(default=Factory(lambda relay: relay.make_watch(), takes_self=True), init=False)

    def make_assembler(self) -> Assembler:
        """The assembler of the answer; it keeps the text only if the session, the log or a rescue needs it."""
        return Assembler(keeps_text=self.keeps_text or self.keep is not None or self._continues)

    def make_watch(self) -> Watch[EventSource]:
        """The clocks, none of them started."""
        return Watch(
            client=self.client,
            idle_s=self.idle_s,
            ends_at=self.ends_at,
            head_at=self.head_at,
            take_deadline=self.take_deadline,
        )

    @property
    def usage(self) -> Usage:
        """The usage so far: the provider's counts, or an estimate."""
        usage = self.last_usage
        for _, earlier in self.earlier:
            usage = earlier.plus(usage)
        return usage

    @property
    def last_usage(self) -> Usage:
        """The same of the stream that ran last, without those `earlier`."""
        return self._assembler.usage(self.prompt_chars)

    @property
    def model(self) -> str | None:
        """The model that answers, as the provider calls it."""
        return self._assembler.model

    @property
    def lost_chars(self) -> int:
        """Characters of reasoning that the client received from candidates that did not win."""
        return self._lost_chars + self._heard_chars

    def reply_so_far(self) -> Reply:
        """The relayed part of the answer. Only with `keeps_text`."""
        return self._assembler.reply_so_far()

    async def run(self) -> None:
        """Relay the whole stream and end it; `failure` says whether it broke.

        Raises GatewayError if it failed before the head was sent; ClientLeft if a limit passed while the client read
        nothing, so that no error can be sent to it.
        """
        failed = await self._watched(self._begin)
        if isinstance(failed, GatewayError) and not self._watch.is_committed:
            try:
                raise failed
            finally:
                # The error refers to its frames, and this frame to the error: a cycle for the garbage collector, one
                # for each failure.
                del failed
        while isinstance(failed, AttemptFailed) and self._may_carry_on():
            failed = await self._watched(partial(self._carry_on, failed))
        await self._end(failed)

    async def _watched(self, work: Callable[[], Awaitable[Failed]]) -> Failed:
        """The result of `work`, or the error that cut it. Raises ClientLeft if a limit passed while the client read
        nothing."""
        results: list[Failed] = []
        watch = self._watch
        watch.restart()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run, nursery.cancel_scope, self._speak)
            results.append(await work())
            await watch.end()
            nursery.cancel_scope.cancel(reason="the stream is over")
        cut_by = watch.cut_by
        if cut_by is None:
            return results[0]
        if watch.phase is RelayPhase.WRITING:
            raise ClientLeft
        if isinstance(cut_by, AttemptFailed) and self._source is not None:
            self._source.give_up(cut_by)
        return cut_by

    # ── before a token ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def takes_reasoning(self) -> bool:
        """Whether `hear` may be called; False if only a token may send the head."""
        return self.relays_reasoning and (self.holds_reasoning or self._watch.is_committed or self.head_at < math.inf)

    async def hear(self, source: EventSource, events: Sequence[Event]) -> None:
        """Relay a candidate's reasoning before its first token. Waits until the client's side has taken it."""
        if self.holds_reasoning:
            await self._speak(source, events)
        else:
            await self._watch.hear(source, events)

    async def _speak(self, source: EventSource, events: Sequence[Event]) -> None:
        joined = self._introduce(source)
        self._heard_chars += sum(len(event.text) for event in events if isinstance(event, ReasoningDelta))
        await self.client.send_events(events if joined is None else [joined, *events])

    def _introduce(self, source: EventSource) -> Joined | None:
        """The event sent before the first event of a new source; None if the client already has events of this source,
        or has none at all."""
        before, self._heard = self._heard, source
        if before is None or before is source:
            return None
        self._lost_chars += self._heard_chars
        self._heard_chars = 0
        return Joined(
            mode="continue" if self._continues and self.has_begun else "restart",
            characters=self._text_chars,
            provider=source.candidate.provider,
            model=source.candidate.model,
            why=self.carrier.why_lost(before.candidate),
        )

    async def _begin(self) -> Failed:
        """Open the first stream and relay it."""
        try:
            source = await self.carrier.open_first(self)
        except GatewayError as error:
            return _as_value(error)
        try:
            await self._watch.end_opening()
        except DeadlineExceeded as error:
            self.outcome = "cancelled: deadline"
            return _as_value(error)
        self.has_begun = True
        if self.note_first_token is not None:
            self.note_first_token()
        return await self._pass_on(source)

    # ── carried on by another ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _continues(self) -> bool:
        return self.carrier.mode == "continue"

    @property
    def _text_chars(self) -> int:
        """Characters of text that the client has."""
        return self._relayed_chars + self._assembler.characters - self._assembler.reasoned

    def _may_carry_on(self) -> bool:
        return self.carrier.mode is not None and not self._is_spent and not self._assembler.has_calls

    async def _carry_on(self, failure: AttemptFailed) -> Failed:
        """Let another candidate's stream take this one's place and relay it. Returns the failure if the answer ends."""
        text = self._assembler.text_so_far() if self._continues else ""
        self._watch.phase = RelayPhase.OPENING
        try:
            source = await self.carrier.open_next(failure, text, self)
            await self._watch.end_opening()
        except GatewayError as error:
            return _as_value(error)
        if source is None:
            self._is_spent = True
            return failure
        assembler, self._relayed_chars = self._assembler, self._text_chars
        if self._source is not None:
            self.earlier.append((self._source.candidate, self.last_usage))
        self._assembler = assembler.go_on(keeps_what_came=self._continues)
        self.prompt_chars += len(text) - self._continued_chars
        self._continued_chars = len(text)
        return await self._pass_on(source)

    # ── from the first token on ──────────────────────────────────────────────────────────────────────────────────────

    async def _pass_on(self, source: EventSource) -> AttemptFailed | None:
        """Relay one stream to its end; returns the failure that broke it."""
        watch, client = self._watch, self.client
        reading, writing = RelayPhase.READING, RelayPhase.WRITING
        self._source = source
        client.name_source(source.candidate.provider, source.candidate.model)
        if (joined := self._introduce(source)) is not None:
            await client.send_events([joined])
        self._count_reasoned(source)
        add = self._assembler.add
        last: Event | None = None
        watch.sent_at = watch.lived_at = trio.current_time()
        while not (source.is_over or self._is_cut()):
            watch.phase = reading
            events = await source.receive_events()
            if watch.cut_by is not None:
                # A limit passed in the same moment: a write of these events would be cut.
                break
            watch.phase = writing
            if watch.writing is not None:
                await watch.writing.wait()
            if not events:
                continue
            lives = False
            for last in events:
                add(last)
                lives = lives or last.shows_life
            was_sent = await client.send_events(events)
            # After the write: the client's time is not the provider's silence.
            now = trio.current_time()
            if was_sent:
                watch.sent_at = now
            if lives:
                watch.lived_at = now
        return last.failure if isinstance(last, Broken) else None

    def _count_reasoned(self, source: EventSource) -> None:
        """Providers count reasoning as completion, so the winner's reasoning before its first token counts, too."""
        self._assembler.characters += source.reasoned
        self._assembler.reasoned += source.reasoned
        self._heard_chars = 0

    def _is_cut(self) -> bool:
        return self._watch.cut_by is not None

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _end(self, failed: Failed) -> None:
        if failed is None:
            self.outcome = "won"
            failed = None if self.keep is None else await self._keep(self.keep)
        elif isinstance(failed, AttemptFailed):
            self.outcome = f"failed: {failed.said}"
            failed = ProviderCallFailed(failed.said)
        elif isinstance(failed, DeadlineExceeded):
            self.outcome = "cancelled: deadline"
        self.failure = failed
        with trio.move_on_at(max(self.ends_at, trio.current_time() + LAST_WRITE_S)) as limit:
            await self._write_end(failed)
        if limit.cancelled_caught:
            raise ClientLeft

    async def _write_end(self, failure: GatewayError | None) -> None:
        if failure is not None:
            await self.client.fail(failure)
            return
        assert self._assembler.finish_reason is not None
        await self.client.finish(self._assembler.finish_reason, self.usage)

    async def _keep(self, keep: Callable[[Reply, Usage], Awaitable[None]]) -> GatewayError | None:
        """Why the answer could not be stored; None if it is."""
        try:
            with trio.fail_at(self.ends_at):
                await keep(self._assembler.reply(), self.usage)
        except trio.TooSlowError:
            return DeadlineExceeded(self._watch.limit_ms)
        except GatewayError as error:
            return _as_value(error)
        return None


def _as_value(error: GatewayError) -> GatewayError:
    """The error as a value, because the surrounding nursery would put a raised one into a group.

    Without its frames, because they refer to this relay, which will refer to the error.
    """
    error.__context__ = None
    return error.with_traceback(None)
