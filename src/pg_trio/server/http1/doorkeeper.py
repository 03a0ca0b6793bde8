"""Refuses requests for the application, with its permission (types.Door), for less than serving them costs.

The reason: at three times a worker's capacity, two of three requests are refused. If a refusal costs a tenth of serving
a request, goodput falls by a fifth. For 90 % goodput it must cost a twentieth. Rules:

1. A request is read and refused in place, without a task switch and without an ASGI call. The connection's own task
   sees the first request that meets a full gateway. After that, and after each answer while the gateway is full, the
   connection is parked here, in one epoll set for all connections, until there is room for a request.
2. Only plain requests are refused here: a whole head that `read_head` accepts, for a path that the application allows,
   with a body of known length and nothing after it. All other requests go the usual way, also to be refused.
3. The rest of the body is dropped as it comes, so that the connection can be used again. Clients keep many connections
   open, and opening one again costs more than a request. If a client does not keep its connection (HTTP/1.0,
   `Connection: close`: an nginx in front of the gateway by default), it is closed after a moment to read the answer.
4. A new client whose only request has already arrived is refused before a connection object is made for it. The rest
   is the kernel's work.
5. While the server drains, no request is refused here: the usual answer ends the connection.
"""

from __future__ import annotations

import contextlib
import select
import socket
from types import TracebackType
from typing import Protocol, Self

import trio
from attrs import define

from pg_trio.config.settings import ServerSettings
from pg_trio.domain.verdict import Verdict
from pg_trio.server.http1.head import HttpHead, Refused
from pg_trio.server.http1.incoming import Incoming
from pg_trio.server.http1.lane_exchange import DISCARD_BYTES
from pg_trio.server.http1.response import BusyAnswer
from pg_trio.server.http1.socket_calls import RECV_BYTES
from pg_trio.server.http1.types import Door

# The rest of a body on a connection that ends: any number of bytes.
ALL_BYTES = 1 << 62


class WaitingClient(Protocol):
    """What the doorkeeper uses of a connection."""

    @property
    def incoming(self) -> Incoming:
        """The reader of its heads."""

    def note_turned_away(self, now: float, *, keep_alive: bool) -> None:
        """Its request has been answered. From now on (Trio's clock) it is idle again, or only waits for the client to
        close."""


@define(slots=True, eq=False)
class _Parked:
    """A connection that waits here. `owed`: bytes of the refused request's body that have not come yet."""

    visitor: WaitingClient
    socket: socket.socket
    task: trio.lowlevel.Task
    owed: int
    # The bytes for its task when it wakes.
    data: bytes = b""


