"""Waiting for another process, within a limit."""

from __future__ import annotations

from collections.abc import Callable

import trio

# Far more than any step takes, so that a time-out is a failure and not a slow machine.
LIMIT_S = 10.0


async def wait_for(holds: Callable[[], bool]) -> None:
    """Until this holds."""
    with trio.fail_after(LIMIT_S):
        # What is waited for has no event: it may be another process.
        while not holds():  # noqa: ASYNC110
            await trio.sleep(0.005)
