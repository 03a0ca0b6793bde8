"""Checks beside the provider's call: both run, and what the call gives is held until the checks have passed.

Rules:
1. A check that refuses cancels the call at once. Its error is the request's, also where the call has
   an answer.
2. A call that failed is held, too: a request that a check refuses is refused in each try, also while a provider is
   down.
3. A call that had ended when the check refused is returned beside the error, because its usage must be counted.
4. Both end before this returns, under every cancellation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio
from attrs import define

from pg_trio.domain.event_source import EventSource, LifeClock, SourceListener, SpokenEvents
from pg_trio.domain.events import Event
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed, GatewayError, GuardrailFailed

T = TypeVar("T")

# What the rows of cancelled attempts say.
REFUSED = "refused by a guardrail"
# Raises what refuses the request.
Check = Callable[[], Awaitable[None]]


@define(slots=True, eq=False)
class HeldCall(Generic[T]):
    """What came of both. `refused` is the check's error; then `result` is what the call had given, if it had."""

    result: T | None = None
    refused: Exception | None = None

    def take(self) -> tuple[T, Exception | None]:
        """The call's result, and the check's error if it refuses it. Raises that error if there is no result."""
        if self.result is None:
            assert self.refused is not None
            raise self.refused
        return self.result, self.refused


async def hold_beside(check: Check, work: Callable[[], Awaitable[T]]) -> HeldCall[T]:
    """Run both to their ends, or to the check's error. Raises the call's error if the check has passed."""
    held = HeldCall[T]()
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_run_check, check, held, nursery.cancel_scope)
        try:
            held.result = await work()
        except Exception as error:  # noqa: BLE001  held, and raised below
            failure = error
    try:
        if failure is not None and held.refused is None:
            raise failure
        return held
    finally:
        # The error's frames refer to it: together they would be a cycle for the garbage collector.
        del failure


async def _run_check(check: Check, held: HeldCall[T], scope: trio.CancelScope) -> None:
    try:
        await check()
    except Exception as error:  # noqa: BLE001  a bug in a check must not let the answer pass, either
        held.refused = error.with_traceback(None) if isinstance(error, GatewayError) else error
        scope.cancel(reason=REFUSED)


class HeldSource:
    """A streamed answer that opens only when the check has passed. `note_passed` is called in that moment.

    Until then no byte goes to the client: reasoning waits for the first token. An answer that is stopped until then has
    failed: `guardrail` has not decided, and its request must not become a turn of the session.
    """

    __slots__ = ("_check", "_guardrail", "_listener", "_source", "note_passed")

    def __init__(self, source: EventSource, check: Check, guardrail: str) -> None:
        self._source = source
        self._check: Check | None = check
        self._guardrail = guardrail
        self.note_passed: Callable[[], None] | None = None
        # Only while the source is opened beside the check.
        self._listener: SourceListener | None = None

    @property
    def candidate(self) -> Candidate:
        """See EventSource."""
        return self._source.candidate

    async def open(self, listener: SourceListener) -> None:
        """See EventSource. Raises what refuses the request; the holder of the source then closes it."""
        if self._check is None:
            await self._source.open(listener)
            return
        self._listener = listener
        try:
            held = await hold_beside(self._run_check, self._open)
        finally:
            # Both refer to this source: together they would be cycles for the garbage collector.
            self._listener = self.note_passed = None
        if held.refused is not None:
            raise held.refused

    async def _run_check(self) -> None:
        assert self._check is not None
        await self._check()
        self._check = None
        if self.note_passed is not None:
            self.note_passed()

    async def _open(self) -> None:
        await self._source.open(self)

    async def receive_events(self) -> Sequence[Event]:
        """See EventSource."""
        return await self._source.receive_events()

    def give_up(self, failure: AttemptFailed) -> None:
        """See EventSource."""
        self._source.give_up(failure)

    async def end_now(self) -> Sequence[Event]:
        """See EventSource. Raises GuardrailFailed before the verdict."""
        if self._check is not None:
            raise GuardrailFailed(self._guardrail)
        return await self._source.end_now()

    # ── the listener of the source that it wraps ─────────────────────────────────────────────────────────────────────

    @property
    def takes_reasoning(self) -> bool:
        """See SourceListener."""
        return self._check is None and self._listener is not None and self._listener.takes_reasoning

    @property
    def clock(self) -> LifeClock:
        """See SourceListener."""
        assert self._listener is not None
        return self._listener.clock

    async def hear(self, spoken: SpokenEvents) -> None:
        """See SourceListener."""
        assert self._listener is not None
        await self._listener.hear(spoken)
