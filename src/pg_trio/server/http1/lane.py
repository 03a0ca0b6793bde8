"""All connections of a worker: accepting, the clock of their limits, and draining.

Limits are looked at by one task that walks over the connections a few times a second, not by a cancel scope each: a
scope costs 14 µs, moving its deadline twice a request some more; an attribute nothing. So a limit of one second or
more is kept to within a quarter of itself, never early.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import trio

from pg_trio.config.settings import ServerSettings
from pg_trio.server.http1.connection import LINGER_S, Connection
from pg_trio.server.http1.departures import Departures
from pg_trio.server.http1.head import Refused
from pg_trio.server.http1.line_budget import LineBudget
from pg_trio.server.http1.types import HandOver, Mount

logger = logging.getLogger("pg_trio.server")

# The clock's tick: a quarter of the shortest limit, but no more often than 100 times and no less than once a second.
MIN_TICK_S, MAX_TICK_S = 0.01, 1.0
# A line for each refusal, until a scanner or a flood comes: the kernel's printk_ratelimit is 10 in 5 s too.
REFUSAL_LINES, REFUSAL_WINDOW_S = 10, 5.0


class Lane:
    """What the connections of one worker share."""

    def __init__(
        self,
        mount: Mount,
        settings: ServerSettings,
        departures: Departures,
        hand_over: HandOver,
    ) -> None:
        self.mount = mount
        self.settings = settings
        self.hand_over = hand_over
        self.head_s = settings.head_timeout_ms / 1000
        self.idle_s = settings.idle_timeout_ms / 1000
        self.write_s = settings.write_timeout_ms / 1000
        self.draining = False
        self._departures = departures
        self._connections: set[Connection] = set()
        self._refusal_lines = LineBudget(REFUSAL_LINES, REFUSAL_WINDOW_S)

    async def serve_stream(self, stream: trio.SocketStream) -> None:
        """Serve one accepted connection to its end."""
        # Trio's socket and stream wrappers cost more than the system calls; Trio's waiting does not need them.
        sock = socket.socket(fileno=stream.socket.detach())
        sock.setblocking(False)
        try:
            connection = Connection(sock, self)
            self._departures.add(sock, connection.note_left)
        except OSError:
            # Reset before it was accepted (no peer, no address), or no memory for another watch.
            sock.close()
            return
        self._connections.add(connection)
        await connection.run()

    def forget(self, connection: Connection, sock: socket.socket) -> None:
        """The connection ends, or is handed over: its client's leaving and its limits are no more of interest."""
        self._connections.discard(connection)
        self._departures.discard(sock)

    async def keep_limits(self) -> None:
        """End the connections whose deadline passed, for ever."""
        tick_s = min(max(min(self.head_s, self.idle_s, self.write_s) / 4, MIN_TICK_S), MAX_TICK_S)
        while True:
            await trio.sleep(tick_s)
            now = trio.current_time()
            for connection in self._connections:
                if connection.deadline <= now:
                    connection.note_timeout()

    def log_refusal(self, request_id: UUID, refused: Refused) -> None:
        """One line without a word of the client's; few of them where many come."""
        silent = self._refusal_lines.take(trio.current_time())
        if silent is not None:
            more = f" (and {silent} more before it)" if silent else ""
            logger.info("request %s refused: %d %s%s", request_id, refused.status, refused.text, more)

    def drain(self) -> None:
        """From now on answers say `connection: close`; connections without a request close at once."""
        self.draining = True
        for connection in self._connections:
            connection.note_draining()

    async def cut_after(self, limit_s: float) -> None:
        """End what still runs when the drain's time is over."""
        await trio.sleep(limit_s)
        logger.warning("requests still running after %g s were cut: %d", limit_s, len(self._connections))
        for connection in list(self._connections):
            connection.note_cut()


async def serve_lane(
    mount: Mount,
    listeners: Sequence[trio.SocketListener],
    settings: ServerSettings,
    *,
    hand_over: HandOver,
    shutdown: trio.Event,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the application on `listeners` until `shutdown`, then drain.

    Running requests get `drain_ms`; then they are cancelled and, where the answer has not begun, answered with 503. The
    listeners are closed at the drain's beginning.
    `hand_over` takes the connections that are HTTP/2 or WebSocket; it runs within the drain's limit too, and is told
    of the drain by whoever gave it.
    """
    with Departures() as departures:
        lane = Lane(mount, settings, departures, hand_over)
        async with trio.open_nursery() as clocks:
            clocks.start_soon(departures.watch)
            clocks.start_soon(lane.keep_limits)
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as accepting:
                    if listeners:
                        accept = partial(trio.serve_listeners, handler_nursery=connections)
                        await accepting.start(accept, lane.serve_stream, list(listeners))
                    task_status.started()
                    await shutdown.wait()
                    accepting.cancel_scope.cancel(reason="draining")
                lane.drain()
                drain_s = settings.drain_ms / 1000
                clocks.start_soon(lane.cut_after, drain_s)
                # What is cut still says so to its client, and writes its row.
                connections.cancel_scope.deadline = trio.current_time() + drain_s + LINGER_S
            clocks.cancel_scope.cancel(reason="drained")
