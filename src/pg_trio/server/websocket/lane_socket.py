"""One WebSocket in the lane: ASGI's `receive` and `send`, heartbeats, limits, the closing handshake.

Rules:
1. One task a socket, the application's own. It reads when the application receives. Its writes are tried at once; what
   the kernel does not take waits in `Unsent` for the Flusher.
2. `send` waits while its messages do not fit into UNSENT_BYTES beside those that wait. A cancelled `send` has queued
   its messages, or none of them.
3. `deadline` is that of the next ping, or, while frames are unsent, the write limit, which begins anew with each byte
   that the client takes. At the write limit the rest is dropped, and 1013 is sent behind what is half sent.
4. Every byte from the client is a sign of life. A client that has sent none between two pings is gone.
5. The application is cancelled when the client is gone, when a limit passes, and at the end of the drain. It is never
   cancelled because the client closes: then `receive` says so.
"""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from pg_trio.domain.socket_link import REFUSED_MESSAGE, SEND_TEXTS, UNSENT_BYTES, SocketLink
from pg_trio.server.error_groups import errors_told
from pg_trio.server.http1.asgi_scope import Address, read_address
from pg_trio.server.http1.head import HttpHead
from pg_trio.server.http1.parting import LINGER_S, part_with
from pg_trio.server.http1.response import Response, ResponseMisuse
from pg_trio.server.http1.socket_calls import receive_bytes, reset_on_close
from pg_trio.server.http1.types import Message, Scope
from pg_trio.server.websocket.frames import (
    FrameEvent,
    FrameReader,
    GrewLarge,
    PeerClosed,
    Pinged,
    TooBig,
    WholeMessage,
    frame_message,
)
from pg_trio.server.websocket.socket_phase import SocketPhase
from pg_trio.server.websocket.socket_scope import make_socket_scope
from pg_trio.server.websocket.unsent import Unsent
from pg_trio.server.websocket.upgrade import accept, read_key

if TYPE_CHECKING:
    from pg_trio.server.http1.lane import Lane

logger = logging.getLogger("pg_trio.server")

# For the last frames and the client's close frame: as long as the last answer of a connection has.
CLOSE_S = LINGER_S
# 16 MiB, Hypercorn's own limit: the application sets a smaller one.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
GOING_AWAY, MESSAGE_TOO_BIG, INTERNAL_ERROR, TRY_AGAIN_LATER = 1001, 1009, 1011, 1013
# What `receive` says when the connection ended without a close frame (RFC 6455 section 7.4.1).
ABNORMAL = 1006


