"""Turning requests away for less than serving them costs, in the application's stead and with its leave (types.Door).

What this is for: at three times a worker's capacity two requests of three are turned away. If each costs a tenth of
what serving it would, goodput falls by a fifth; 90 % need a twentieth. Rules:

1. A request is read and turned away in place: no task is switched to, no ASGI call made. The first request with which
   a connection meets a full gateway is seen by the connection's own task; from then on, and after each answer while
   the gateway is full, the connection is parked here, in one epoll set for all, until there is room for a request.
2. Only what is plain is turned away here: a whole head that `read_head` takes, of a path that the application leaves to
   us, a body of a known length, and nothing behind it. All else goes the usual way, refusals included.
3. What is still to come of the body is dropped as it comes, so that the connection can be used again: clients keep many
   open, and each that had to be opened again would cost more than the request. A client that keeps none (HTTP/1.0,
   `Connection: close`: nginx in front of us, as it comes) is told the end at once, and gets a moment to read it.
4. A newcomer whose only request is there already is turned away before it is a connection at all: what is left is the
   kernel's work.
5. While draining nothing is turned away here: the usual way's answer ends the connection.
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
from pg_trio.server.http1.head import Refused
from pg_trio.server.http1.incoming import Incoming
from pg_trio.server.http1.lane_exchange import DISCARD_BYTES
from pg_trio.server.http1.response import BusyAnswer
from pg_trio.server.http1.types import Door

# 64 KiB: as a connection reads.
RECV_BYTES = 64 * 1024
# The rest of a body whose connection is over: any number of bytes.
ALL_BYTES = 1 << 62


class Visitor(Protocol):
    """A connection, as the doorkeeper knows it."""

    @property
    def incoming(self) -> Incoming:
        """What reads its heads."""

    def note_turned_away(self, now: float, *, keep_alive: bool) -> None:
        """Its request has been answered; from now on (Trio's clock) it is idle again, or only the client's end is
        waited for."""


@define(slots=True, eq=False)
class _Parked:
    """A connection that waits here; `owed` bytes of the body that was turned away are still to come."""

    visitor: Visitor
    socket: socket.socket
    task: trio.lowlevel.Task
    owed: int
    # What its task gets when it is woken.
    data: bytes = b""


class Doorkeeper:
    """The connections of one lane that wait for room. `run` it; closed when its `with` block ends."""

    def __init__(self, door: Door, settings: ServerSettings) -> None:
        self.admission = door.admission
        # What reads the newcomers' heads: those of one client after the other are often the same.
        self._newcomers = Incoming(settings)
        self._covers = door.covers
        self._answer = BusyAnswer(door.admission.retry_after_s)
        self._epoll = select.epoll()
        self._parked: dict[int, _Parked] = {}
        # Handed over in the last round: perhaps not in the application's line yet.
        self._handed_over = 0
        self.draining = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._epoll.close()

    def is_needed(self) -> bool:
        """Whether requests are to be turned away."""
        return self.admission.verdict is Verdict.REFUSE

    def turn_away_newcomer(self, sock: socket.socket) -> bool:
        """Whether it was: then it has its answer, and its socket is closed. If not, nothing was read from it."""
        if self.admission.verdict is not Verdict.REFUSE or self.draining:
            return False
        try:
            data = sock.recv(RECV_BYTES, socket.MSG_PEEK)
        except OSError:
            return False  # It has sent nothing yet, or is gone.
        if self._judge(self._newcomers, data) != (0, False):
            return False
        # With nothing unread, closing is a FIN behind the answer; with a byte, it is a reset that may destroy it. A new
        # socket has room for an answer; whether its client is still there is not known.
        with contextlib.suppress(OSError):
            sock.recv(len(data))
            sock.send(self._answer.make(keep_alive=False))
        sock.close()
        self.admission.note_shed()
        return True

    async def wait(self, visitor: Visitor, sock: socket.socket) -> bytes:
        """Wait for a request here from the start. The first bytes that are to be served; b"" if none come."""
        return await self._park(_Parked(visitor, sock, trio.lowlevel.current_task(), owed=0))

    async def meet(self, visitor: Visitor, sock: socket.socket, data: bytes) -> bytes:
        """Turn away the request that `data` is. The first bytes that are to be served instead; b"" if none come."""
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
        """Look after those who are parked, for ever."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            room, now = self.admission.room - self._handed_over, trio.current_time()
            self._handed_over = 0
            for number, _ in self._epoll.poll(0):
                self._look_at(self._parked[number], self._handed_over < room, now)

    def _look_at(self, parked: _Parked, has_room: bool, now: float) -> None:
        """Hand what came to the connection's own task, or turn it away."""
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

    def _turn_away(self, visitor: Visitor, sock: socket.socket, data: bytes) -> int | None:
        """Answer the request that `data` is: the bytes of its body that are still to come. None if it is not for us."""
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
            # It has sent requests and read no answer for as long as the kernel's buffers hold: enough.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self.admission.note_shed()
        return owed if keep_alive else ALL_BYTES

    def _judge(self, incoming: Incoming, data: bytes) -> tuple[int, bool] | None:
        """Of a request that may be turned away: the bytes of its body that are not in `data`, and whether its
        connection is to be kept. None for all others."""
        try:
            found = incoming.find_head(data)
        except Refused:
            return None
        if found is None:
            return None
        head, end = found
        keep_alive = head.keep_alive
        is_plain = head.version == "1.1" or not keep_alive
        if not is_plain or head.expects_continue or head.wants_websocket or head.length is None:
            return None
        if not self._covers(head.method, head.path):
            return None
        owed = end + head.length - len(data)
        return (owed, keep_alive) if 0 <= owed <= DISCARD_BYTES else None
