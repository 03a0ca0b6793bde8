"""A stream that won: its first token has come, the rest is read as the client takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import define

from pg_trio.domain.events import Broken, Event, Finished
from pg_trio.domain.project import Candidate
from pg_trio.domain.upstream import UpstreamResponse
from pg_trio.errors import AttemptFailed
from pg_trio.racing.breaker_board import Permit


class StreamReader(Protocol):
    """Bytes of one streamed answer in, events out; never raises."""

    def feed(self, data: bytes) -> list[Event]: ...

    def close(self, failure: AttemptFailed | None = None) -> list[Event]:
        """The connection has ended, or is given up for this failure: the last events."""


@define(slots=True, eq=False)
class OpenStream:
    """An open stream. Whoever holds it calls `aclose()`, whatever happens.

    `response` and `reader` are None where the provider answered whole though a stream was asked for: then the events
    that it came to are all there already.
    """

    candidate: Candidate
    response: UpstreamResponse | None
    reader: StreamReader | None
    _waiting: list[Event]
    is_over: bool = False
    # Of the try that opened it: it was praised for its first token.
    permit: Permit | None = None

    async def receive_events(self) -> Sequence[Event]:
        """The next events, at least one unless the bytes that came held none; the last is Finished or Broken."""
        if self._waiting:
            events, self._waiting = self._waiting, []
            return self._note(events)
        assert self.response is not None
        assert self.reader is not None
        try:
            data = await self.response.receive_some()
        except AttemptFailed as failure:
            return self._note(self.reader.close(failure))
        return self._note(self.reader.feed(data) if data else self.reader.close())

    def give_up(self, failure: AttemptFailed) -> Sequence[Event]:
        """The last events of a stream that is not waited for any longer."""
        return self._note(self.reader.close(failure)) if self.reader is not None else []

    def note_broken(self, now: float, said: str) -> None:
        """It failed after its first token: its breaker counts the same call as failed."""
        if self.permit is not None:
            self.permit.broke_off(now, said)

    async def aclose(self) -> None:
        """Let go of the connection; does its work under cancellation too."""
        if self.response is not None:
            await self.response.aclose()

    def _note(self, events: list[Event]) -> list[Event]:
        if events and isinstance(events[-1], Finished | Broken):
            self.is_over = True
        return events
