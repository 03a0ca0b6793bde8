"""Streams read from one target, and what they looked like. Run as a module of its own, on the load's core.

One thread over epoll. While streams run it does nothing but a `recv` and a list's `append` for each piece; what came is
judged afterwards.
"""

from __future__ import annotations

import gc
import json
import re
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import accumulate, pairwise
from pathlib import Path

from attrs import define, field, frozen

from scripts.bench.harness.processes import HOST, PeerUnavailableError, Pinned, ask_module
from scripts.bench.harness.tables import quantile
from scripts.bench.harness.target import StreamOrder, Target
from scripts.bench.harness.websocket_client import frame_text, open_socket

# Five times the pace: what a reader would see as a halt.
STALL_MS = 100.0
_LIMIT_S = 120.0
# What the reading process may need to start.
_START_S = 0.5
# While so many streams wait for their first byte, no more are begun: a gateway may turn away a larger crowd.
_UNANSWERED = 64
_CONNECT_LIMIT_S = 10.0
_TEXT = re.compile(rb'"content": ?" (\d+)\.(\d+)\.(\d+)"')
_LAST_CHUNK = b"0\r\n\r\n"
# More than the frame at the end of an answer.
_LAST_FRAME_BYTES = 4096


@frozen(slots=True)
class StreamLoad:
    """`duration_s`: connections ask for one stream after the other for so long; None: once, and all together.

    With a duration, the first stream of each connection is not measured: not all of the others are under way yet.
    """

    target: Target
    order: StreamOrder
    duration_s: float | None = None


@define(eq=False)
class Read:
    """One stream as it came: its pieces, and the monotonic clock (ns, the source's too) at each."""

    number: int
    socket: socket.socket
    pieces: list[bytes] = field(factory=list)
    times: list[int] = field(factory=list)
    asked_ns: int = 0
    over_websocket: bool = False
    _tail: bytes = b""

    def take(self, data: bytes) -> bool:
        """Keep a piece; True once the answer is whole. Raises: ConnectionError if it is not a stream, or is cut."""
        self.times.append(time.monotonic_ns())
        self.pieces.append(data)
        if not data:
            raise ConnectionError(f"stream {self.number} was closed: {b''.join(self.pieces)[-300:]!r}")
        if self.over_websocket:
            return self._take_frames(data)
        if len(self.pieces) == 1 and not data.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"stream {self.number} was answered: {data[:600].decode(errors='replace')}")
        # The last chunk may come in a piece of its own, or in two.
        self._tail = (self._tail + data[-len(_LAST_CHUNK) :])[-len(_LAST_CHUNK) :]
        return self._tail == _LAST_CHUNK

    def _take_frames(self, data: bytes) -> bool:
        self._tail = (self._tail + data)[-_LAST_FRAME_BYTES:]
        if b'"type":"error"' in data:
            raise ConnectionError(f"stream {self.number} failed: {data[:600].decode(errors='replace')}")
        # Nothing follows the frame with `meta`, whose last value is an object.
        return b'"type":"done"' in self._tail and self._tail.endswith(b"}}}")

    def tokens(self) -> list[tuple[int, int]]:
        """When each token was sent and arrived (ns). Raises: ValueError if a byte is not as it was sent."""
        tokens: list[tuple[int, int]] = []
        wire = b"".join(self.pieces)
        body, starts, offsets = (wire, [0], [0]) if self.over_websocket else _join_chunks(wire)
        if self.over_websocket:
            if b'"finish_reason":"stop"' not in wire[-_LAST_FRAME_BYTES:]:
                raise ValueError(f"stream {self.number} ended early: {wire[-300:]!r}")
        elif not wire.endswith(_LAST_CHUNK) or b"data: [DONE]" not in body[-64:] or b'"stop"' not in body[-1024:]:
            raise ValueError(f"stream {self.number} ended early: {wire[-300:]!r}")
        piece, chunk, ends = 0, 0, list(accumulate(map(len, self.pieces)))
        for found in _TEXT.finditer(body):
            stream, number, sent_ns = map(int, found.groups())
            due = len(tokens)
            if (self.number, due) != (stream, number):
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


