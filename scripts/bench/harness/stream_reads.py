"""Reads many streams at once, and judges afterwards what came.

One thread over epoll. While streams run it does nothing but a `recv` and a list's `append` for each piece.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections import deque
from itertools import accumulate
from typing import Self

from attrs import define, field

from scripts.bench.harness.processes import HOST
from scripts.bench.harness.target import StreamOrder, Target

_TEXT = re.compile(rb'"content": ?" (\d+)\.(\d+)\.(\d+)"')
_OK = b"HTTP/1.1 200"
_LAST_CHUNK = b"0\r\n\r\n"
_READ_BYTES = 262144
LIMIT_S = 120.0
# While so many streams wait for their first byte, no more are begun: a gateway may turn away a larger crowd.
_UNANSWERED = 64
_CONNECT_LIMIT_S = 10.0


@define(eq=False)
class Read:
    """One stream as it came: its pieces, and the monotonic clock (ns, the source's too) at each."""

    number: int
    socket: socket.socket
    pieces: list[bytes] = field(factory=list)
    times: list[int] = field(factory=list)
    asked_ns: int = 0
    _tail: bytes = b""

    def take(self, data: bytes) -> bool:
        """Keep a piece; True once the answer is whole. Raises: ConnectionError if it is not a stream, or is cut."""
        self.times.append(time.monotonic_ns())
        self.pieces.append(data)
        if not data:
            raise ConnectionError(f"stream {self.number} was closed: {b''.join(self.pieces)[-300:]!r}")
        if len(self.pieces) == 1 and not data.startswith(_OK):
            raise ConnectionError(f"stream {self.number} was answered: {data[:600].decode(errors='replace')}")
        # The last chunk may come in a piece of its own, or in two.
        self._tail = (self._tail + data[-len(_LAST_CHUNK) :])[-len(_LAST_CHUNK) :]
        return self._tail == _LAST_CHUNK

    def tokens(self) -> list[tuple[int, int]]:
        """When each token was sent and arrived (ns). Raises: ValueError if a byte is not as it was sent."""
        tokens: list[tuple[int, int]] = []
        wire = b"".join(self.pieces)
        body, starts, offsets = _join_chunks(wire)
        if not wire.endswith(_LAST_CHUNK) or b"data: [DONE]" not in body[-64:] or b'"stop"' not in body[-1024:]:
            raise ValueError(f"stream {self.number} ended early: {wire[-300:]!r}")
        piece, chunk, ends = 0, 0, list(accumulate(map(len, self.pieces)))
        for found in _TEXT.finditer(body):
            stream, number, sent_ns = map(int, found.groups())
            if (self.number, len(tokens)) != (stream, number):
                due = len(tokens)
                raise ValueError(f"stream {self.number}: token {number} of stream {stream} where {due} was due")
            while chunk + 1 < len(starts) and starts[chunk + 1] < found.end():
                chunk += 1
            while ends[piece] < found.end() + offsets[chunk]:
                piece += 1
            tokens.append((sent_ns, self.times[piece]))
        return tokens


def _join_chunks(wire: bytes) -> tuple[bytes, list[int], list[int]]:
    """The body, where each chunk starts in it, and how far behind that place the chunk is on the wire.

    A proxy may cut chunks anywhere, inside a token too (RFC 9112, 7.1; without extensions and trailers).
    """
    parts: list[bytes] = []
    starts, offsets = [0], [0]
    start, position = 0, wire.find(b"\r\n\r\n") + 4
    while (line_end := wire.find(b"\r\n", position)) > position:
        size = int(wire[position:line_end], 16)
        position = line_end + 2
        starts.append(start)
        offsets.append(position - start)
        parts.append(wire[position : position + size])
        start += size
        position += size + 2
    return b"".join(parts), starts, offsets


def read_streams(target: Target, order: StreamOrder) -> list[Read]:
    """All streams, begun at once and read to their end. Raises: TimeoutError, ConnectionError."""
    with _Reader(target, order) as reader:
        for _ in range(order.streams):
            while reader.unanswered >= _UNANSWERED:
                reader.collect(0.01)
            reader.ask(reader.connect())
        give_up_at = time.monotonic() + LIMIT_S
        while reader.running:
            reader.collect(0.05)
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"{len(reader.running)} streams are not over after {LIMIT_S:g} s")
        return reader.finished


def read_in_turn(target: Target, order: StreamOrder, duration_s: float) -> list[Read]:
    """What `order.streams` connections read, each asking for its next stream when its last is over.

    Their first streams begin evenly spread over one stream's length and a little more, so that their tokens are spread
    too. For `duration_s` after that, streams begin among as many others that are under way, at least one on every
    connection; every stream that was begun is read to its end. Raises: TimeoutError, ConnectionError.
    """
    apart_s = (order.tokens + 1) * order.pace_us / 1e6 / order.streams
    due_at = time.monotonic()
    end_at = due_at + apart_s * order.streams + duration_s
    with _Reader(target, order) as reader:
        waiting = deque(reader.connect() for _ in range(order.streams))
        while waiting or reader.running:
            now = time.monotonic()
            if waiting and due_at <= now:
                reader.ask(waiting.popleft())
                due_at += apart_s
            for read in reader.collect(max(0.0, due_at - now) if waiting else 0.05):
                if now < end_at or read.number < order.streams:
                    reader.ask(read.socket)
            if now > end_at + LIMIT_S:
                raise TimeoutError(f"{len(reader.running)} streams are not over {LIMIT_S:g} s after the last began")
        return reader.finished


class _Reader:
    """Connections, and the streams under way on them."""

    def __init__(self, target: Target, order: StreamOrder) -> None:
        self.running: dict[int, Read] = {}
        self.finished: list[Read] = []
        self.unanswered = 0
        self._target = target
        self._order = order
        self._epoll = select.epoll()
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._epoll.close()
        for sock in self._sockets:
            sock.close()

    def connect(self) -> socket.socket:
        sock = socket.create_connection((HOST, self._target.port), timeout=_CONNECT_LIMIT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets.append(sock)
        return sock

    def ask(self, sock: socket.socket) -> None:
        """One more stream on a connection that has none."""
        number = len(self.finished) + len(self.running)
        request = self._target.ask_stream(number, self._order).as_bytes()
        # Registered only while a stream is under way: the other side may close a connection that is idle.
        self._epoll.register(sock, select.EPOLLIN)
        self.running[sock.fileno()] = Read(number, sock, asked_ns=time.monotonic_ns())
        self.unanswered += 1
        sock.sendall(request)
        sock.setblocking(False)

    def collect(self, wait_s: float) -> list[Read]:
        """The streams that are over now."""
        over = []
        for number, _ in self._epoll.poll(wait_s):
            read = self.running[number]
            self.unanswered -= not read.pieces
            if read.take(read.socket.recv(_READ_BYTES)):
                self._epoll.unregister(number)
                over.append(self.running.pop(number))
        self.finished += over
        return over
