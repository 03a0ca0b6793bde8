"""RFC 6455's frames: bytes in, events out; messages in, bytes out. No I/O.

wsproto does the framing, and checks it: masks, reserved bits, control frames, UTF-8 as it comes. This module joins the
parts of a message and bounds its size. No extension is offered: compression costs memory for each socket, and the
client's next frames would have to be unpacked to know their size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import LocalProtocolError

# A message beyond it is large: its rest must have room (SocketLink.take_room).
LARGE_MESSAGE_BYTES = 64 * 1024


class WholeMessage(NamedTuple):
    """A whole message, text or bytes."""

    data: str | bytes


class Pinged(NamedTuple):
    """A ping; `answer` is the pong for it."""

    answer: bytes


class TooBig(NamedTuple):
    """A message is over the limit. Nothing more is read."""


class GrewLarge(NamedTuple):
    """A message is over LARGE_MESSAGE_BYTES, and not whole."""


class PeerClosed(NamedTuple):
    """The peer's last frame, or its error. `answer` is the close frame for it; empty if we have sent ours."""

    code: int
    answer: bytes


FrameEvent: TypeAlias = WholeMessage | Pinged | TooBig | GrewLarge | PeerClosed


class FrameReader:
    """The server's side of one socket's framing. `max_bytes` bounds a message. Send what the events say before more is
    fed."""

    __slots__ = ("_is_large", "_is_over", "_parts", "_size", "_wire", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._wire = Connection(ConnectionType.SERVER)
        self._parts: list[str | bytes] = []
        self._size = 0
        # Whether the message under way was said to be large.
        self._is_large = False
        self._is_over = False

    def feed(self, data: bytes) -> None:
        """Take bytes that came. What comes after the end is dropped."""
        if not self._is_over:
            self._wire.receive_data(data)

    def events(self) -> Iterator[FrameEvent]:
        """What the bytes so far mean. Read it to its end, or go on with a new call."""
        if self._is_over:
            return
        for event in self._wire.events():
            if isinstance(event, TextMessage | BytesMessage):
                part = event.data if isinstance(event.data, str) else bytes(event.data)
                self._size += len(part) if isinstance(part, bytes) or part.isascii() else len(part.encode())
                if self._size > self.max_bytes:
                    self._is_over = True
                    self._parts = []
                    yield TooBig()
                    return
                yield from self._take_part(part, whole=event.message_finished)
            elif isinstance(event, Ping):
                yield Pinged(self._wire.send(event.response()) if self._is_open else b"")
            elif isinstance(event, CloseConnection):
                yield self._end(event)
                return
            # A pong is a sign of life, as all bytes are.

    def _take_part(self, part: str | bytes, *, whole: bool) -> Iterator[FrameEvent]:
        if part:
            self._parts.append(part)
        if whole:
            parts, self._parts, self._size, self._is_large = self._parts, [], 0, False
            empty: str | bytes = "" if isinstance(part, str) else b""
            yield WholeMessage(parts[0] if len(parts) == 1 else empty.join(parts))  # type: ignore[arg-type]  # all alike
        elif self._size > LARGE_MESSAGE_BYTES and not self._is_large:
            self._is_large = True
            yield GrewLarge()

    def _end(self, event: CloseConnection) -> PeerClosed:
        self._is_over = True
        code = int(event.code)
        answer = b""
        if self._wire.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            # An error of the peer's leaves wsproto's state open: its code is ours to send.
            answer = self._wire.send(event.response() if self._is_remote else CloseConnection(event.code))
        return PeerClosed(code, answer)

    @property
    def _is_open(self) -> bool:
        return self._wire.state is ConnectionState.OPEN

    @property
    def _is_remote(self) -> bool:
        return self._wire.state is ConnectionState.REMOTE_CLOSING

    # ── what we send ─────────────────────────────────────────────────────────────────────────────────────────────────

    def ping(self) -> bytes:
        """A ping; empty once either side has closed."""
        return self._wire.send(Ping()) if self._is_open else b""

    def close(self, code: int, reason: str = "") -> bytes:
        """Our close frame; empty if one was sent. Messages that come after it are still read, until the peer's own."""
        try:
            return self._wire.send(CloseConnection(code, reason or None))
        except LocalProtocolError:
            return b""


def frame_message(data: bytes, *, is_text: bool = True) -> bytes:
    """A whole message in one frame, as a server sends it: unmasked (RFC 6455 section 5.2)."""
    first = 0x81 if is_text else 0x82
    size = len(data)
    if size < 126:
        return bytes((first, size)) + data
    if size < 65_536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + data
    return bytes((first, 127)) + size.to_bytes(8, "big") + data
