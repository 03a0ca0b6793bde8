"""A source whose events pass through a filter on their way to the client, also those that come before its first token.

A filter may change events, hold text back until it has seen enough of it, or end the answer with an error. It sees
every event of the answer once and in order. What it holds back it must release with `Finished`, before it, or with
`Broken` or `Joined`, if the client should have it. If it refuses what comes with the first token, the head is not sent
yet, and the failure is an ordinary answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from pg_trio.domain.event_source import EventSource, LifeClock, SourceListener, SpokenEvents
from pg_trio.domain.events import Event
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed, GatewayError, InternalError

logger = logging.getLogger("pg_trio.sources")


class EventFilter(Protocol):
    """Decides what of an answer goes on."""

    def take(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events to pass on for these; none while text is held back. Raises GatewayError to end the answer."""


class FilteredSource:
    """The events of `source`, as the filter passes them on."""

    __slots__ = ("_filter", "_first", "_listener", "_source")

    def __init__(self, source: EventSource, event_filter: EventFilter) -> None:
        self._source = source
        self._filter = event_filter
        # Only while the source is opened.
        self._listener: SourceListener | None = None
        # The first events, as the filter passes them on.
        self._first: Sequence[Event] = ()

    @property
    def candidate(self) -> Candidate:
        """See EventSource."""
        return self._source.candidate

    async def open(self, listener: SourceListener) -> None:
        """See EventSource. The filter also gets what the listener hears meanwhile."""
        self._listener = listener
        try:
            await self._source.open(self)
        finally:
            # It refers to this source: together they would be a cycle for the garbage collector.
            self._listener = None
        # They came with the first token, so this does not wait.
        self._first = await self.receive_events()

    async def receive_events(self) -> Sequence[Event]:
        """See EventSource."""
        if self._first:
            events, self._first = self._first, ()
            return events
        events = await self._source.receive_events()
        return self._take(events) if events else events

    def give_up(self, failure: AttemptFailed) -> None:
        """See EventSource."""
        self._source.give_up(failure)

    async def end_now(self) -> Sequence[Event]:
        """See EventSource."""
        first, self._first = self._first, ()
        return [*first, *self._take(await self._source.end_now())]

    def _take(self, events: Sequence[Event]) -> Sequence[Event]:
        try:
            return self._filter.take(events)
        except GatewayError:
            raise
        except Exception as error:
            # The relay ends a stream by an error event for expected errors only; for others it would be cut.
            logger.exception("a filter of streams failed")
            raise InternalError from error

    # ── the listener of the source that it wraps ─────────────────────────────────────────────────────────────────────

    @property
    def takes_reasoning(self) -> bool:
        """See SourceListener."""
        return self._listener is not None and self._listener.takes_reasoning

    @property
    def clock(self) -> LifeClock:
        """See SourceListener."""
        assert self._listener is not None
        return self._listener.clock

    async def hear(self, spoken: SpokenEvents) -> None:
        """See SourceListener."""
        assert self._listener is not None
        await self._listener.hear(lambda: self._take(spoken()))