class Doorkeeper:
    """The connections of one lane that wait for room. `run` it; closed when its `with` block ends."""

    def __init__(self, door: Door, settings: ServerSettings) -> None:
        self.admission = door.admission
        # Reads the heads of new clients. The heads of different clients are often the same.
        self._newcomers = Incoming(settings)
        self._covers = door.covers
        self._answer = BusyAnswer(door.admission.retry_after_s)
        self._epoll = select.epoll()
        self._parked: dict[int, _Parked] = {}
        # Handed over in the last round; the application may not have queued them yet.
        self._handed_over = 0
        self.draining = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._epoll.close()

    def is_needed(self) -> bool:
        """Whether requests must be refused."""
        return self.admission.verdict is Verdict.REFUSE

    def turn_away_newcomer(self, sock: socket.socket) -> bool:
        """True if it was refused: it has its answer, and its socket is closed. If not, nothing was read from it."""
        if self.admission.verdict is not Verdict.REFUSE or self.draining:
            return False
        try:
            data = sock.recv(RECV_BYTES, socket.MSG_PEEK)
        except OSError:
            return False  # It has sent nothing yet, or is gone.
        if self._judge(self._newcomers, data) != (0, False):
            return False
        # Without unread bytes, closing sends a FIN after the answer. With unread bytes it sends a reset, which may
        # destroy the answer. A new socket has room for an answer. The client may have left.
        with contextlib.suppress(OSError):
            sock.recv(len(data))
            sock.send(self._answer.make(keep_alive=False))
        sock.close()
        self.admission.note_shed()
        return True

    async def wait(self, visitor: WaitingClient, sock: socket.socket) -> bytes:
        """Wait here for the first request. Returns the first bytes to serve; b"" if none come."""
        return await self._park(_Parked(visitor, sock, trio.lowlevel.current_task(), owed=0))

    async def meet(self, visitor: WaitingClient, sock: socket.socket, data: bytes) -> bytes:
        """Refuse the request in `data`. Returns the next bytes to serve; b"" if none come."""
        owed = self._turn_away(visitor, sock, data)
        if owed is None:
            return data
        visitor.note_turned_away(trio.current_time(), keep_alive=owed != ALL_BYTES)
        return await self._park(_Parked(visitor, sock, trio.lowlevel.current_task(), owed))

    async def _park(self, parked: _Parked) -> bytes:
        number = parked.socket.fileno()
        self._epoll.register(number, select.EPOLLIN)
        self._parked[number] = parked

        def leave(_: object) -> trio.lowlevel.Abort:
            self._forget(number)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(leave)
        return parked.data

    def _forget(self, number: int) -> None:
        del self._parked[number]
        self._epoll.unregister(number)

    async def run(self) -> None:
        """Serve the parked connections, until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            room, now = self.admission.room - self._handed_over, trio.current_time()
            self._handed_over = 0
            for number, _ in self._epoll.poll(0):
                self._look_at(self._parked[number], self._handed_over < room, now)

    def _look_at(self, parked: _Parked, has_room: bool, now: float) -> None:
        """Give the bytes that came to the connection's own task, or refuse the request."""
        try:
            data = parked.socket.recv(RECV_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if parked.owed and data:
            body_bytes = min(parked.owed, len(data))
            parked.owed -= body_bytes
            data = data[body_bytes:]
            if not data:
                return
        owed = None if has_room or not data else self._turn_away(parked.visitor, parked.socket, data)
        if owed is None:
            # A departed client needs no room.
            self._handed_over += bool(data)
            self._forget(parked.socket.fileno())
            parked.data = data
            trio.lowlevel.reschedule(parked.task)
        else:
            parked.owed = owed
            parked.visitor.note_turned_away(now, keep_alive=owed != ALL_BYTES)

    def _turn_away(self, visitor: WaitingClient, sock: socket.socket, data: bytes) -> int | None:
        """Refuse the request in `data`. Returns how many bytes of its body have not come; None if it must be served."""
        judged = None if self.draining else self._judge(visitor.incoming, data)
        if judged is None:
            return None
        owed, keep_alive = judged
        answer = self._answer.make(keep_alive=keep_alive)
        try:
            is_sent = sock.send(answer) == len(answer)
            if is_sent and not keep_alive:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            is_sent = False
        if not is_sent:
            # It has sent requests and read no answers until the kernel's buffers were full: end it.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self.admission.note_shed()
        return owed if keep_alive else ALL_BYTES

    def _judge(self, incoming: Incoming, data: bytes) -> tuple[int, bool] | None:
        """For a request that may be refused: how many bytes of its body are not in `data`, and whether its connection
        is kept. None for all others."""
        try:
            found = incoming.find_head(data)
        except Refused:
            return None
        if found is None:
            return None
        head, end = found
        if head.length is None or head.wants_websocket:
            return None
        # A handshake is never the known head, and one that is too large leaves none.
        known = incoming.known_head
        may_refuse = None if known is None else known.may_be_refused
        if may_refuse is None:
            may_refuse = self._may_refuse(head)
            if known is not None:
                known.may_be_refused = may_refuse
        owed = end + head.length - len(data)
        return (owed, head.keep_alive) if may_refuse and 0 <= owed <= DISCARD_BYTES else None

    def _may_refuse(self, head: HttpHead) -> bool:
        """Whether requests with such a head may be refused here. Their length makes no difference."""
        is_plain = (head.version == "1.1" or not head.keep_alive) and not head.expects_continue
        return is_plain and self._covers(head.method, head.path)