class _Reader:
    """Connections, open until the stack is closed, and the streams under way on them."""

    def __init__(self, load: StreamLoad, stack: ExitStack) -> None:
        self.running: dict[int, Read] = {}
        self.finished: list[Read] = []
        self.unanswered = 0
        self._load, self._stack = load, stack
        self._epoll = select.epoll()

    def connect(self) -> socket.socket:
        sock = socket.create_connection((HOST, self._load.target.port), timeout=_CONNECT_LIMIT_S)
        self._stack.enter_context(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        target = self._load.target
        if target.over_websocket:
            open_socket(sock, f"{target.path}/ws", target.headers)
        return sock

    def ask(self, sock: socket.socket) -> None:
        """One more stream on a connection that has none."""
        number = len(self.finished) + len(self.running)
        target = self._load.target.ask_stream(number, self._load.order)
        request = target.as_bytes()
        if target.over_websocket:
            request = frame_text({"type": "message", "id": str(number), **json.loads(target.body)})
        # Registered only while a stream is under way: the other side may close a connection that is idle.
        self._epoll.register(sock, select.EPOLLIN)
        self.running[sock.fileno()] = Read(
            number, sock, asked_ns=time.monotonic_ns(), over_websocket=target.over_websocket
        )
        self.unanswered += 1
        sock.sendall(request)
        sock.setblocking(False)

    def collect(self, wait_s: float) -> list[Read]:
        over = []
        for number, _ in self._epoll.poll(wait_s):
            read = self.running[number]
            self.unanswered -= not read.pieces
            if read.take(read.socket.recv(262144)):
                self._epoll.unregister(number)
                over.append(self.running.pop(number))
        self.finished += over
        return over

    def read_together(self) -> None:
        """All streams, begun at once and read to their end."""
        # A WebSocket's handshake waits for the other side, which would hold up the streams that run already.
        opened = [self.connect() for _ in range(self._load.order.streams if self._load.target.over_websocket else 0)]
        for _ in range(self._load.order.streams):
            while self.unanswered >= _UNANSWERED:
                self.collect(0.01)
            self.ask(opened.pop() if opened else self.connect())
        give_up_at = time.monotonic() + _LIMIT_S
        while self.running and time.monotonic() < give_up_at:
            self.collect(0.05)

    def read_in_turn(self, duration_s: float) -> None:
        """Each connection asks for its next stream when its last is over.

        Their first streams begin evenly spread over one stream's length and a little more, so that their tokens are
        spread too. For `duration_s` after that, streams begin among as many others that are under way, at least one on
        every connection; every stream that was begun is read to its end.
        """
        order = self._load.order
        apart_s = (order.tokens + 1) * order.pace_us / 1e6 / order.streams
        due_at = time.monotonic()
        end_at = due_at + apart_s * order.streams + duration_s
        waiting = deque(self.connect() for _ in range(order.streams))
        while (waiting or self.running) and (now := time.monotonic()) < end_at + _LIMIT_S:
            if waiting and due_at <= now:
                self.ask(waiting.popleft())
                due_at += apart_s
            for read in self.collect(max(0.0, due_at - now) if waiting else 0.05):
                if now < end_at or read.number < order.streams:
                    self.ask(read.socket)


def summarise_reads(reads: Sequence[Read]) -> dict[str, float]:
    """Figures of streams whose tokens all came once and in order. Raises: ValueError if a byte is not as it was sent.

    `a_read`: tokens that came together. `first`: from sending the request to the first token's arrival. `lag`: from a
    token's leaving the source to its arrival; `flowing_lag` is that of tokens which left once all streams had begun, or
    of all where none did. `steady`: streams without `STALL_MS` between two tokens.
    """
    tokens = [read.tokens() for read in reads]
    firsts_ms = [(sent[0][1] - read.asked_ns) / 1e6 for read, sent in zip(reads, tokens, strict=True)]
    lags_ms = [(came_ns - sent_ns) / 1e6 for stream in tokens for sent_ns, came_ns in stream]
    begun_ns = max(sent[0][1] for sent in tokens)
    flowing_ms = [(came_ns - sent_ns) / 1e6 for stream in tokens for sent_ns, came_ns in stream if sent_ns > begun_ns]
    gaps_ms = [max(after - before for (_, before), (_, after) in pairwise(stream)) / 1e6 for stream in tokens]
    seconds = (max(read.times[-1] for read in reads) - min(read.asked_ns for read in reads)) / 1e9
    return {
        "streams_sum": len(reads),
        "tokens": len(lags_ms),
        "seconds": seconds,
        "per_s": len(lags_ms) / seconds,
        "a_read": len(lags_ms) / sum(len(read.pieces) for read in reads),
        "first_p50_ms": quantile(firsts_ms, 0.50),
        "first_p99_ms": quantile(firsts_ms, 0.99),
        "lag_p50_ms": quantile(lags_ms, 0.50),
        "lag_p99_ms": quantile(lags_ms, 0.99),
        "lag_ms_max": max(lags_ms),
        "flowing_lag_p50_ms": quantile(flowing_ms or lags_ms, 0.50),
        "flowing_lag_p99_ms": quantile(flowing_ms or lags_ms, 0.99),
        "steady_sum": sum(gap_ms < STALL_MS for gap_ms in gaps_ms),
        "gap_ms_max": max(gaps_ms),
    }


def read_load(file: Path) -> StreamLoad:
    raw = json.loads(file.read_text())
    return StreamLoad(Target(**raw["target"]), StreamOrder(**raw["order"]), raw["duration_s"])


def run(load: StreamLoad) -> dict[str, float]:
    """Read the streams here. `unmeasured`: streams that were read besides. Raises: OSError, ValueError."""
    with ExitStack() as stack:
        reader = _Reader(load, stack)
        if load.duration_s is None:
            reader.read_together()
        else:
            reader.read_in_turn(load.duration_s)
    if reader.running:
        raise TimeoutError(f"{len(reader.running)} streams are not over {_LIMIT_S:g} s after the last began")
    for read in reader.finished:
        if (count := len(read.tokens())) != load.order.tokens:
            raise ValueError(f"stream {read.number}: {count} tokens of {load.order.tokens} came")
    measured = [read for read in reader.finished if load.duration_s is None or read.number >= load.order.streams]
    return {**summarise_reads(measured), "unmeasured": len(reader.finished) - len(measured)}


def measure_streams(process: Pinned, load: StreamLoad, folder: Path, core: int) -> dict[str, float]:
    """The same read by a process on that core, with what it cost the measured process.

    `cpu_us`: CPU time a token, opening the streams included; meaningless where some streams are unmeasured.
    `stream_kb`: how much the largest process has grown, a stream, when half of the tokens are due; 0 without a pace.
    Raises: PeerUnavailableError with what is wrong, TimeoutError.
    """
    order, memory, cpu_s = load.order, [max(process.measure_memory_bytes())], process.measure_cpu_s()
    half_s = order.tokens * order.pace_us / 2e6 + _START_S
    at_half = (half_s, lambda: memory.append(max(process.measure_memory_bytes()))) if order.pace_us else None
    limit_s = (load.duration_s or 0.0) + _LIMIT_S + 30.0
    try:
        figures = ask_module(__name__, load, core=core, folder=folder, limit_s=limit_s, look=at_half)
    except PeerUnavailableError as exc:
        raise PeerUnavailableError(f"{exc}\n{process.read_log_end()}") from exc
    cpu_s = process.measure_cpu_s() - cpu_s
    grown_kb = (memory[-1] - memory[0]) / order.streams / 1024
    shares = {"cpu_us": cpu_s / figures["tokens"] * 1e6, "core_share": cpu_s / figures["seconds"]}
    return {**figures, **shares, "stream_kb": grown_kb}


if __name__ == "__main__":
    gc.disable()  # A collection would count as the peer's latency; the pieces are kept anyway.
    print(json.dumps(run(read_load(Path(sys.argv[1])))))
