"""Work on large inputs, away from the event loop and in fair turns.

Rules:
1. What is larger than LARGE_BYTES is worked on in a thread: one legal 4 MiB body can cost seconds of parsing, scanning
   and validating. In the event loop all requests would wait for it, and no deadline could fire. Small inputs, nearly
   all, pay nothing for this.
2. One thread works at a time, and the requests' owners (their tokens) take turns: a flood of large bodies makes its own
   token wait, and another token for one turn.
3. A thread cannot be stopped, so a turn is bounded otherwise: after TURN_S the next owner's work starts beside it, in
   at most MAX_THREADS threads. A turn lasts as long as its thread, also where the request has left meanwhile.
4. A request waits in line under its own deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import ContextVar
from functools import partial
from typing import ParamSpec, TypeVar

import trio

from pg_trio.racing.fair_turns import FairTurns

P = ParamSpec("P")
T = TypeVar("T")

# 32 KiB of the costliest text takes some 40 ms, of plain text less than 1 ms; a thread hop takes 0.1 to 0.2 ms.
LARGE_BYTES = 32 * 1024
# 100 ms: the time that parsing the costliest allowed 4 MiB takes, and the time slice of Linux's round robin.
TURN_S = 0.1
# Each thread slows the others and the event loop, because they share the interpreter. Four tokens with endless work at
# once are an attack with several tokens; the fifth waits.
MAX_THREADS = 4

# The owner of the work: requests of one owner share its turns. Set once for a request; its tasks inherit it.
work_owner: ContextVar[Hashable] = ContextVar("work_owner", default="")


class LargeWork:
    """Calls plain functions: in this task if the input is small, otherwise in a thread and in turn."""

    def __init__(self) -> None:
        self._turns = FairTurns(TURN_S, MAX_THREADS)

    async def call(self, size_bytes: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns or raises. If the caller is cancelled while the thread runs, the result is dropped."""
        if size_bytes <= LARGE_BYTES:
            return work(*args, **kwargs)
        return await self._call_in_thread(partial(work, *args, **kwargs), abandon=True)

    async def finish(self, size_bytes: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for work that changes what its caller uses later: once it has begun, a cancelled caller waits for
        its end."""
        if size_bytes <= LARGE_BYTES:
            return work(*args, **kwargs)
        return await self._call_in_thread(partial(work, *args, **kwargs), abandon=False)

    async def _call_in_thread(self, bound: Callable[[], T], *, abandon: bool) -> T:
        limiter = _TurnLimiter(self._turns, work_owner.get())
        # Trio takes anything with these two methods, and releases it when the thread has really ended.
        return await trio.to_thread.run_sync(bound, abandon_on_cancel=abandon, limiter=limiter)  # type: ignore[arg-type]


class _TurnLimiter:
    """One turn, as Trio's threads take it."""

    def __init__(self, turns: FairTurns, owner: Hashable) -> None:
        self._turns = turns
        self._owner = owner

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        await self._turns.begin(self._owner)

    def release_on_behalf_of(self, borrower: object) -> None:
        self._turns.end(self._owner)
