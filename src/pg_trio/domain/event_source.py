"""The contract of a source: what gives the events of one streamed answer, and what a wrapper around it must keep to.

Rules:
1. `open` returns when there is something to relay. After a `Broken`, and after `give_up`, it is called again: then
   another candidate carries the answer on, or it raises the error with which the answer ends.
2. `receive_events` gives the next events, in order. The last event of a complete answer is `Finished`, and has the
   usage of the whole answer. After a change of candidates the first event is `Joined`, if the client has received any
   before.
3. Both raise GatewayError if the answer has failed and no other candidate may carry it on.
4. One task at a time calls a source.
5. The source of the provider's bytes notes each sign of life at once, so that a wrapper may hold events back without
   its provider being taken for silent.
6. `end_now` ends the answer where it is. A wrapper gives its filter the `Finished`, and what that releases goes first.
7. A wrapper passes on what it does not change. One that changes text corrects `Joined.characters` too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from pg_trio.domain.events import Event
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed

# Makes events in the moment in which they are sent. An event that is never sent is never made.
SpokenEvents: TypeAlias = Callable[[], Sequence[Event]]


class LifeClock(Protocol):
    """Measures how long a provider is silent."""

    # Set by the source with each sign of life (a token, or reasoning), reset by the clock.
    has_lived: bool
    # Set by a wrapper while it waits for something else, so that this is not taken for the provider's silence.
    rests: bool


class SourceListener(Protocol):
    """Takes what a source has before it is open: the reasoning of candidates that have no token yet."""

    @property
    def takes_reasoning(self) -> bool:
        """Whether `hear` may be called now. If not, reasoning waits for the first token."""

    @property
    def clock(self) -> LifeClock:
        """Where the source notes its provider's signs of life."""

    async def hear(self, spoken: SpokenEvents) -> None:
        """Send these events. Waits until the client's side has taken them."""


class EventSource(Protocol):
    """The events of one streamed answer."""

    @property
    def candidate(self) -> Candidate:
        """The candidate whose events come next. Only after `open`."""

    async def open(self, listener: SourceListener) -> None:
        """Wait until there is something to relay. Raises GatewayError."""

    async def receive_events(self) -> Sequence[Event]:
        """The next events. Empty if the bytes that came held none, or if a wrapper holds all of them back."""

    def give_up(self, failure: AttemptFailed) -> None:
        """The open stream is not waited for any longer, for this reason."""

    async def end_now(self) -> Sequence[Event]:
        """The last events of an answer that a client has stopped, also before `open`. The provider is let go of first.

        Raises GatewayError.
        """
