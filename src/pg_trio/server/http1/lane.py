"""The lane's connections: what they share, accepting them, and draining. Their limits: open_connections.py."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from contextlib import nullcontext
from uuid import UUID

import trio

from pg_trio.config.settings import ServerSettings
from pg_trio.domain.verdict import Verdict
from pg_trio.errors import GatewayError
from pg_trio.server.http1.accepting import accept_rest, accept_sockets
from pg_trio.server.http1.connection import LaneConnection
from pg_trio.server.http1.departures import Departures
from pg_trio.server.http1.doorkeeper import Doorkeeper
from pg_trio.server.http1.head import HttpHead, Refused, SharedHeads
from pg_trio.server.http1.line_budget import LineBudget
from pg_trio.server.http1.open_connections import OpenConnections
from pg_trio.server.http1.parting import LINGER_S
from pg_trio.server.http1.response import closing_answer
from pg_trio.server.http1.socket_calls import receive_now
from pg_trio.server.http1.types import DOOR, Door, HandOver, Mount, RequestStart, render_plainly
from pg_trio.server.websocket.flusher import Flusher
from pg_trio.server.websocket.lane_socket import LaneSocket
from pg_trio.server.websocket.upgrade import Upgrade, read_key

logger = logging.getLogger("pg_trio.server")

# After the drain's time, requests that are cut still tell their clients and write their rows.
PARTING_S = LINGER_S
# A log line for each refusal, but not for each of a scanner or a flood: the kernel's printk_ratelimit is 10 in 5 s too.
REFUSAL_LINES, REFUSAL_WINDOW_S = 10, 5.0


class Lane:
    """What the connections of one worker share."""

    def __init__(
        self,
        mount: Mount,
        settings: ServerSettings,
        connections: OpenConnections,
        departures: Departures,
        hand_over: HandOver,
        doorkeeper: Doorkeeper | None = None,
    ) -> None:
        self.mount = mount
        self.settings = settings
        self.hand_over = hand_over
        self.doorkeeper = doorkeeper
        self.head_s = settings.head_timeout_ms / 1000
        self.idle_s = settings.idle_timeout_ms / 1000
        self.write_s = settings.write_timeout_ms / 1000
        self.heartbeat_s = settings.websocket_heartbeat_ms / 1000
        self.flusher = Flusher()
        self.heads = SharedHeads()
        self._door: Door | None = mount.state.get(DOOR)
        # Answers end their connections from then on.
        self.leaving = self.draining = False
        self._departures = departures
        self._connections = connections
        self._refusal_lines = LineBudget(REFUSAL_LINES, REFUSAL_WINDOW_S)

    @property
    def has_queue(self) -> bool:
        """Whether requests wait for admission."""
        return self.doorkeeper is not None and self.doorkeeper.admission.verdict is not Verdict.ADMIT

    def turn_away(self, sock: socket.socket) -> bool:
        """Whether this new client was refused and closed because the gateway is full."""
        doorkeeper = self.doorkeeper
        if doorkeeper is None or doorkeeper.turn_away_newcomer(sock):
            return doorkeeper is not None
        doorkeeper.coming += 1
        return False

    async def meet(self, connection: LaneConnection, sock: socket.socket) -> bool:
        """Take what a new client has sent already. False if there is nothing to serve."""
        data, doorkeeper = receive_now(sock), self.doorkeeper
        if data and doorkeeper is not None and doorkeeper.is_needed():
            return await doorkeeper.meet(connection, sock, data)
        connection.incoming.data = data or b""
        return data != b""

    async def serve_socket(self, sock: socket.socket) -> None:
        """Serve one accepted connection to its end."""
        if self.doorkeeper is not None:
            self.doorkeeper.coming -= 1
        try:
            connection = LaneConnection(sock, self)
            self._departures.add(sock, connection.note_left)
        except OSError:
            # Reset before it was accepted (no peer, no address), or no memory for another watch.
            sock.close()
            return
        self._connections.add(connection)
        upgrade = await connection.run()
        if upgrade is not None:
            # Not kept while the socket lasts.
            del connection
            await self._serve_websocket(upgrade)

    async def _serve_websocket(self, upgrade: Upgrade) -> None:
        sock, head, data = upgrade
        websocket = LaneSocket(sock, self, head)
        try:
            self._departures.add(sock, websocket.note_left)
        except OSError:
            sock.close()
            return
        self._connections.add(websocket)
        await websocket.run(head, data)

    def covers_websocket(self, head: HttpHead) -> bool:
        """Whether the application serves this WebSocket. Raises Refused if its handshake is malformed."""
        covers = self._door is not None and self._door.covers_websocket(head.path)
        return covers and bool(read_key(head.headers))

    def forget(self, connection: LaneConnection | LaneSocket, sock: socket.socket) -> None:
        """The connection ended or was handed over: watch neither its client nor its limits any longer."""
        self._connections.discard(connection)
        self._departures.discard(sock)

    def make_ending(self, error: GatewayError, request_id: UUID, start: RequestStart) -> bytes:
        """The last answer on a connection, for this error. It has the shape of the API that was asked."""
        render = render_plainly if self._door is None else self._door.render_error
        return closing_answer(render(error, request_id, start), is_head=start.method == "HEAD")

    def log_refusal(self, request_id: UUID, refused: Refused) -> None:
        """One log line, without text from the client. If many come, only some are logged."""
        silent = self._refusal_lines.take(trio.current_time())
        if silent is not None:
            more = f" (and {silent} more before it)" if silent else ""
            logger.info("request %s refused: %d %s%s", request_id, refused.status, refused.text, more)

    def leave(self) -> None:
        """The gateway is about to stop: answers say `connection: close`. All other work goes on."""
        self.leaving = True
        if self._door is not None:
            self._door.note_leaving()
        if self.doorkeeper is not None:
            self.doorkeeper.leave()

    def drain(self) -> None:
        """From now on answers say `connection: close`; connections that wait for another request close at once."""
        self.leaving = self.draining = True
        # Time for the connections that were accepted last; see Connection.note_draining.
        self.idle_s = min(self.idle_s, self.head_s)
        if self.doorkeeper is not None:
            self.doorkeeper.draining = True
        self._connections.drain()


async def serve_lane(  # noqa: PLR0913  # what a lane needs, each by name
    mount: Mount,
    listening: Sequence[socket.socket],
    settings: ServerSettings,
    connections: OpenConnections,
    *,
    hand_over: HandOver,
    shutdown: trio.Event,
    leaving: trio.Event | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the application on the sockets that are `listening` until `shutdown`, then drain.

    Running requests get `drain_ms`; then the owner of `connections`, which also keeps their limits, cuts them. Those
    sockets are closed at the drain's beginning. `leaving`: see serve_app. `hand_over` takes the connections that are
    HTTP/2 or WebSocket; it runs within the drain's limit too, and its owner tells it of the drain.
    """
    door: Door | None = mount.state.get(DOOR)
    with Departures() as departures, nullcontext() if door is None else Doorkeeper(door, settings) as doorkeeper:
        lane = Lane(mount, settings, connections, departures, hand_over, doorkeeper)
        async with trio.open_nursery() as watching:
            watching.start_soon(departures.watch)
            watching.start_soon(lane.flusher.watch)
            if doorkeeper is not None:
                watching.start_soon(doorkeeper.run)
            async with trio.open_nursery() as serving:
                async with trio.open_nursery() as accepting:
                    for sock in listening:
                        accepting.start_soon(accept_sockets, sock, connections, lane, serving)
                    task_status.started()
                    if leaving is not None:
                        accepting.start_soon(_leave, lane, leaving)
                    await shutdown.wait()
                    if leaving is not None and leaving.is_set():
                        for sock in listening:
                            accept_rest(sock, connections, lane, serving)
                    accepting.cancel_scope.cancel(reason="draining")
                lane.drain()
                serving.cancel_scope.deadline = trio.current_time() + settings.drain_ms / 1000 + PARTING_S
            watching.cancel_scope.cancel(reason="drained")


async def _leave(lane: Lane, leaving: trio.Event) -> None:
    await leaving.wait()
    lane.leave()
