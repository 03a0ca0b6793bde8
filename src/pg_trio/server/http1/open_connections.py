"""All open connections of a worker, the lane's and Hypercorn's: their number, the clock of their limits, their end.

One task checks the limits of all connections a few times a second. A cancel scope for each connection would cost 14 µs,
and more for moving its deadline twice a request; an attribute costs nothing. So a limit of one second or more may be
late by a quarter of itself, and is never early.

A worker at its limit closes the connections that have waited longest without a byte of a request, as nginx does
(`ngx_drain_connections`). The next client waits in the kernel's queue only if all connections are busy.
"""

from __future__ import annotations

import heapq
import logging
import resource
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio

from pg_trio.config.settings import ServerSettings
from pg_trio.server.http1.line_budget import LineBudget

logger = logging.getLogger("pg_trio.server")

# The clock's tick: a quarter of the shortest limit, but no more often than 100 times and no less than once a second.
MIN_TICK_S, MAX_TICK_S = 0.01, 1.0
# nginx ends an eighth of them at a time, at most 32: looking for the longest waiting is not done for each newcomer.
BATCH_SHARE, MAX_BATCH = 8, 32
# What Trio's serve_listeners sleeps when it is out of file descriptors.
PAUSE_S = 0.1
# The name of each connection's task. Trio would make one for each, of 109 bytes.
_TASK = f"{__name__}.OpenConnections._serve"
# One line a minute while it lasts: the log must show that it happens, and how often.
CROWDED_WINDOW_S = 60.0


class OpenConnection(Protocol):
    """What this module uses of one connection."""

    # Trio's clock; math.inf while no limit runs.
    deadline: float

    @property
    def waits(self) -> bool:
        """Whether it has no byte of a request. Then it may be closed if there are too many connections."""

    def note_timeout(self) -> None:
        """The deadline passed."""

    def note_crowded(self) -> None:
        """Close, unless a request has arrived by now."""

    def note_draining(self) -> None:
        """Close if idle; take no request after this one."""

    def note_cut(self) -> None:
        """The drain's time is over: end."""


class OpenConnections:
    """The connections of one worker: `serve` counts a connection from accepting to closing, in any handler. The handler
    that keeps its limits calls `add` and `discard`.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.limit = connection_limit(settings.max_connections)
        self._count = 0
        self._members: set[OpenConnection] = set()
        self._freed: trio.Event | None = None
        self._lines = LineBudget(1, CROWDED_WINDOW_S)
        limits_ms = (settings.head_timeout_ms, settings.idle_timeout_ms, settings.write_timeout_ms)
        shortest_ms = min(*limits_ms, settings.websocket_heartbeat_ms)
        self._tick_s = min(max(shortest_ms / 1000 / 4, MIN_TICK_S), MAX_TICK_S)

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """Whether the next one would be one too many."""
        return self._count >= self.limit

    def add(self, connection: OpenConnection) -> None:
        """Keep its limits from now on."""
        self._members.add(connection)

    def discard(self, connection: OpenConnection) -> None:
        """The connection is closed, or handed over."""
        self._members.discard(connection)

    def serve_soon(self, serve: Callable[[Any], Awaitable[object]], stream: Any, nursery: trio.Nursery) -> None:
        """Count a connection that was accepted right now, and run `serve` for it in `nursery`."""
        self._count += 1
        nursery.start_soon(self._serve, serve, stream, name=_TASK)

    async def _serve(self, serve: Callable[[Any], Awaitable[object]], stream: Any) -> None:
        try:
            await serve(stream)
        finally:
            self._count -= 1
            if self._freed is not None:
                self._freed.set()
                self._freed = None

    async def make_room(self, why: str) -> None:
        """Close the longest waiting, and wait until one is gone, or for a moment if none could be closed."""
        self._tell(why)
        waiting = [connection for connection in self._members if connection.waits]
        batch = max(min(self.limit // BATCH_SHARE, MAX_BATCH), 1)
        # All that wait have the same limit to do so: the nearest deadline is the longest wait.
        for connection in heapq.nsmallest(batch, waiting, key=lambda connection: connection.deadline):
            connection.note_crowded()
        if self._freed is None:
            self._freed = trio.Event()
        freed = self._freed
        with trio.move_on_after(PAUSE_S):
            await freed.wait()

    def _tell(self, why: str) -> None:
        silent = self._lines.take(trio.current_time())
        if silent is not None:
            more = f" ({silent} times more since the last such line)" if silent else ""
            logger.warning("%s: closing the longest idle connections, then letting new ones wait%s", why, more)

    async def keep_limits(self) -> None:
        """End the connections whose deadline passed, for ever."""
        while True:
            await trio.sleep(self._tick_s)
            now = trio.current_time()
            for connection in self._members:
                if connection.deadline <= now:
                    connection.note_timeout()

    def drain(self) -> None:
        """Close the idle ones at once."""
        for connection in self._members:
            connection.note_draining()

    async def cut_after(self, limit_s: float) -> None:
        """End what still runs when the drain's time is over."""
        await trio.sleep(limit_s)
        logger.warning("connections still busy after %g s were cut: %d", limit_s, self._count)
        for connection in self._members:
            connection.note_cut()


def connection_limit(max_connections: int) -> int:
    """`max_connections`, or less where the process may not have the files for it.

    Half of them are for clients: each one's request may need a connection to a provider. nginx counts both as well.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files // 2 >= max_connections:
        return max_connections
    logger.info("at most %d connections at once: half of the %d open files allowed (ulimit -n)", files // 2, files)
    return max(files // 2, 1)
