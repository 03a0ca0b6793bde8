"""Polls for what others change in a file: every now and then, and before memory is used long after the last poll.

A process that was stopped (SIGSTOP, a paused machine) has polled nothing meanwhile. When it runs again, requests that
lie in its sockets may be served before the task that polls.

Rules:
1. A poll that succeeds makes what is remembered good for FRESH_S, or two polls' distance if that is longer. The time
   counts from the poll's beginning: it may have read the file before the pause, and ended after it.
2. After that, the first request polls, and the others wait for the same poll.
3. A poll that fails makes it good until one succeeds: while the file cannot be read, a worker goes on with what it
   knows, and no request waits.
4. Times are Unix seconds, as of a request's head: the hot path has that at hand, and it counts a machine's sleep, which
   the monotonic clock does not. A clock that is set back is made up for by the next poll.
5. What must be as fresh, and is kept in another file, is looked at before each poll (`poll_after`): one comparison at a
   request then stands for both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import trio

# What docs/tokens.md promises of revocations, and docs/admin-api.md of operators' changes.
FRESH_S = 1.0


class Remembered(Protocol):
    """What is kept in memory of a file. It is good until this time, in Unix seconds."""

    good_until: float


class Polls:
    """Keeps `remembered.good_until`. `poll` reads what has changed; it may raise `failures`."""

    def __init__(
        self,
        remembered: Remembered,
        poll: Callable[[], Awaitable[None]],
        poll_s: float,
        failures: tuple[type[Exception], ...],
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._remembered = remembered
        self._poll = poll
        self._fresh_s = max(FRESH_S, 2 * poll_s)
        self._failures = failures
        self._now_s = now_s
        self._before: list[Callable[[], Awaitable[None]]] = []
        self._turn = trio.Lock()

    def began(self, at: float) -> None:
        """Everything was read from the file, beginning at this time."""
        self._remembered.good_until = at + self._fresh_s

    def poll_after(self, catch_up: Callable[[], Awaitable[None]]) -> None:
        """Await `catch_up`, which raises nothing, before each poll from now on."""
        self._before.append(catch_up)

    async def poll(self) -> None:
        """Poll now. Raises what a poll raises."""
        async with self._turn:
            await self._poll_here()

    async def catch_up(self) -> None:
        """Poll, if the last poll is too long ago. Not a checkpoint otherwise. A failure is left to the next `poll`."""
        if self._now_s() <= self._remembered.good_until:
            return
        async with self._turn:
            if self._now_s() > self._remembered.good_until:
                with suppress(*self._failures):
                    await self._poll_here()

    async def _poll_here(self) -> None:
        at = self._now_s()
        for catch_up in self._before:
            await catch_up()
        try:
            await self._poll()
        except self._failures:
            self._remembered.good_until = math.inf
            raise
        self.began(at)
