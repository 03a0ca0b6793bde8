"""Refuses requests for the application, with its permission (types.Door), for less than serving them costs; and keeps
requests in line that the application need not begin yet.

The reason: at three times a worker's capacity, two of three requests are refused. If a refusal costs a tenth of serving
a request, goodput falls by a fifth. And a request that is begun before it waits costs up to a quarter more: two task
switches, and memory that no processor's cache holds (docs/decisions/007-overload.md). Rules:

1. A request is read and refused in place, without a task switch and without an ASGI call. The connection's own task
   sees the first request that meets a queue. After that, and after each answer while there is a queue, the connection
   is parked here, in one epoll set for all connections, until there is room for a request.
2. Only plain requests are refused here: a whole head that `read_head` accepts, for a path that the application allows,
   with a body of known length and nothing after it. All other requests go the usual way, also to be refused. The
   refusal is the application's own, with the shape of the path's API and the fields that a browser needs.
3. A plain request for which there is room, and whose body is here, stays in line until it may start. Its deadline
   counts from when it came. Nothing more is read from its client. One with a limit of the client's own goes the usual
   way, because that limit could pass here unseen.
4. The rest of a refused body is dropped as it comes, so that the connection can be used again. Clients keep many
   connections open, and opening one again costs more than a request. If a client does not keep its connection
   (HTTP/1.0, `Connection: close`: an nginx in front of the gateway by default), it is closed after a moment to read the
   answer.
5. A new client whose only request has already arrived is refused before a connection object is made for it. The rest
   is the kernel's work. As many are let in as there is room for.
6. A pass looks at LOOKS connections at most; the others wait in the kernel. So however many requests are refused, those
   that may start keep a part of the processor (Mogul and Ramakrishnan, "Eliminating receive livelock", 1996).
7. While the server drains, no request is refused here: the usual answer ends the connection. Those in line are served.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections import deque
from types import TracebackType
from typing import Protocol, Self

import trio
from attrs import define

from pg_trio.config.settings import ServerSettings
from pg_trio.domain.verdict import Verdict
from pg_trio.server.http1.busy_answer import BusyAnswer
from pg_trio.server.http1.head import HttpHead, KnownHead, Refused
from pg_trio.server.http1.incoming import Incoming
from pg_trio.server.http1.lane_exchange import DISCARD_BYTES
from pg_trio.server.http1.response import http_date
from pg_trio.server.http1.socket_calls import RECV_BYTES, send_last
from pg_trio.server.http1.types import Door

# The rest of a body on a connection that ends: any number of bytes.
ALL_BYTES = 1 << 62
# Connections looked at in one pass: 6 ms of refusals beside 2 ms of requests that start. At three times a worker's
# capacity some 50 come in a pass. With 128, clients that open a connection for each request waited: each comes here up
# to three times, with its request, with the rest of it and when it leaves.
LOOKS = 512
_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT


class WaitingClient(Protocol):
    """What the doorkeeper uses of a connection."""

    # Trio's clock; math.inf while no limit runs.
    deadline: float

    @property
    def incoming(self) -> Incoming:
        """The reader of its heads. It gets the bytes for the connection's own task."""

    def note_turned_away(self, now: float, *, keep_alive: bool) -> None:
        """Its request has been answered. From now on (Trio's clock) it is idle again, or only waits for the client to
        close."""

    def note_in_line(self, now: float) -> None:
        """Its request, which came now, waits for its turn."""


@define(slots=True, eq=False)
class _Parked:
    """A connection that waits here. `owed`: bytes of the refused request's body that have not come yet."""

    visitor: WaitingClient
    socket: socket.socket
    task: trio.lowlevel.Task
    owed: int = 0
    # The refusal of its last request.
    busy_answer: BusyAnswer | None = None
    # The head of its last request, if a next one with it may be refused and leaves its connection open.
    usual_head: KnownHead | None = None
    # Whether its request is in line, and since when.
    is_in_line: bool = False
    came_at: float = 0.0


