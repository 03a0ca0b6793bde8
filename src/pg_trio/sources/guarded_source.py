"""A filtered source whose filter may take long for some events: at an answer's end, guardrails read all of it again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from pg_trio.domain.event_source import EventSource
from pg_trio.domain.events import Event, Finished
from pg_trio.sources.filtered_source import EventFilter, FilteredSource

_Take: TypeAlias = Callable[[Sequence[Event]], Sequence[Event]]
# Calls the function with the events, away from the event loop if the size (characters) is large. Once the function has
# begun, it ends before a cancelled caller goes on.
Finish: TypeAlias = Callable[[int, _Take, Sequence[Event]], Awaitable[Sequence[Event]]]


class SizedFilter(EventFilter, Protocol):
    """A filter that knows what its work is."""

    def work_chars(self, events: Sequence[Event]) -> int:
        """How many characters `take` will read for these events. Called once for each, in order."""


class GuardedSource(FilteredSource):
    """The events of `source`, as the filter passes them on; `finish` does what is large."""

    __slots__ = ("_finish", "_sized", "_untaken")

    def __init__(self, source: EventSource, event_filter: SizedFilter, finish: Finish) -> None:
        super().__init__(source, event_filter)
        self._sized = event_filter
        self._finish = finish
        # Events that the filter has not got yet, because their reader was cancelled.
        self._untaken: Sequence[Event] = ()

    async def receive_events(self) -> Sequence[Event]:
        """See EventSource."""
        if self._first:
            events, self._first = self._first, ()
            return events
        events = await self._source.receive_events()
        return await self._pass(events) if events else events

    async def end_now(self) -> Sequence[Event]:
        """See EventSource."""
        first, self._first = self._first, ()
        events, self._untaken = self._untaken, ()
        if not events or not isinstance(events[-1], Finished):
            events = [*events, *await self._source.end_now()]
        return [*first, *await self._pass(events)]

    async def _pass(self, events: Sequence[Event]) -> Sequence[Event]:
        self._untaken = events
        return await self._finish(self._sized.work_chars(events), self._take_now, events)

    def _take_now(self, events: Sequence[Event]) -> Sequence[Event]:
        self._untaken = ()
        return self._take(events)
