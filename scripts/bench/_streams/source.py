"""A provider that streams one token an event to whoever asks. Run as a command of its own; prints its port.

Each event is one send, so one TCP segment on the loopback (TCP_NODELAY). A token is its stream's number, its own number
and the clock at which it left: the client can tell a lost, doubled or foreign one, and how long each was under way.
One thread over epoll, no parser: it must cost far less than what it feeds.
"""

from __future__ import annotations

import argparse
import heapq
import re
import select
import socket
import time

# The third header has nginx pass on what comes as it comes, instead of collecting it.
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
# What the client asks for: which stream it is, how many tokens, how many microseconds apart.
# (Behind the last number, as that may be cut.)
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
        """Send one event, or what the kernel did not take of the last; whether all of the stream is out."""
        if not self._rest:
            if self.sent < self.tokens:
                event = _TOKEN % (self.number, self.sent, time.monotonic_ns())
                self._rest = _chunk(b"", event)
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
        # When each one's next event is due; a number, so that two of one time are never compared further.
        self._due: list[tuple[float, int, Stream]] = []
        self._count = 0

    def run(self) -> None:
        while True:
            for number, _ in self._epoll.poll(self._wait_s()):
                if number == self._listener.fileno():
                    self._accept()
                else:
                    self._read(number)
            self._send_due()

    def _wait_s(self) -> float:
        return max(0.0, self._due[0][0] - time.perf_counter()) if self._due else -1

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
            self._epoll.unregister(sock)
            del self._sockets[number]
            self._due = [one for one in self._due if one[2].socket is not sock]
            heapq.heapify(self._due)
            sock.close()
            return
        received = self._received.pop(number, b"") + data
        order = _ORDER.search(received)
        # The order is the body's last word but for JSON's brackets: the request is whole.
        if order is None:
            self._received[number] = received
        else:
            self._add(Stream(sock, order))

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
    argparse.ArgumentParser(description=__doc__).parse_args()
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    print(f"port {listener.getsockname()[1]}", flush=True)
    Source(listener).run()


if __name__ == "__main__":
    main()
