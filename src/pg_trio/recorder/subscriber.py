"""The protocols of subscribers. A subscriber never waits and uses only its arguments."""

from __future__ import annotations

from typing import Protocol

from pg_trio.recorder.facts import Fact
from pg_trio.recorder.outcome import RequestOutcome
from pg_trio.recorder.record import RequestRecord


class Subscriber(Protocol):
    """Is called at the end of each request."""

    def ended(self, record: RequestRecord, outcome: RequestOutcome) -> None:
        """A request has ended. The record may be kept, but its texts exist only during this call."""

    def shed(self, count: int) -> None:
        """`count` requests were refused unread since the last call. They have no records."""


class LiveSubscriber(Subscriber, Protocol):
    """Also gets every fact of requests that begin while it is subscribed."""

    def began(self, record: RequestRecord) -> None:
        """A request's head was read."""

    def noted(self, record: RequestRecord, fact: Fact) -> None:
        """A fact happened. The record already holds it."""
