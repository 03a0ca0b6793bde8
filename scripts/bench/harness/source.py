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

from attrs import define, field

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


@define(eq=False)
class Client:
    """A connection, and the answer under way on it: `rest` is what the kernel has not taken of the last event."""

    socket: socket.socket
    received: bytes = b""
    order: tuple[int, int, float] = (0, 0, 0.0)
    sent: int = 0
    due_at: float = 0.0
    rest: bytes = field(default=b"", repr=False)

    def begin(self, order: re.Match[bytes]) -> None:
        number, tokens, pace_us = map(int, order.groups())
        self.received, self.order, self.sent, self.due_at = b"", (number, tokens, pace_us / 1e6), 0, time.perf_counter()
        self.rest = _HEAD + _chunk(_ROLE)

    def send_next(self) -> bool:
        """Send one event, or what the kernel has not taken of the last; True once the whole stream is sent."""
        number, tokens, pace_s = self.order
        if not self.rest:
            is_token = self.sent < tokens
            self.rest = _chunk(_TOKEN % (number, self.sent, time.monotonic_ns()) if is_token else _END)
            self.rest += b"" if is_token else b"0\r\n\r\n"
            self.sent += 1
            self.due_at += pace_s
        try:
            self.rest = self.rest[self.socket.send(self.rest) :]
        except BlockingIOError:
            return False
        except OSError:
            return True
        return self.sent > tokens and not self.rest


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Source:
    """Serves streams until it is stopped."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._epoll = select.epoll()
        self._epoll.register(listener, select.EPOLLIN)
        self._clients: dict[int, Client] = {}
        # When each stream's next event is due; the number decides between equal times.
        self._due: list[tuple[float, int, Client]] = []
        self._count = 0

    def run(self) -> None:
        while True:
            wait_s = max(0.0, self._due[0][0] - time.perf_counter()) if self._due else -1
            for number, _ in self._epoll.poll(wait_s):
                if number == self._listener.fileno():
                    self._accept()
                else:
                    self._read(self._clients[number])
            self._send_due()

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clients[sock.fileno()] = Client(sock)
        self._epoll.register(sock, select.EPOLLIN)

    def _read(self, client: Client) -> None:
        try:
            data = client.socket.recv(65536)
        except OSError:
            data = b""
        client.received += data
        if not data:
            self._epoll.unregister(client.socket)
            del self._clients[client.socket.fileno()]
            self._due = [one for one in self._due if one[2] is not client]
            heapq.heapify(self._due)
            client.socket.close()
        elif order := _ORDER.search(client.received):
            client.begin(order)
            self._add(client)

    def _add(self, client: Client) -> None:
        self._count += 1
        heapq.heappush(self._due, (client.due_at, self._count, client))

    def _send_due(self) -> None:
        """One event of each stream whose next is due, in turn."""
        now, due = time.perf_counter(), list[Client]()
        while self._due and self._due[0][0] <= now:
            due.append(heapq.heappop(self._due)[2])
        for client in due:
            if not client.send_next():
                self._add(client)


if __name__ == "__main__":
    server = socket.create_server((HOST, 0), backlog=4096)
    server.setblocking(False)
    print(f"port {server.getsockname()[1]}", flush=True)
    Source(server).run()
