"""Pass a stream on to the client, token by token, and end it honestly whatever happens.

Rules (the contract's section "Streaming"):
1. Tokens go on as they come; the next are not read before the client's side has taken these, so what is held of a
   stream is bounded by what one read brings.
2. While the provider is silent, a keep-alive comment goes out every KEEP_ALIVE_S. It resets no clock.
3. `idle_timeout_ms` between signs of life (tokens, reasoning), and the deadline over all of it. Either ends the stream
   with an error that the client sees: after the first byte, failure is data.
4. What was relayed is counted, also where the client left in the middle.
5. What must be kept of the answer (its session) is kept before the client is told that it is whole; where that fails,
   the stream has failed.

One task reads and writes. A second one watches the clocks: it costs a stream one task, and a token nothing.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import trio
from attrs import Factory, define, field

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.call import StreamClient
from pg_trio.domain.chat import Reply, Usage
from pg_trio.domain.events import Broken, Event
from pg_trio.errors import (
    AttemptFailed,
    AttemptTimedOut,
    ClientLeft,
    DeadlineExceeded,
    GatewayError,
    ProviderCallFailed,
)

# 10 s: below the idle limits of common proxies and load balancers (AWS: 60 s, Heroku: 55 s, mobile networks: 30 s).
KEEP_ALIVE_S = 10.0


class EventSource(Protocol):
    """An open stream of a provider."""

    @property
    def is_over(self) -> bool: ...

    async def receive_events(self) -> Sequence[Event]: ...

    def give_up(self, failure: AttemptFailed) -> Sequence[Event]: ...


@define(eq=False)
class Relay:
    """One stream on its way. Times are Trio's clock; `limit_ms` is what the deadline is called in its error."""

    source: EventSource
    client: StreamClient
    idle_s: float
    ends_at: float
    limit_ms: int
    prompt_chars: int
    # Whether `reply_so_far` is wanted.
    keeps_text: bool = False
    # Awaited with the whole answer before it ends, where something must be kept of it.
    keep: Callable[[Reply, Usage], Awaitable[None]] | None = None
    failure: GatewayError | None = None
    _assembler: Assembler = field(default=Factory(lambda relay: relay.make_assembler(), takes_self=True), init=False)
    _lived_at: float = field(factory=trio.current_time)
    _sent_at: float = field(factory=trio.current_time)
    # False while a write waits for the client.
    _is_reading: bool = False
    _comment_sent: trio.Event | None = None
    _cut_by: GatewayError | None = None

    def make_assembler(self) -> Assembler:
        """What puts the answer together; it keeps the text only for whoever wants it."""
        return Assembler(keeps_text=self.keeps_text or self.keep is not None)

    @property
    def usage(self) -> Usage:
        """What was relayed so far: the provider's counts, or an estimate."""
        return self._assembler.usage(self.prompt_chars)

    @property
    def model(self) -> str | None:
        """The model that answers, as the provider calls it."""
        return self._assembler.model

    def reply_so_far(self) -> Reply:
        """What was relayed, put together. Only with `keeps_text`."""
        return self._assembler.reply_so_far()

    async def run(self) -> None:
        """Pass the whole stream on and end it; `failure` says whether it broke.

        Raises ClientLeft where a limit passed while the client took nothing: there is no telling it anything.
        """
        last: Event | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            last = await self._pass_on()
            nursery.cancel_scope.cancel(reason="the stream is over")
        if self._cut_by is not None:
            if not self._is_reading:
                raise ClientLeft
            self.failure = self._cut_by
        elif isinstance(last, Broken):
            self.failure = ProviderCallFailed(last.failure.said)
        elif self.keep is not None:
            self.failure = await self._keep(self.keep)
        if self.failure is not None:
            await self.client.fail(self.failure)
        else:
            assert self._assembler.finish_reason is not None
            await self.client.finish(self._assembler.finish_reason, self.usage)

    async def _pass_on(self) -> Event | None:
        last: Event | None = None
        source, client, add = self.source, self.client, self._assembler.add
        while not source.is_over:
            self._is_reading = True
            events = await source.receive_events()
            self._is_reading = False
            if self._comment_sent is not None:
                await self._comment_sent.wait()
            if not events:
                continue
            lives = False
            for last in events:
                add(last)
                lives = lives or last.shows_life
            now = trio.current_time()
            if lives:
                self._lived_at = now
            await client.send_events(events)
            self._sent_at = now
        return last

    async def _keep(self, keep: Callable[[Reply, Usage], Awaitable[None]]) -> GatewayError | None:
        """Why the answer could not be kept; None if it is."""
        try:
            with trio.fail_at(self.ends_at):
                await keep(self._assembler.reply(), self.usage)
        except trio.TooSlowError:
            return DeadlineExceeded(self.limit_ms)
        except GatewayError as error:
            return error
        return None

    async def _watch(self, scope: trio.CancelScope) -> None:
        """Cut the stream when a clock has run out; tell the client that we live while the provider is silent."""
        while True:
            idle_at = self._lived_at + self.idle_s if self._is_reading else math.inf
            comment_at = self._sent_at + KEEP_ALIVE_S if self._is_reading else trio.current_time() + KEEP_ALIVE_S
            await trio.sleep_until(min(idle_at, comment_at, self.ends_at))
            now = trio.current_time()
            if now >= self.ends_at:
                self._cut_by = DeadlineExceeded(self.limit_ms)
            elif self._is_reading and now >= self._lived_at + self.idle_s:
                said = f"no token within {self.idle_s:g} s"
                self.source.give_up(AttemptTimedOut(said))
                self._cut_by = ProviderCallFailed(said)
            if self._cut_by is not None:
                scope.cancel(reason="a limit of the stream has passed")
                return
            if self._is_reading and now >= self._sent_at + KEEP_ALIVE_S:
                await self._comment()

    async def _comment(self) -> None:
        # The reading task may get tokens meanwhile: it waits until the comment is out, so that writes do not mix.
        self._comment_sent = trio.Event()
        await self.client.send_keep_alive()
        self._sent_at = trio.current_time()
        self._comment_sent.set()
        self._comment_sent = None
