"""What a subscriber must have. It never waits, and works on nothing but what it is given."""

from __future__ import annotations

from typing import Protocol

from pg_trio.recorder.facts import Fact
from pg_trio.recorder.outcome import RequestOutcome
from pg_trio.recorder.record import RequestRecord


class Subscriber(Protocol):
    """Is told of each request at its end."""

    def ended(self, record: RequestRecord, outcome: RequestOutcome) -> None:
        """A request has ended. Its record may be kept for later; its texts are there during this call alone."""

    def shed(self, count: int) -> None:
        """So many requests were turned away unread since the last time: they have no record."""


class LiveSubscriber(Subscriber, Protocol):
    """Is told of every fact too, of requests that begin while it is subscribed."""

    def began(self, record: RequestRecord) -> None:
        """The head of a request was read."""

    def noted(self, record: RequestRecord, fact: Fact) -> None:
        """A fact; the record has it already."""
