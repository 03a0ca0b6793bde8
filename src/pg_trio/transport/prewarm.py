"""Opens connections before they are needed, so that a hedge or the first call after a pause needs no handshake.

Rules:
1. One task for each configured address. Once a second it opens missing connections, at most `count` at a time.
   Connections that are idle for too long expire like all others, and are replaced.
2. If not all can be opened, the pause before the next try grows, up to a minute.
3. Nothing is opened to a provider whose breaker has set it aside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import trio
from attrs import frozen

LOOK_EVERY_S = 1.0
# 60 s: as long as a breaker stays open at first.
RETRY_LIMIT_S = 60.0


@frozen(slots=True)
class WarmAddress:
    """An address that wants `count` idle connections while `may_ask` says that calls may go there."""

    url: str
    count: int
    allow_private: bool
    may_ask: Callable[[], bool]


class Prewarming(Protocol):
    """A transport that can open connections before they are needed: DirectTransport."""

    async def prewarm(self, url: str, count: int, allow_private: bool = False) -> int:
        """Open connections until `count` are idle; returns how many are."""


async def keep_warm(transport: Prewarming, addresses: Sequence[WarmAddress]) -> None:
    """Keep connections open to all addresses, until cancelled."""
    async with trio.open_nursery() as nursery:
        for address in addresses:
            nursery.start_soon(_keep_one_warm, transport, address)


async def _keep_one_warm(transport: Prewarming, address: WarmAddress) -> None:
    wait_s = LOOK_EVERY_S
    while True:
        if address.may_ask():
            idle = await transport.prewarm(address.url, address.count, address.allow_private)
            wait_s = LOOK_EVERY_S if idle >= address.count else min(2 * wait_s, RETRY_LIMIT_S)
        await trio.sleep(wait_s)
