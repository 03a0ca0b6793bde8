"""A candidate's stream: read up to its first token while candidates race for it, then as the client takes it.

Rules (docs/api.md, "Streaming" and "Failover"):
1. A stream wins with its first token, or with a whole answer that has none. What came until then waits in the stream.
2. Reasoning wins nothing. It starts its own candidate's first-token clock anew, and the listener gets its text at once.
   That clock rests while the listener takes it: a slow client is not the candidate's silence.
3. From the start of a hedge until one has won, the listener gets nothing: what each candidate reasons waits in its
   stream, so only the winner's follows. More than HELD_CHARS of it are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import trio
from attrs import define

from pg_trio.domain.adapter import StreamReader
from pg_trio.domain.events import Broken, Event, Finished, ReasoningDelta
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import UpstreamResponse
from pg_trio.errors import AttemptFailed
from pg_trio.racing.breaker_board import Permit
from pg_trio.racing.pauses import Pauses

# Characters of reasoning that wait for a winner, for each candidate: what a pipe holds (pipe(7): 64 KiB).
HELD_CHARS = 65_536


# The lines of a call's head that tell it of its trace, by its candidate and its start (AttemptTrace).
TellCall: TypeAlias = Callable[[Candidate, float], bytes]


class Listener(Protocol):
    """Takes what candidates reason before one of them has won."""

    @property
    def takes_reasoning(self) -> bool:
        """Whether `hear` may be called now. Where not, reasoning waits for the first token."""

    async def hear(self, source: OpenStream, events: Sequence[Event]) -> None:
        """Pass on what this stream says. Waits until the client's side has taken it."""


@define(slots=True, eq=False)
class Opening:
    """One race for a first token: who is asked at once, and how long each may be silent. `listener`: see Listener.

    `tell_call`: what calls are told of the request's trace.
    """

    first_token_limit_s: float
    listener: Listener | None = None
    tell_call: TellCall | None = None
    _running: int = 0
    _is_hedged: bool = False

    @property
    def holds_reasoning(self) -> bool:
        """Whether reasoning waits for a winner (rule 3)."""
        return self._is_hedged or self.listener is None or not self.listener.takes_reasoning

    def begin(self, *, is_hedge: bool) -> None:
        """A candidate is asked, beside the others that run."""
        if is_hedge:
            self._is_hedged = True
        elif not self._running:
            # A hedge is over where all that ran beside each other have failed.
            self._is_hedged = False
        self._running += 1

    def end(self) -> None:
        """One that was asked has won or failed."""
        self._running -= 1

    async def note_life(self, stream: OpenStream, limit: trio.CancelScope) -> None:
        """The stream reasons: pass it on, if it may go out, and start its first-token clock anew."""
        if self.listener is not None and not self.holds_reasoning and (said := stream.take_reasoning()):
            limit.deadline = math.inf
            await self.listener.hear(stream, said)
        limit.deadline = trio.current_time() + self.first_token_limit_s


@define(slots=True, eq=False)
class OpenStream:
    """An open stream. Its holder must always call `aclose()`.

    `response` and `reader` are None where the provider answered whole though a stream was asked for: then the events
    that it came to are all there already.
    """

    candidate: Candidate
    response: UpstreamResponse | None
    reader: StreamReader | None
    _waiting: list[Event]
    # What was read of the body to tell that it is a stream's.
    _start: bytes = b""
    # Characters of reasoning that are not among its events: with the listener already, or left out.
    reasoned: int = 0
    _held_chars: int = 0
    # Of the try that opened it: it was praised for its first token.
    permit: Permit | None = None
    pauses: Pauses | None = None
    # Whether text was left out of the block of reasoning under way.
    _has_hole: bool = False

    async def wait_first_token(self, opening: Opening, limit: trio.CancelScope) -> None:
        """Read up to and with what comes with the first token, or a whole answer without one; `limit` is its clock.

        Raises the attempt's failure where the stream breaks before that. It is closed then.
        """
        if self.response is None or self.reader is None:
            return
        data, self._start = self._start, b""
        try:
            while True:
                data = data or await self.response.receive_some()
                events = self.reader.feed(data) if data else self.reader.close()
                if self._take(events, holds_reasoning=opening.holds_reasoning):
                    return
                if any(event.shows_life for event in events):
                    await opening.note_life(self, limit)
                data = b""
        except BaseException:
            await self.aclose()
            raise

    def _take(self, events: list[Event], *, holds_reasoning: bool) -> bool:
        """Keep these events; whether the stream has won with them. Raises its failure."""
        has_won = False
        for event in events:
            if isinstance(event, Broken) and not has_won:
                raise event.failure
            if isinstance(event, ReasoningDelta) and holds_reasoning:
                self._held_chars += len(event.text)
                if self._held_chars > HELD_CHARS:
                    self.reasoned += len(event.text)
                    self._has_hole = self._has_hole or bool(event.text)
                    if event.signature is None:
                        continue
            if isinstance(event, ReasoningDelta) and event.signature and self._has_hole:
                # It signs the whole text, of which a part was left out.
                event, self._has_hole = ReasoningDelta("", signature=""), False  # noqa: PLW2901
            self._waiting.append(event)
            has_won = has_won or event.is_token or isinstance(event, Finished)
        return has_won

    def take_reasoning(self) -> list[Event]:
        """The reasoning that waits here, and what says whose it is; empty where it says nothing."""
        waiting = self._waiting
        reasoning = [event for event in waiting if isinstance(event, ReasoningDelta)]
        self._waiting = [event for event in waiting if not isinstance(event, ReasoningDelta)]
        self.reasoned += sum(len(event.text) for event in reasoning)
        self._held_chars = 0
        return waiting if any(event.text or event.signature or event.data for event in reasoning) else []

    async def receive_events(self) -> Sequence[Event]:
        """The next events, at least one unless the bytes that came held none; the last is Finished or Broken."""
        if self._waiting:
            events, self._waiting = self._waiting, []
            return events
        assert self.response is not None
        assert self.reader is not None
        try:
            data = await self.response.receive_some()
        except AttemptFailed as failure:
            return self.reader.close(failure)
        return self.reader.feed(data) if data else self.reader.close()

    def note_broken(self, now: float, said: str) -> None:
        """It failed after its first token: its breaker counts the same call as failed, unless we may be the cause."""
        if self.permit is not None and not (self.pauses is not None and self.pauses.has_just_ended(now)):
            self.permit.broke_off(now, said)

    async def aclose(self) -> None:
        """Let go of the connection; does its work under cancellation too."""
        if self.response is not None:
            await self.response.aclose()
