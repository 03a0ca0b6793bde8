"""A client of many streams at once that only reads while they run, and judges afterwards what came.

One thread over epoll, in the benchmark's own process: what it does meanwhile is a `recv` and a list's `append`.
"""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections.abc import Callable, Sequence

from attrs import define, field, frozen

_TEXT = re.compile(rb'"content":" (\d+)\.(\d+)\.(\d+)"')
_LIMIT_S = 120.0


@frozen(slots=True)
class Load:
    """So many streams at once, of so many tokens, each so many microseconds after the one before."""

    streams: int
    tokens: int
    pace_us: int

    @property
    def all_tokens(self) -> int:
        return self.streams * self.tokens


@define(eq=False)
class Read:
    """One stream as it came: the pieces, and Trio's and everybody's monotonic clock (ns) at each."""

    number: int
    socket: socket.socket
    pieces: list[bytes] = field(factory=list)
    times: list[int] = field(factory=list)
    is_over: bool = False

    def lags_us(self) -> list[float]:
        """How long each token was under way. Raises: ValueError if a byte is not as it was sent."""
        lags: list[float] = []
        body = b"".join(self.pieces)
        position, piece, ends = 0, 0, _ends(self.pieces)
        for tokens, found in enumerate(_TEXT.finditer(body)):
            stream, number, sent_ns = (int(group) for group in found.groups())
            if (self.number, tokens) != (stream, number):
                raise ValueError(f"stream {self.number}: token {number} of stream {stream} where {tokens} was due")
            position = found.end()
            while ends[piece] < position:
                piece += 1
            lags.append((self.times[piece] - sent_ns) / 1000)
        if not body.rstrip().endswith(b"0") or b"data: [DONE]" not in body[-64:] or b'"stop"' not in body[-1024:]:
            raise ValueError(f"stream {self.number} ended early: {body[-300:]!r}")
        return lags


def _ends(pieces: Sequence[bytes]) -> list[int]:
    ends, end = [], 0
    for piece in pieces:
        end += len(piece)
        ends.append(end)
    return ends


@frozen(slots=True)
class Target:
    """Where to ask, and as whom."""

    port: int
    path: str
    token: str

    def request(self, number: int, load: Load) -> bytes:
        """One request for one stream; what it asks the source for stands in its message."""
        said = f"stream {number} of {load.tokens} tokens every {load.pace_us}"
        body = json.dumps({"message": said, "stream": True})
        return (
            f"POST {self.path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {self.token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        ).encode()


def read_streams(target: Target, load: Load, at_half: Callable[[], None] = lambda: None) -> list[Read]:
    """All streams, read to their end. `at_half` is called once half of each one's tokens should be here.

    Raises: TimeoutError, ConnectionError.
    """
    reads = {}
    epoll = select.epoll()
    for number in range(load.streams):
        sock = socket.create_connection(("127.0.0.1", target.port))
        sock.sendall(target.request(number, load))
        sock.setblocking(False)
        reads[sock.fileno()] = Read(number, sock)
        epoll.register(sock, select.EPOLLIN)
    left = len(reads)
    started = time.monotonic()
    half_at = started + load.tokens * load.pace_us / 2e6
    while left:
        for number, _ in epoll.poll(0.05):
            read = reads[number]
            data = read.socket.recv(262144)
            read.times.append(time.monotonic_ns())
            read.pieces.append(data)
            if not data:
                raise ConnectionError(f"stream {read.number} was closed: {b''.join(read.pieces)[-300:]!r}")
            if data.endswith(b"0\r\n\r\n") or b"data: [DONE]" in data[-64:]:
                read.is_over = True
                epoll.unregister(number)
                left -= 1
        now = time.monotonic()
        if now >= half_at:
            half_at = float("inf")
            at_half()
        if now > started + _LIMIT_S:
            raise TimeoutError(f"{left} streams are not over after {_LIMIT_S:g} s")
    for read in reads.values():
        read.socket.close()
    epoll.close()
    return list(reads.values())
