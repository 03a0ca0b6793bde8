"""Waiting for another process, within a limit."""

from __future__ import annotations

from collections.abc import Callable

import trio

# Far more than any step takes, also on a machine that is loaded ten times over: a time-out is a failure.
LIMIT_S = 30.0
LOOK_EVERY_S = 0.005


async def wait_for(holds: Callable[[], bool]) -> None:
    """Until this holds. It may ask another process, and stop the event loop meanwhile."""
    with trio.fail_after(LIMIT_S):
        while True:
            looked_at = trio.current_time()
            if holds():
                return
            # A look by `psql` may take a second, and what it looks for is done in this event loop: it gets as long.
            await trio.sleep(max(LOOK_EVERY_S, trio.current_time() - looked_at))