class Doorkeeper:
    """The connections of one lane that wait for room. `run` it; closed when its `with` block ends."""

    def __init__(self, door: Door, settings: ServerSettings) -> None:
        self.admission = door.admission
        # Reads the heads of new clients. The heads of different clients are often the same.
        self._newcomers = Incoming(settings)
        self._door = door
        self._idle_s = settings.idle_timeout_ms / 1000
        self._epoll = select.epoll()
        # Those in the set, by the number of their socket.
        self._parked: dict[int, _Parked] = {}
        self._line: deque[_Parked] = deque()
        # In the set as well: it wakes `run` for the first one in line.
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN | select.EPOLLET)
        # Handed over in the last pass; the application may not have queued them yet.
        self._handed_over = 0
        self.draining = self._leaving = False
        # New clients that were let in and have not been asked for their request yet. They take room, too: otherwise all
        # that come together get a connection object where there is room for one.
        self.coming = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._epoll.close()
        os.close(self._bell)

    def is_needed(self) -> bool:
        """Whether requests must wait or be refused."""
        return self.admission.verdict is not Verdict.ADMIT

    def leave(self) -> None:
        """The gateway is about to stop: from now on each refusal ends its connection."""
        self._leaving = True
        for parked in (*self._parked.values(), *self._line):
            parked.usual_head = None

    # ── one connection ───────────────────────────────────────────────────────────────────────────────────────────────

    def turn_away_newcomer(self, sock: socket.socket) -> bool:
        """Count a new client. True if it was refused: it has its answer, and its socket is closed. If not, nothing was
        read from it."""
        admission, verdict = self.admission, self.admission.verdict
        admission.newcomers += 1
        if verdict is Verdict.ADMIT or self.draining or (verdict is Verdict.QUEUE and self.coming < admission.room):
            return False
        try:
            data = sock.recv(RECV_BYTES, _PEEK)
        except OSError:
            return False  # It has sent nothing yet, or is gone.
        answer = self._judge_newcomer(data)
        if answer is None:
            return False
        # Without unread bytes, closing sends a FIN behind the answer, in one packet. With unread bytes it sends a
        # reset, which may destroy the answer. A new socket has room for an answer.
        try:
            sock.recv(len(data), socket.MSG_DONTWAIT)
            sock.send(answer.make_last(http_date()), socket.MSG_MORE | socket.MSG_DONTWAIT)
        except OSError:
            return True  # The client has left.
        finally:
            sock.close()
            admission.note_shed(1)
        return True

    def _judge_newcomer(self, data: bytes) -> BusyAnswer | None:
        """The refusal of a new client's only request, if it is whole and may be refused."""
        known = self._newcomers.known_head
        # Nearly always: like the last newcomer's.
        if known is not None and not known.keep_alive and known.measure(data) == len(data):
            return known.busy_answer
        judged = self._judge(self._newcomers, data)
        return judged[2] if judged is not None and judged[:2] == (0, False) else None

    async def wait(self, visitor: WaitingClient, sock: socket.socket) -> bool:
        """Wait here for the next bytes to serve, which `incoming` has then. False if none come."""
        parked, known = _Parked(visitor, sock, trio.lowlevel.current_task()), visitor.incoming.known_head
        if known is not None and known.busy_answer is not None and known.keep_alive and not self._leaving:
            parked.usual_head = known
        return await self._park(parked)

    async def meet(self, visitor: WaitingClient, sock: socket.socket, data: bytes) -> bool:
        """The same for a connection whose next bytes are `data`."""
        parked = _Parked(visitor, sock, trio.lowlevel.current_task())
        if self._keep(parked, data, self.admission.room > 0, trio.current_time()):
            return await self._park(parked)
        visitor.incoming.data = data
        return True

    async def _park(self, parked: _Parked) -> bool:
        if not parked.is_in_line:
            self.watch(parked)

        def leave(_: object) -> trio.lowlevel.Abort:
            if parked.is_in_line:
                self._line.remove(parked)
                self.admission.leave_line()
            else:
                self._forget(parked)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(leave)
        return bool(parked.visitor.incoming.data)

    def watch(self, parked: _Parked) -> None:
        """Look at this connection from now on."""
        number = parked.socket.fileno()
        self._epoll.register(number, select.EPOLLIN)
        self._parked[number] = parked

    def _forget(self, parked: _Parked) -> None:
        number = parked.socket.fileno()
        del self._parked[number]
        self._epoll.unregister(number)

    # ── all that are parked ──────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Serve the parked connections, until cancelled."""
        while True:
            # The pass after one that handed requests over must look around, too: it counts them, and forgets them.
            if self._line or self._handed_over:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
            now = trio.current_time()
            self.look_around(now)
            if self._line:
                self._let_in(now)

    def look_around(self, now: float) -> None:
        """See to each parked connection that has something to read."""
        room = self.admission.room - self._handed_over
        idle_until, refused, date = now + self._idle_s, 0, http_date()
        self._handed_over = 0
        for number, _ in self._epoll.poll(0, LOOKS):
            parked = self._parked.get(number)
            if parked is None:
                continue  # the bell
            try:
                data = parked.socket.recv(RECV_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            known = parked.usual_head
            if (
                room <= 0
                and known is not None
                and (answer := known.busy_answer) is not None
                and known.measure(data) == len(data)
                and not self.draining
            ):
                # Nearly all requests that are refused: like the last one of their connection.
                _send_now(parked.socket, answer.make_next(date))
                parked.visitor.deadline = idle_until
                refused += 1
            else:
                room -= self._look_at(parked, data, room > 0, now)
        if refused:
            self.admission.note_shed(refused)

    def _look_at(self, parked: _Parked, data: bytes, has_room: bool, now: float) -> bool:
        """See to the bytes that came. Whether they took room."""
        if parked.owed and data:
            body_bytes = min(parked.owed, len(data))
            parked.owed -= body_bytes
            data = data[body_bytes:]
            if not data:
                return False
        if data and self._keep(parked, data, has_room, now):
            if parked.is_in_line:
                self._forget(parked)
            return parked.is_in_line
        # A departed client needs no room.
        self._forget(parked)
        self._handed_over += bool(data)
        parked.visitor.incoming.data = data
        trio.lowlevel.reschedule(parked.task)
        return bool(data)

    def _keep(self, parked: _Parked, data: bytes, has_room: bool, now: float) -> bool:
        """Put the request in `data` in line, or refuse it. False if it goes the usual way."""
        judged = None if self.draining else self._judge(parked.visitor.incoming, data)
        if judged is None:
            return False
        owed, keep_alive, parked.busy_answer = judged
        keep_alive = keep_alive and not self._leaving
        known = parked.visitor.incoming.known_head
        # With bytes owed, the next ones are not a request.
        parked.usual_head = known if keep_alive and not owed else None
        if not has_room:
            self._refuse(parked, owed, now, keep_alive=keep_alive)
            return True
        if owed or known is None or not known.may_wait or not self.admission.join_line(self._handed_over):
            return False
        parked.is_in_line, parked.came_at = True, now
        parked.visitor.incoming.data = data
        parked.visitor.note_in_line(now)
        if not self._line:
            os.eventfd_write(self._bell, 1)
        self._line.append(parked)
        return True

    def _refuse(self, parked: _Parked, owed: int, now: float, *, keep_alive: bool) -> None:
        assert parked.busy_answer is not None
        parked.owed = owed if keep_alive else ALL_BYTES
        answer = parked.busy_answer
        if keep_alive:
            _send_now(parked.socket, answer.make_next(http_date()))
        elif send_last(parked.socket, answer.make_last(http_date())):
            _break_off(parked.socket)
        self.admission.note_shed(1)
        parked.visitor.note_turned_away(now, keep_alive=keep_alive)

    def _judge(self, incoming: Incoming, data: bytes) -> tuple[int, bool, BusyAnswer] | None:
        """For a plain request: how many bytes of its body are not in `data`, whether its connection is kept, and its
        refusal. None for all others."""
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
        if known is not None and known.is_judged:
            answer = known.busy_answer
        else:
            answer = self._find_refusal(head)
            if known is not None:
                known.is_judged, known.busy_answer = True, answer
                known.may_wait = self._door.may_wait(head.headers)
        owed = end + head.length - len(data)
        return None if answer is None or not 0 <= owed <= DISCARD_BYTES else (owed, head.keep_alive, answer)

    def _find_refusal(self, head: HttpHead) -> BusyAnswer | None:
        """The answer to requests with such a head, if they may be refused here. Their length makes no difference."""
        is_usual = (head.version == "1.1" or not head.keep_alive) and not head.expects_continue
        return self._door.find_refusal(head.method, head.path, head.headers) if is_usual else None

    # ── the line ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _let_in(self, now: float) -> None:
        """Hand over those that may start in the next pass, and refuse those that have waited too long."""
        line = self._line
        while line and now - line[0].came_at >= self.admission.longest_wait_s:
            parked = line.popleft()
            self.admission.leave_line()
            parked.is_in_line, parked.visitor.incoming.data = False, b""
            self._refuse(parked, 0, now, keep_alive=parked.usual_head is not None)
            try:
                self.watch(parked)
            except OSError:
                # The kernel has no memory for another one in the set: its connection ends.
                trio.lowlevel.reschedule(parked.task)
        for _ in range(self.admission.let_in()):
            trio.lowlevel.reschedule(line.popleft().task)


def _send_now(sock: socket.socket, answer: bytes) -> None:
    """Send a refusal on a connection that is kept."""
    try:
        is_sent = sock.send(answer) == len(answer)
    except OSError:
        is_sent = False
    if not is_sent:
        _break_off(sock)


def _break_off(sock: socket.socket) -> None:
    """End a client that has sent requests and read no answers until the kernel's buffers were full."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
