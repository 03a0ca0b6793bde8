"""Giving back what a request has set aside: also when the request is cancelled, and never for longer than a bound."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator
from typing import Any, cast

import trio

logger = logging.getLogger("pg_trio.ledger")

# 5 s: two waits for a lock and some, as for closing a store; a drain (`server.drain_ms`) is longer.
SETTLE_LIMIT_S = 5.0


class _Done:
    """An awaitable that is done: what `__aexit__` returns where nothing waits. It costs no coroutine."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return _NOTHING


# Any iterator will do: it is empty, and asked once.
_NOTHING = cast(Generator[Any, Any, None], iter(()))
DONE = _Done()


async def give_back(step: Callable[[], Awaitable[None]]) -> None:
    """Await one step that gives something back, shielded from cancellation; after SETTLE_LIMIT_S it is given up, and
    logged."""
    with trio.move_on_after(SETTLE_LIMIT_S, shield=True) as scope:
        await step()
    if scope.cancelled_caught:
        logger.error("the ledger did not take back what a request had set aside within %g s", SETTLE_LIMIT_S)