class LaneSocket:
    """One client's socket. `run` it once; it closes the connection. `data` are the bytes behind the handshake."""

    __slots__ = (
        "_heard",
        "_is_told",
        "_key",
        "_lane",
        "_phase",
        "_reader",
        "_response",
        "_room",
        "_scope",
        "_socket",
        "_unsent",
        "deadline",
        "link",
    )

    # A socket is busy: it is never closed to make room for others.
    waits = False

    def __init__(self, sock: socket.socket, lane: Lane, head: HttpHead) -> None:
        self._socket = sock
        self._lane = lane
        self._key = read_key(head.headers)
        self._scope = trio.CancelScope()
        self._reader = FrameReader(MAX_MESSAGE_BYTES)
        # Whether the application was told that there is a client.
        self._is_told = False
        self._unsent = Unsent()
        # Tasks that wait for room; made for the first one.
        self._room: trio.lowlevel.ParkingLot | None = None
        self._response: Response | None = None
        self._phase = SocketPhase.HANDSHAKE
        # Whether a byte came since the last ping.
        self._heard = True
        self.link = SocketLink(trio.current_time())
        # Trio's clock; math.inf while no limit runs.
        self.deadline = math.inf

    # ── calls from outside: see OpenConnection ───────────────────────────────────────────────────────────────────────

    def note_left(self) -> None:
        """The client is gone: cancel what runs for it."""
        self._phase = SocketPhase.GONE
        self._end("the client left")

    def note_timeout(self) -> None:
        """The write limit has passed, or a ping is due."""
        self.deadline = math.inf
        if self._unsent.size:
            self.link.cut = "write limit"
            self._unsent.keep_begun()
            self._close_with(TRY_AGAIN_LATER)
            self._end("the client does not read")
        elif self._phase is SocketPhase.OPEN:
            if not self._heard:
                self.note_left()
                return
            self._heard = False
            self._queue([self._reader.ping()])
            self._wind()

    def note_crowded(self) -> None:
        """Not called: a socket does not wait."""

    def note_draining(self) -> None:
        """Tell the application, now or when it begins to listen."""
        self.link.is_draining = True
        if self.link.on_drain is not None:
            self.link.on_drain()

    def note_cut(self) -> None:
        """The drain's time is over."""
        self.link.cut = "drain"
        self._close_with(GOING_AWAY)
        self._end("the drain's time is over")

    def _end(self, reason: str) -> None:
        self._scope.cancel(reason=reason)

    def _close_with(self, code: int, reason: str = "") -> None:
        if self._phase is SocketPhase.OPEN:
            self._phase = SocketPhase.CLOSING
            self._queue([self._reader.close(code, reason)])

    # ── serving ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, head: HttpHead, data: bytes) -> None:
        """Serve until either side closes. Raises only cancellation from outside."""
        self._reader.feed(data)
        try:
            with self._scope, errors_told(_log_bug):
                await self._run_app(make_socket_scope(head, self._lane.mount, self._addresses(), self.link))
            if self._phase is not SocketPhase.GONE:
                await self._part()
        finally:
            self._close()

    async def _run_app(self, scope: Scope) -> None:
        try:
            await self._lane.mount.app(scope, self.receive, self.send)
        except Exception:
            if self._phase in (SocketPhase.GONE, SocketPhase.CLOSED):
                logger.debug("application error after its socket was over", exc_info=True)
            else:
                logger.exception("application error in a WebSocket of %r", scope["path"])
        if self._phase is SocketPhase.HANDSHAKE:
            self._refuse_with(500)
        # Where the application has closed already, this changes nothing.
        self._close_with(INTERNAL_ERROR)

    def _refuse_with(self, status: int) -> None:
        self._phase = SocketPhase.REFUSING
        self._response = response = Response("GET", "1.1")
        response.start({"status": status, "headers": [(b"content-length", b"0")]})
        self._queue([response.part(b"", more=False, keep_alive=False)])

    async def _part(self) -> None:
        """Let the client take the last frames, and send its close frame, before the connection ends."""
        with trio.move_on_after(CLOSE_S):
            while self._phase is SocketPhase.CLOSING:
                data = await receive_bytes(self._socket)
                if not data:
                    self._phase = SocketPhase.GONE
                    return
                self._reader.feed(data)
                if any(isinstance(event, PeerClosed | TooBig) for event in self._reader.events()):
                    self._phase = SocketPhase.CLOSED
            while self._unsent.size and self._phase is not SocketPhase.GONE:
                await self._wait_room()
            await part_with(self._socket)

    def _close(self) -> None:
        if self._unsent.size:
            # What is half sent must not look whole, and the kernel must not keep it.
            reset_on_close(self._socket)
        self._lane.flusher.discard(self._socket)
        self._lane.forget(self, self._socket)
        # What the application hung up here may refer to this socket.
        self.link.on_drain = self.link.take_room = None
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    def _addresses(self) -> tuple[Address, Address]:
        try:
            return (
                read_address(self._socket, self._socket.getpeername()),
                read_address(self._socket, self._socket.getsockname()),
            )
        except OSError:
            # The client is gone.
            return None, None

    # ── receiving ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def receive(self) -> Message:
        """ASGI's receive. A message over the limit, or one for which there is no room, is a REFUSED_MESSAGE."""
        if not self._is_told:
            self._is_told = True
            return {"type": "websocket.connect"}
        if self._phase is SocketPhase.HANDSHAKE:
            # Until the client leaves: it may send nothing before it is accepted.
            await trio.sleep_forever()
        while True:
            # Also where bytes are here: a client that floods must not keep others waiting.
            await trio.lowlevel.checkpoint()
            self._reader.max_bytes = self.link.max_message_bytes or MAX_MESSAGE_BYTES
            for event in self._reader.events():
                message = await self._understand(event)
                if message is not None:
                    return message
            if self._phase is not SocketPhase.OPEN:
                return {"type": "websocket.disconnect", "code": ABNORMAL}
            data = await receive_bytes(self._socket)
            if not data:
                self.note_left()
            self._heard = True
            self._reader.feed(data)

    async def _understand(self, event: FrameEvent) -> Message | None:
        if isinstance(event, WholeMessage):
            kind = "text" if isinstance(event.data, str) else "bytes"
            return {"type": "websocket.receive", kind: event.data}
        if isinstance(event, Pinged):
            # Only the last ping must be answered (RFC 6455 section 5.5.3); a client that does not read gets no pongs.
            if self._unsent.size <= UNSENT_BYTES:
                self._queue([event.answer])
            return None
        if isinstance(event, TooBig):
            return {"type": REFUSED_MESSAGE, "code": MESSAGE_TOO_BIG}
        if isinstance(event, GrewLarge):
            take_room = self.link.take_room
            if take_room is None or await take_room(self._reader.max_bytes):
                return None
            return {"type": REFUSED_MESSAGE, "code": TRY_AGAIN_LATER}
        self._queue([event.answer])
        self._phase = SocketPhase.CLOSED
        self._wake()
        return {"type": "websocket.disconnect", "code": event.code}

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def send(self, message: Message) -> None:
        """ASGI's send, and SEND_TEXTS. What comes after the socket's end is dropped. Raises ResponseMisuse."""
        kind = message["type"]
        if kind == SEND_TEXTS:
            await self._send_frames([frame_message(text) for text in message["texts"]])
        elif kind == "websocket.send":
            data: bytes | None = message.get("bytes")
            frame = frame_message(message["text"].encode()) if data is None else frame_message(data, is_text=False)
            await self._send_frames([frame])
        elif kind == "websocket.close" and self._phase is not SocketPhase.HANDSHAKE:
            self._close_with(message.get("code") or 1000, message.get("reason") or "")
            self._wake()
        elif self._phase in (SocketPhase.HANDSHAKE, SocketPhase.REFUSING):
            self._answer_handshake(message)
        else:
            raise ResponseMisuse(f"{kind!r} was sent after the handshake")

    async def _send_frames(self, frames: Sequence[bytes]) -> None:
        size, unsent = sum(map(len, frames)), self._unsent
        while unsent.size and unsent.size + size > UNSENT_BYTES and self._phase is SocketPhase.OPEN:
            await self._wait_room()
        if self._phase is SocketPhase.OPEN:
            self._queue(frames)
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    def _answer_handshake(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept" and self._phase is SocketPhase.HANDSHAKE:
            self._queue([accept(self._key, message.get("subprotocol"), message.get("headers") or ())])
            self._phase = SocketPhase.OPEN
            self._wind()
        elif kind == "websocket.close":
            self._refuse_with(403)
        elif kind == "websocket.http.response.start":
            self._phase = SocketPhase.REFUSING
            self._response = Response("GET", "1.1")
            self._response.start(message)
        elif kind == "websocket.http.response.body" and self._response is not None:
            more = bool(message.get("more_body", False))
            self._queue([self._response.part(message.get("body", b""), more=more, keep_alive=False)])
        else:
            raise ResponseMisuse(f"{kind!r} is no answer to the handshake")

    def _queue(self, frames: Sequence[bytes]) -> None:
        """Let the kernel have these, now or as soon as it has room."""
        is_first = not self._unsent.size
        self._unsent.add(frames)
        if is_first and not self._send_now():
            self._lane.flusher.add(self._socket, self._flush)
            self.deadline = trio.current_time() + self._lane.write_s

    def _send_now(self) -> bool:
        """Give the kernel what it takes. Whether it has taken everything."""
        try:
            self._unsent.send(self._socket)
        except OSError:
            self._unsent.clear()
            self.note_left()
        return not self._unsent.size

    def _flush(self) -> None:
        """The kernel has room."""
        before = self._unsent.size
        if self._send_now():
            self._lane.flusher.discard(self._socket)
            self._wind()
        elif self._unsent.size < before:
            self.deadline = trio.current_time() + self._lane.write_s
        self._wake()

    def _wind(self) -> None:
        """The next ping is due a heartbeat from now."""
        self.deadline = trio.current_time() + self._lane.heartbeat_s

    async def _wait_room(self) -> None:
        """Wait until the kernel has taken something, or the socket is over."""
        if self._room is None:
            self._room = trio.lowlevel.ParkingLot()
        await self._room.park()

    def _wake(self) -> None:
        if self._room is not None:
            self._room.unpark_all()


def _log_bug(error: Exception) -> None:
    """One socket's bug must not end the others."""
    logger.error("error in a WebSocket", exc_info=error)
