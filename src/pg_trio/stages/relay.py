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
6. Where the endpoint asks for it (`rescue`), a stream that fails is carried on by another candidate, in the same answer
   to the client; the idle clock rests until that one's first token. An answer with tool calls is not: half of a call's
   arguments joined to another's is no call.

One task reads and writes. A second one watches the clocks: it costs a stream one task, and a token nothing.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Literal, Protocol, TypeVar

import trio
from attrs import Factory, define, field

from pg_trio.domain.assembler import Assembler
from pg_trio.domain.call import StreamClient
from pg_trio.domain.chat import Reply, Usage
from pg_trio.domain.events import Broken, Event, Joined
from pg_trio.domain.project import Candidate
from pg_trio.errors import (
    AttemptFailed,
    AttemptTimedOut,
    ClientLeft,
    DeadlineExceeded,
    GatewayError,
    ProviderCallFailed,
)

T = TypeVar("T")

# 10 s: below the idle limits of common proxies and load balancers (AWS: 60 s, Heroku: 55 s, mobile networks: 30 s).
KEEP_ALIVE_S = 10.0
# What writes may take where the deadline has passed, of which the client is to be told.
LAST_WRITE_S = 1.0


class EventSource(Protocol):
    """An open stream of a provider."""

    @property
    def is_over(self) -> bool: ...

    async def receive_events(self) -> Sequence[Event]: ...

    def give_up(self, failure: AttemptFailed) -> Sequence[Event]: ...


class RescuedSource(EventSource, Protocol):
    """A stream that carries another on."""

    @property
    def candidate(self) -> Candidate: ...


