"""One connection: read a request, run the application, write its answer, and so on.

Rules:
1. One task a connection. It reads only when a head is awaited or when the application asks for its body, so what a
   client sends ahead stays in the kernel's buffers: pipelined requests are answered in order, and nothing grows.
2. One cancel scope a connection, cancelled when the client leaves (departures.py), when a limit passes
   (open_connections.py looks at `deadline` a few times a second) or when the server drains or has no room. All of
   them end the connection, so no request needs its own.
3. Once an answer is completely written, its application may finish: it still writes a row to the log or settles a
   budget, even if the client leaves.
4. System calls are tried before anything waits; most never do.
5. An application's crash ends here. It is a 500 if nothing was sent; otherwise the connection is cut, so that a cut
   answer never looks like a finished one.
6. The state is one phase (phase.py), the request that is served, and the last answer.
"""

from __future__ import annotations

import logging
import math
import socket
from typing import TYPE_CHECKING, NoReturn
from uuid import UUID, uuid4

import trio

from pg_trio.domain.server_link import ClientSlot
from pg_trio.errors import GatewayError, InternalError, MalformedHttp, ShuttingDown
from pg_trio.server.error_groups import errors_told
from pg_trio.server.http1.asgi_scope import make_scope, read_address
from pg_trio.server.http1.departures import has_arrived
from pg_trio.server.http1.head import HttpHead, Refused, read_start
from pg_trio.server.http1.incoming import Incoming
from pg_trio.server.http1.lane_exchange import DISCARD_BYTES, LaneExchange
from pg_trio.server.http1.parting import LINGER_S, is_quiet, part_with
from pg_trio.server.http1.phase import GONE, OVER, WAITING, Phase
from pg_trio.server.http1.socket_calls import end_sending, receive_bytes, reset_on_close, send_last
from pg_trio.server.websocket.upgrade import Upgrade

if TYPE_CHECKING:
    from pg_trio.server.http1.lane import Lane

logger = logging.getLogger("pg_trio.server")


