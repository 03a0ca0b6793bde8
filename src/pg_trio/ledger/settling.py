"""Give back what a request has reserved, even if the request is cancelled, and within a time limit."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator
from typing import Any, cast

import trio

logger = logging.getLogger("pg_trio.ledger")

# 5 s: more than two waits for a lock, the same as for closing a store. A drain (`server.drain_ms`) is longer.
SETTLE_LIMIT_S = 5.0


class _Done:
    """A finished awaitable. `__aexit__` returns it when there is nothing to wait for; it needs no coroutine."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return _NOTHING


# Any empty iterator works here.
_NOTHING = cast(Generator[Any, Any, None], iter(()))
DONE = _Done()


async def give_back(step: Callable[[], Awaitable[None]]) -> None:
    """Await one step that gives something back, shielded from cancellation. After SETTLE_LIMIT_S the step is abandoned
    and logged."""
    with trio.move_on_after(SETTLE_LIMIT_S, shield=True) as scope:
        await step()
    if scope.cancelled_caught:
        logger.error("the ledger did not take back what a request had set aside within %g s", SETTLE_LIMIT_S)