class Rescue(Protocol):
    """Finds who carries a failed stream on."""

    @property
    def mode(self) -> Literal["restart", "continue"] | None: ...

    async def open_next(self, failure: AttemptFailed, text: str) -> RescuedSource | None:
        """The next stream, its first token come; None where nobody is left. Raises GatewayError."""


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
    rescue: Rescue | None = None
    failure: GatewayError | None = None
    # Of the stream that ran last, for its row.
    outcome: str = field(default="cancelled", init=False)
    _assembler: Assembler = field(default=Factory(lambda relay: relay.make_assembler(), takes_self=True), init=False)
    # What the streams before this one cost.
    _earlier_usage: Usage | None = field(default=None, init=False)
    # Text that is with the client from streams before this one, and of that what this one's prompt ends with.
    _relayed_chars: int = field(default=0, init=False)
    _continued_chars: int = field(default=0, init=False)
    _lived_at: float = field(factory=trio.current_time)
    _sent_at: float = field(factory=trio.current_time)
    # False while a write waits for the client.
    _is_reading: bool = False
    _held_up: bool = False
    _comment_sent: trio.Event | None = None
    _cut_by: AttemptFailed | DeadlineExceeded | None = None

    def make_assembler(self) -> Assembler:
        """What puts the answer together; it keeps the text only for whoever wants it."""
        return Assembler(keeps_text=self.keeps_text or self.keep is not None or self._continues)

    @property
    def usage(self) -> Usage:
        """What was relayed so far: the provider's counts, or an estimate."""
        usage = self._assembler.usage(self.prompt_chars)
        return usage if self._earlier_usage is None else self._earlier_usage.plus(usage)

    @property
    def model(self) -> str | None:
        """The model that answers, as the provider calls it."""
        return self._assembler.model

    def reply_so_far(self) -> Reply:
        """What was relayed, put together. Only with `keeps_text`."""
        return self._assembler.reply_so_far()

    async def run(self) -> None:
        """Pass the whole stream on and end it; `failure` says whether it broke.

        Raises ClientLeft where a limit passed while the client took nothing, be it the end: there is no telling it
        anything.
        """
        failed: AttemptFailed | GatewayError | None = await self._watched(self._pass_on)
        while self.rescue is not None and isinstance(failed, AttemptFailed) and not self._assembler.has_calls:
            following = await self._open_next(self.rescue, failed)
            if not isinstance(following, Joined):
                failed = following
                break
            failed = await self._watched(partial(self._pass_on, following))
        await self._end(failed)

    async def _end(self, failed: AttemptFailed | GatewayError | None) -> None:
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

    async def _watched(self, work: Callable[[], Awaitable[T]]) -> T | AttemptFailed | DeadlineExceeded:
        """What `work` gives, or what cut it. Raises ClientLeft where a limit passed while the client took nothing."""
        results: list[T] = []
        self._cut_by = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            results.append(await work())
            # Whatever was written is with the client.
            self._is_reading = True
            nursery.cancel_scope.cancel(reason="the stream is over")
        cut_by = self._find_cut()
        return results[0] if cut_by is None else cut_by

    def _find_cut(self) -> AttemptFailed | DeadlineExceeded | None:
        if self._cut_by is not None and not self._is_reading:
            raise ClientLeft
        return self._cut_by

    # ── carried on by another ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _continues(self) -> bool:
        return self.rescue is not None and self.rescue.mode == "continue"

    async def _open_next(self, rescue: Rescue, failure: AttemptFailed) -> Joined | AttemptFailed | GatewayError:
        """Let another candidate's stream take this one's place; or why the answer ends here."""
        text = self._assembler.text_so_far() if self._continues else ""

        async def open_next() -> RescuedSource | GatewayError | None:
            self._lived_at, self._is_reading = math.inf, True
            following: RescuedSource | GatewayError | None
            try:
                following = await rescue.open_next(failure, text)
            except GatewayError as error:
                # As a value: the nursery around this would put it in a group.
                following = error
            self._is_reading = False
            if self._comment_sent is not None:
                await self._comment_sent.wait()
            return following

        opened = await self._watched(open_next)
        if opened is None:
            return failure
        if isinstance(opened, AttemptFailed | GatewayError):
            return opened
        assembler, self._earlier_usage = self._assembler, self.usage
        joined = Joined(
            mode="continue" if self._continues else "restart",
            characters=self._relayed_chars + assembler.characters - assembler.reasoned,
            provider=opened.candidate.provider,
            model=opened.candidate.model,
            why=failure.said,
        )
        self._assembler = assembler.go_on(keeps_what_came=self._continues)
        self._relayed_chars = joined.characters
        self.prompt_chars += len(text) - self._continued_chars
        self._continued_chars = len(text)
        self.source, self._lived_at = opened, trio.current_time()
        return joined

    async def _pass_on(self, joined: Joined | None = None) -> AttemptFailed | None:
        """Pass one stream on to its end; gives what broke it."""
        last: Event | None = None
        source, client, add = self.source, self.client, self._assembler.add
        if joined is not None:
            self._is_reading = False
            await client.send_events([joined])
        while not (source.is_over or self._is_cut()):
            self._is_reading = True
            events = await source.receive_events()
            if self._cut_by is not None:
                # In the moment that these came: their write would be cut.
                break
            self._is_reading = False
            if self._comment_sent is not None:
                await self._comment_sent.wait()
            if not events:
                continue
            lives = False
            for last in events:
                add(last)
                lives = lives or last.shows_life
            self._sent_at = now = trio.current_time()
            if lives:
                self._lived_at = now
            await client.send_events(events)
            if self._held_up:
                self._held_up = False
                self._sent_at = self._lived_at = trio.current_time()
        return last.failure if isinstance(last, Broken) else None

    def _is_cut(self) -> bool:
        return self._cut_by is not None

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
            idle_at = self._lived_at + self.idle_s
            comment_at = self._sent_at + KEEP_ALIVE_S if self._is_reading else trio.current_time() + KEEP_ALIVE_S
            await trio.sleep_until(min(idle_at, comment_at, self.ends_at))
            now = trio.current_time()
            if now >= self.ends_at:
                self._cut_by = DeadlineExceeded(self.limit_ms)
                if not self._is_reading:
                    # Half a write could be followed by nothing: it may end, so that the client can be told.
                    await trio.sleep_until(self.ends_at + LAST_WRITE_S)
            elif now >= self._lived_at + self.idle_s and not self._is_reading:
                # The provider is not to be blamed for the client's time: the clock starts anew when the write is done.
                self._held_up, self._lived_at = True, now
            elif now >= self._lived_at + self.idle_s:
                said = f"no token within {self.idle_s:g} s"
                self._cut_by = AttemptTimedOut(said)
                self.source.give_up(self._cut_by)
            if self._cut_by is not None:
                scope.cancel(reason="a limit of the stream has passed")
                return
            if self._is_reading and now >= self._sent_at + KEEP_ALIVE_S:
                await self._comment()

    async def _comment(self) -> None:
        # The reading task may get tokens meanwhile: it waits until the comment is out, so that writes do not mix.
        self._comment_sent = trio.Event()
        with trio.move_on_at(self.ends_at + LAST_WRITE_S) as limit:
            await self.client.send_keep_alive()
        if limit.cancelled_caught:
            # Half a comment may be out: nothing is to follow it, and the clock that has run out ends the stream.
            self._is_reading = False
            return
        self._sent_at = trio.current_time()
        self._comment_sent.set()
        self._comment_sent = None
