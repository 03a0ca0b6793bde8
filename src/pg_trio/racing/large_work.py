"""Work on large inputs, away from the event loop.

One legal 4 MiB body costs seconds of parsing, scanning and validating; in the event loop it would stall everybody's
requests, and no deadline could fire meanwhile. So what is larger than LARGE_BYTES is worked on in a thread, one at a
time: the interpreter switches between it and the loop every few milliseconds, and the deadline answers in time. The
thread itself cannot be stopped; it ends by itself, and until then the next large input waits in line, under its own
deadline. Small inputs, nearly all, pay nothing for this.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import trio

P = ParamSpec("P")
T = TypeVar("T")

# 32 KiB of the costliest text takes some 40 ms, of plain text less than 1 ms; a thread hop takes 0.1 to 0.2 ms.
LARGE_BYTES = 32 * 1024


class LargeWork:
    """Calls plain functions: here where the input is small, in the one thread for large ones otherwise."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(1)

    async def call(self, size_bytes: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns or raises. Cancelled while it runs in the thread, its result is dropped."""
        if size_bytes <= LARGE_BYTES:
            return work(*args, **kwargs)
        bound = partial(work, *args, **kwargs)
        return await trio.to_thread.run_sync(bound, abandon_on_cancel=True, limiter=self._limiter)
