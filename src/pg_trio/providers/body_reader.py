"""The common part of all wires' readers: they take bytes, break at the first unreadable event, and end once."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pg_trio.domain.events import Broken, Event, Finished
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed, UpstreamBroken, UpstreamNonsense
from pg_trio.providers.sse import EventStreamParser, ServerSentEvent


class BodyReader(ABC):
    """A stream's reader without its events; see `domain.adapter.StreamReader`."""

    __slots__ = ("_candidate", "_parser", "is_over")

    def __init__(self, candidate: Candidate) -> None:
        self.is_over = False
        self._candidate = candidate
        self._parser = EventStreamParser()

    @abstractmethod
    def read_all(self, sent_events: list[ServerSentEvent], events: list[Event]) -> None:
        """Add the events of these server-sent events, up to the last. Raises UpstreamNonsense."""

    @abstractmethod
    def end(self, failure: AttemptFailed, events: list[Event]) -> None:
        """Add the last events of an answer that ends here. `failure` is used if the answer is incomplete."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete."""
        events: list[Event] = []
        if self.is_over:
            return events
        try:
            self.read_all(self._parser.feed(data), events)
            if self._parser.failure is not None and not self.is_over:
                raise self._parser.failure
        except UpstreamNonsense as exc:
            # The traceback would keep this frame and the events alive until the garbage collector runs.
            events.append(self.break_off(exc.with_traceback(None)))
        return events

    def close(self, failure: AttemptFailed | None = None) -> list[Event]:
        """The last events; see `domain.adapter.StreamReader`."""
        events: list[Event] = []
        if self.is_over:
            return events
        try:
            self.read_all(self._parser.finish(), events)
        except UpstreamNonsense as exc:
            events.append(self.break_off(exc.with_traceback(None)))
        if not (events and isinstance(events[-1], Finished | Broken)):
            self.end(failure or self._cut_failure(), events)
        return events

    def break_off(self, failure: AttemptFailed) -> Broken:
        """The last event of a stream that has failed."""
        self.is_over = True
        return Broken(failure)

    def _cut_failure(self) -> UpstreamBroken:
        left_bytes = self._parser.close()
        where = f", {left_bytes} bytes into an event" if left_bytes else ""
        return UpstreamBroken(f"the stream was cut: it ended without a finish reason{where}")
