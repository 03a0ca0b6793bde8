"""A provider that streams one token an event. Run as a module of its own; it prints its port.

Each event is one send, so one TCP segment on the loopback (TCP_NODELAY). A token is its stream's number, its own number
and the time at which it left. The client can tell a lost, doubled or foreign token, and how long each was on its way.
One thread over epoll without a parser: the source must cost far less than what it feeds.
"""

from __future__ import annotations

import heapq
import re
import select
import socket
import time

from scripts.bench.harness.processes import HOST

# The third header tells nginx to pass events on as they come, instead of collecting them.
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nx-accel-buffering: no\r\n\r\n"
)
_EVENT = (
    b'data: {"id":"chatcmpl-A7mKGugwaczn3YyrJLlZY6CM0Wlkr","object":"chat.completion.chunk","created":1763800000,'
    b'"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_483d39d857",'
    b'"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}],"usage":null}\n\n'
)
_ROLE = _EVENT % (b'{"role":"assistant","content":""}', b"null")
_TOKEN = _EVENT % (b'{"content":" %d.%d.%d"}', b"null")
_END = _EVENT % (b"{}", b'"stop"') + b"data: [DONE]\n\n"
# What `StreamOrder.text` writes. It is the last word of the body except for JSON's brackets: with it, the request is
# whole. The quote stands behind the last number because that number may have come only in part.
_ORDER = re.compile(rb'stream (\d+) of (\d+) tokens every (\d+)"')


class Stream:
    """One answer under way."""

    def __init__(self, sock: socket.socket, order: re.Match[bytes]) -> None:
        self.socket = sock
        self.number, self.tokens, pace_us = (int(group) for group in order.groups())
        self.pace_s = pace_us / 1e6
        self.due_at = time.perf_counter()
        self.sent = 0
        self._rest = _chunk(_HEAD, _ROLE)

    def send_next(self) -> bool:
        """Send one event, or what the kernel has not taken of the last; True once the whole stream is sent."""
        if not self._rest:
            if self.sent < self.tokens:
                self._rest = _chunk(b"", _TOKEN % (self.number, self.sent, time.monotonic_ns()))
            else:
                self._rest = _chunk(b"", _END) + b"0\r\n\r\n"
            self.sent += 1
            self.due_at += self.pace_s
        try:
            self._rest = self._rest[self.socket.send(self._rest) :]
        except BlockingIOError:
            return False
        return self.sent > self.tokens and not self._rest


def _chunk(head: bytes, data: bytes) -> bytes:
    return b"%b%x\r\n%b\r\n" % (head, len(data), data)


class Source:
    """Serves streams until it is stopped."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._epoll = select.epoll()
        self._epoll.register(listener, select.EPOLLIN)
        self._sockets: dict[int, socket.socket] = {}
        self._received: dict[int, bytes] = {}
        # When each stream's next event is due; the number decides between equal times.
        self._due: list[tuple[float, int, Stream]] = []
        self._count = 0

    def run(self) -> None:
        while True:
            wait_s = max(0.0, self._due[0][0] - time.perf_counter()) if self._due else -1
            for number, _ in self._epoll.poll(wait_s):
                if number == self._listener.fileno():
                    self._accept()
                else:
                    self._read(number)
            self._send_due()

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[sock.fileno()] = sock
        self._epoll.register(sock, select.EPOLLIN)

    def _read(self, number: int) -> None:
        sock = self._sockets[number]
        try:
            data = sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._close(sock)
            return
        received = self._received.pop(number, b"") + data
        if order := _ORDER.search(received):
            self._add(Stream(sock, order))
        else:
            self._received[number] = received

    def _close(self, sock: socket.socket) -> None:
        self._epoll.unregister(sock)
        del self._sockets[sock.fileno()]
        self._due = [one for one in self._due if one[2].socket is not sock]
        heapq.heapify(self._due)
        sock.close()

    def _add(self, stream: Stream) -> None:
        self._count += 1
        heapq.heappush(self._due, (stream.due_at, self._count, stream))

    def _send_due(self) -> None:
        """One event of each stream whose next is due, in turn."""
        now = time.perf_counter()
        due: list[Stream] = []
        while self._due and self._due[0][0] <= now:
            due.append(heapq.heappop(self._due)[2])
        for stream in due:
            try:
                is_over = stream.send_next()
            except OSError:
                is_over = True
            if not is_over:
                self._add(stream)


def main() -> None:
    listener = socket.create_server((HOST, 0), backlog=4096)
    listener.setblocking(False)
    print(f"port {listener.getsockname()[1]}", flush=True)
    Source(listener).run()


if __name__ == "__main__":
    main()