class LaneConnection:
    """One client's connection. `run` it once; it closes the socket, or hands it over."""

    __slots__ = (
        "_exchange",
        "_lane",
        "_parting",
        "_peer",
        "_phase",
        "_scope",
        "_server",
        "_socket",
        "_websocket",
        "came_at",
        "client",
        "deadline",
        "incoming",
    )

    def __init__(self, sock: socket.socket, lane: Lane) -> None:
        self._socket = sock
        self._lane = lane
        self._peer = read_address(sock, sock.getpeername())
        self._server = read_address(sock, sock.getsockname())
        self._scope = trio.CancelScope()
        self.incoming = Incoming(lane.settings, lane.heads)
        self.client = ClientSlot()
        self._phase = Phase.NEW
        self._exchange: LaneExchange | None = None
        self._websocket: HttpHead | None = None  # its handshake, if the lane serves it
        # The server's own last answer; empty if there is none.
        self._parting = b""
        # Trio's clock; math.inf while the connection does not wait for its client.
        self.deadline = math.inf
        # Trio's clock when the next request came, if it has waited at the door.
        self.came_at: float | None = None

    # ── calls from outside ───────────────────────────────────────────────────────────────────────────────────────────

    def note_left(self) -> None:
        """The client is gone: cancel what runs for it, unless its answer is already written."""
        if self._exchange is None or not self._exchange.answered:
            self._phase = Phase.LEFT
            self._end("the client left")
        else:
            self._phase = Phase.LEFT if self._phase in OVER else Phase.DESERTED

    def note_timeout(self) -> None:
        """The deadline passed: the client took too long to send or to read."""
        self.deadline = math.inf
        if self._phase is Phase.HEAD:
            self._refuse(Refused(408, "Request head not received in time."))
        elif self._exchange is not None and not self._exchange.answered:
            # The client has stopped reading: the kernel drops what it still holds for it.
            self._exchange.link.cut = "write limit"
            reset_on_close(self._socket)
        self._end("a limit of the connection passed")

    @property
    def waits(self) -> bool:
        """Whether it waits for a request and has read no byte of it."""
        return self._phase in WAITING and not self.incoming.data and self.deadline < math.inf

    @property
    def left(self) -> bool:
        """Whether the client is gone."""
        return self._phase in GONE

    def note_crowded(self) -> None:
        """Close to make room for others, unless a request has just arrived."""
        if not has_arrived(self._socket):
            self._end("too many connections")

    def note_draining(self) -> None:
        """Close if idle. A request that has just arrived is served first, because closing would lose it.

        A client that has sent nothing yet may be about to: it gets the time limit of a head, not the whole drain.
        """
        if self._phase is Phase.IDLE and not self.incoming.data and not has_arrived(self._socket):
            self._end("the server is draining")
        elif self.waits:
            self.deadline = min(self.deadline, trio.current_time() + self._lane.head_s)

    def note_cut(self) -> None:
        """The drain's time is over: an answer that has not begun is not sent."""
        exchange = self._exchange
        if self._phase in OVER or (exchange is not None and exchange.answered):
            return
        if exchange is not None:
            exchange.link.cut = "drain"
        if exchange is not None or self.incoming.data:
            self._end_with(ShuttingDown())
        self._end("the drain's time is over")

    def note_turned_away(self, now: float, *, keep_alive: bool) -> None:
        """The doorkeeper has answered its request: wait for another one, or let the client read the end."""
        self._phase = Phase.IDLE if keep_alive else Phase.LINGERING
        self.came_at = None
        self.deadline = now + (self._lane.idle_s if keep_alive else LINGER_S)

    def note_in_line(self, now: float) -> None:
        """The doorkeeper lets its request wait, which came now."""
        self._phase = Phase.IN_LINE
        self.came_at = now
        self.deadline = math.inf

    def _end(self, reason: str) -> None:
        self._phase = self._phase.after_end()
        if self._exchange is not None:
            self._exchange.note_over()
        self._scope.cancel(reason=reason)

    # ── serving ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> Upgrade | None:
        """Serve until either side ends the connection, or it becomes a WebSocket. Raises only outer cancellation."""
        try:
            with self._scope, errors_told(_log_bug), self.client:
                if await self._lane.meet(self, self._socket):
                    await self._serve_requests()
            if self._websocket is not None:
                return Upgrade(self._detach(), self._websocket, self.incoming.take_websocket())
            if self._phase is Phase.HANDED_OVER:
                await self._lane.hand_over(self._detach(), self.incoming.data)
            elif self._parting and not self.left:
                await part_with(self._socket, self._parting)
        finally:
            self._close()
        return None

    def _detach(self) -> socket.socket:
        self._lane.forget(self, self._socket)
        return socket.socket(fileno=self._socket.detach())

    def _close(self) -> None:
        if self._socket.fileno() < 0:
            return
        if self._exchange is not None and self._exchange.response.cut_looks_whole:
            reset_on_close(self._socket)
        # The two refer to each other: that cycle would keep a request and its body until garbage is collected.
        self._exchange = None
        self._lane.forget(self, self._socket)
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    async def _serve_requests(self) -> None:
        while True:
            try:
                head = await self._receive_head()
                if head is None:
                    return
                if head.wants_websocket:
                    self._websocket = head if self._lane.covers_websocket(head) else None
                    self._phase = Phase.HANDED_OVER
                    return
            except Refused as refused:
                self._refuse(refused)
                return
            if not await self._serve(head):
                return
            self._exchange = None
            self._phase = Phase.IDLE
            if self.incoming.data:
                # The next request came with this one: others first.
                await trio.lowlevel.checkpoint()
            elif self._lane.draining:
                self.note_draining()

    async def _receive_head(self) -> HttpHead | None:
        """The next request's head, or None if there is none: the client closed, or speaks HTTP/2."""
        self.deadline = trio.current_time() + self._lane.idle_s
        incoming = self.incoming
        while True:
            if incoming.data:
                if (head := incoming.take_head()) is not None:
                    break
                if incoming.is_http2:
                    self._phase = Phase.HANDED_OVER
                    return None
                self._note_part_of_head()
            # The connection may have ended just when the data came. Then the next wait would be cancelled.
            if not await self._receive_more() or self._phase in OVER:
                return None
        self.deadline = math.inf
        return head

    async def _receive_more(self) -> bool:
        """Add the next bytes to `incoming`; False if there are none."""
        incoming, doorkeeper = self.incoming, self._lane.doorkeeper
        if doorkeeper is not None and not incoming.data:
            if doorkeeper.is_needed():
                return await doorkeeper.wait(self, self._socket)
            data = await receive_bytes(self._socket)
            if data and doorkeeper.is_needed():
                return await doorkeeper.meet(self, self._socket, data)
        else:
            data = await receive_bytes(self._socket)
        incoming.data += data
        return bool(data)

    def _note_part_of_head(self) -> None:
        """From a head's first byte on, one limit holds for the whole head, even if bytes keep coming. Empty lines,
        which `incoming` drops, are no part of it: after them the connection is as idle as before."""
        if not self.incoming.data:
            if self._phase is Phase.HEAD:
                # Without a known head there was no request yet, or one too large to keep: a drain gives it more time.
                self._phase = Phase.NEW if self.incoming.known_head is None else Phase.IDLE
            self.deadline = trio.current_time() + self._lane.idle_s
            if self._lane.draining:
                self.note_draining()
        elif self._phase in WAITING:
            self._phase = Phase.HEAD
            self.deadline = trio.current_time() + self._lane.head_s

    def _refuse(self, refused: Refused) -> None:
        """End with a refusal. The application does not see this request, so the lane's log line is its only trace."""
        self._lane.log_refusal(self._end_with(MalformedHttp(refused.status, refused.text)), refused)

    def _end_with(self, error: GatewayError) -> UUID:
        """Let this error be the last answer, unless the application's has begun. The request's id."""
        exchange = self._exchange
        request_id = uuid4() if exchange is None else exchange.request_id()
        if exchange is None or not exchange.response.head_made:
            start = read_start(self.incoming.data) if exchange is None else exchange.head.start
            self._parting = self._lane.make_ending(error, request_id, start)
        return request_id

    async def _serve(self, head: HttpHead) -> bool:
        """Run the application for one request; whether the connection can take another."""
        self._phase = Phase.SERVING
        self._exchange = exchange = LaneExchange(self, head)
        mount = self._lane.mount
        try:
            # No name for the scope: a stream would keep it to its end.
            await mount.app(
                make_scope(head, mount, self._peer, self._server, exchange.link), exchange.receive, exchange.send
            )
        except Exception:
            if self._phase in OVER:
                logger.debug("application error after its request was over", exc_info=True)
                return False
            request_id = exchange.request_id()
            logger.exception("request %s: application error in %s %r", request_id, head.method, head.path)
            self._end_with(InternalError())
            return False
        if self._phase is not Phase.SERVING:
            return False
        if not exchange.answered:
            request_id = exchange.request_id()
            logger.error("request %s: application gave %s %r no whole answer", request_id, head.method, head.path)
            self._end_with(InternalError())
            return False
        if exchange.response.closes:
            if self.incoming.data or not exchange.is_last or not is_quiet(self._socket):
                await part_with(self._socket)
            return False
        return not exchange.is_receiving and (exchange.body.ended or await self._discard_body(exchange))

    async def _discard_body(self, exchange: LaneExchange) -> bool:
        """Read the rest of the body. True if its end was found within DISCARD_BYTES."""
        discarded = 0
        try:
            while not exchange.body.ended:
                if discarded > DISCARD_BYTES:
                    return False
                data = self.incoming.take_all()
                if not data:
                    self.deadline = trio.current_time() + self._lane.head_s
                    data = await receive_bytes(self._socket)
                    if not data or self._phase is not Phase.SERVING:
                        return False
                discarded += len(data)
                _, self.incoming.data = exchange.body.feed(data)
        except Refused:
            return False
        return True

    async def receive_body_bytes(self) -> bytes:
        """Bytes for the request's body: those read with its head, or the next ones. b"" once the client is gone."""
        try:
            return self.incoming.take_all() or await receive_bytes(self._socket)
        except trio.ClosedResourceError:  # the connection ended while a task of the application still runs
            return b""

    def refuse_body(self, refused: Refused) -> None:
        """The body is malformed: end the request. This answer is sent if the application has sent none."""
        exchange = self._exchange
        assert exchange is not None
        exchange.link.refused = (refused.status, refused.text)
        self._end_with(MalformedHttp(refused.status, refused.text))
        self._end("the request's body is malformed")

    @property
    def keeps_alive(self) -> bool:
        """Whether the server would accept another request."""
        return not self._lane.leaving

    async def write(self, data: bytes) -> None:
        """Hand all of `data` to the kernel. A client that takes nothing for the write limit is dropped.

        Raises: Cancelled if the connection is over; BrokenPipeError in a task outside the connection's scope.
        """
        if self._phase in OVER:
            await self._fail_write()
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.note_left()
            await self._fail_write()
        if sent < len(data):
            await self._write_rest(memoryview(data)[sent:])

    async def write_last(self, data: bytes) -> None:
        """The same for the last bytes on this connection: its end goes with them."""
        rest = data if self._phase in OVER else send_last(self._socket, data)
        if rest:
            await self.write(rest)
            end_sending(self._socket)

    def write_now(self, data: bytes) -> bytes:
        """Hand the kernel what it takes at once, and return the rest. Raises OSError if the connection is over."""
        try:
            return data[self._socket.send(data) :]
        except BlockingIOError:
            return data

    async def _write_rest(self, rest: memoryview) -> None:
        try:
            while rest:
                self.deadline = trio.current_time() + self._lane.write_s
                await trio.lowlevel.wait_writable(self._socket)
                try:
                    rest = rest[self._socket.send(rest) :]
                except BlockingIOError:
                    continue
                except OSError:
                    self.note_left()
                    await self._fail_write()
        except BaseException:
            # The write was cut, perhaps by the application's own limit. Further bytes would make no sense.
            self._phase = self._phase.after_end()
            raise
        finally:
            self.deadline = math.inf

    async def _fail_write(self) -> NoReturn:
        await trio.lowlevel.checkpoint_if_cancelled()
        raise BrokenPipeError("the connection is over")


def _log_bug(error: Exception) -> None:
    logger.error("error in a connection", exc_info=error)
