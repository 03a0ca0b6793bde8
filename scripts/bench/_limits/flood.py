"""Open-loop load that does not slow down when it is turned away. Run as a command of its own.

Rules
1. Requests are due at fixed times, whatever was answered. All connections are open before the first one is due.
2. One that is due while every connection waits for an answer is not sent and is counted: the client's own limit.
3. Times count from the sending of a request to the reading of its answer, our own delay in reading included; how late
   we send ourselves is told beside them. Where each request has a connection of its own, they count from opening it.
4. Cheap before complete: over `epoll`, and only so much of an answer is understood as is counted. At three times a
   gateway's capacity this must cost a fraction of what the gateway does.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import select
import socket
import sys
import time
from pathlib import Path

from attrs import asdict, define, frozen

# Answers that are still out this long after the last request was due are counted as missing.
_LAST_ANSWER_LIMIT_S = 3.0
# The part of a run at its beginning whose answers are no goodput: queues fill, clocks settle.
_SETTLE_SHARE = 0.25
_RECEIVE_BYTES = 65536
# Half of Hypercorn's listening queue (100).
_OPEN_AT_ONCE = 50
_OPEN_PAUSE_S = 0.05
OPEN_LIMIT_S = 20.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *\d+\r\n", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
# 1 ms: epoll's resolution; what is due meanwhile is sent late by that much at most.
_TICK_S = 0.001


@frozen(slots=True)
class FloodLoad:
    """What to send where, how often, for how long, over how many connections."""

    host: str
    port: int
    request: str
    rate_per_s: float
    duration_s: float
    connections: int
    # Whether each request opens a connection and says that it is the only one there.
    closes: bool = False


@frozen(slots=True)
class FloodResult:
    """`goodput_per_s`: answers with 200, the first quarter of the run left out. `ok_us`, `shed_us`: p50, p99, most."""

    due: int
    sent: int
    unsent: int
    ok: int
    shed: int
    shed_without_retry_after: int
    other: int
    broken: int
    missing: int
    goodput_per_s: float
    ok_us: tuple[float, ...]
    shed_us: tuple[float, ...]
    late_p99_us: float
    core_share: float


@define(slots=True, eq=False)
class Connection:
    """A keep-alive connection with at most one request on its way."""

    socket: socket.socket
    sent_at: float = 0.0
    received: bytes = b""


class Flood:
    """Sends on time and counts what comes back."""

    def __init__(self, load: FloodLoad) -> None:
        self._load = load
        self._request = load.request.encode()
        self._epoll = select.epoll()
        self._opening: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        self._busy: dict[int, Connection] = {}
        self._sent = self._unsent = self._shed_bare = self._other = self._broken = self._good = 0
        self._count_from = 0.0
        self._count_until = 0.0
        self._ok_s: list[float] = []
        self._shed_s: list[float] = []
        self._late_s: list[float] = []
        if not load.closes:
            self._open_all()

    def run(self) -> FloodResult:
        """Send everything when it is due, wait for the last answers, close all connections."""
        load = self._load
        cpu_before_s = time.process_time()
        start_at = time.perf_counter()
        self._count_from = start_at + load.duration_s * _SETTLE_SHARE
        self._count_until = start_at + load.duration_s
        due = int(load.rate_per_s * load.duration_s)
        number = 0
        while number < due:
            now = time.perf_counter()
            while number < due and (due_at := start_at + number / load.rate_per_s) <= now:
                self._send(due_at)
                number += 1
            self._collect(_TICK_S)
        core_share = (time.process_time() - cpu_before_s) / (time.perf_counter() - start_at)
        give_up_at = self._count_until + _LAST_ANSWER_LIMIT_S
        while (self._busy or self._opening) and time.perf_counter() < give_up_at:
            self._collect(0.05)
        return self._summarise(due, core_share)

    def _open_all(self) -> None:
        # A few at a time: what finds the listening queue full is tried again by the kernel a second later, and the
        # kernel calls a connection open before the gateway has accepted it.
        give_up_at = time.perf_counter() + OPEN_LIMIT_S
        for first in range(0, self._load.connections, _OPEN_AT_ONCE):
            for _ in range(first, min(first + _OPEN_AT_ONCE, self._load.connections)):
                self._open()
            time.sleep(_OPEN_PAUSE_S)
            while self._opening and time.perf_counter() < give_up_at:
                self._collect(_TICK_S)
        if self._opening or self._broken:
            raise ConnectionError(f"{len(self._idle)} of {self._load.connections} connections opened")

    def _open(self, now: float = 0.0) -> None:
        connection = Connection(socket.socket(), now)
        connection.socket.setblocking(False)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.socket.connect_ex((self._load.host, self._load.port))
        self._opening[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLOUT)

    def _send(self, due_at: float) -> None:
        if self._load.closes:
            self._send_alone(due_at)
            return
        if not self._idle:
            self._unsent += 1
            return
        connection = self._idle.pop()
        connection.sent_at = now = time.perf_counter()
        self._late_s.append(now - due_at)
        self._busy[connection.socket.fileno()] = connection
        self._sent += 1
        try:
            connection.socket.send(self._request)
        except OSError:
            self._replace(connection)

    def _send_alone(self, due_at: float) -> None:
        if len(self._opening) + len(self._busy) >= self._load.connections:
            self._unsent += 1
            return
        now = time.perf_counter()
        self._late_s.append(now - due_at)
        self._sent += 1
        self._open(now)

    def _collect(self, wait_s: float) -> None:
        for descriptor, _ in self._epoll.poll(wait_s):
            if descriptor in self._busy:
                self._receive(self._busy[descriptor])
            elif descriptor in self._opening:
                self._note_open(self._opening.pop(descriptor))
            else:
                self._drop_idle(descriptor)

    def _note_open(self, connection: Connection) -> None:
        descriptor = connection.socket.fileno()
        self._epoll.modify(descriptor, select.EPOLLIN)
        if not self._load.closes:
            self._idle.append(connection)
            return
        self._busy[descriptor] = connection
        try:
            connection.socket.send(self._request)
        except OSError:
            self._replace(connection)

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(_RECEIVE_BYTES)
        except OSError:
            data = b""
        if not data:
            self._replace(connection)
            return
        data = connection.received + data
        if is_complete(data):
            self._count(connection, data)
        else:
            connection.received = data

    def _count(self, connection: Connection, data: bytes) -> None:
        now = time.perf_counter()
        taken_s = now - connection.sent_at
        if data.startswith(b"HTTP/1.1 200"):
            self._ok_s.append(taken_s)
            self._good += self._count_from <= now <= self._count_until
        elif data.startswith(b"HTTP/1.1 503"):
            self._shed_s.append(taken_s)
            self._shed_bare += _RETRY_AFTER.search(data) is None
        else:
            self._other += 1
        connection.received = b""
        del self._busy[connection.socket.fileno()]
        if self._load.closes:
            connection.socket.close()
        else:
            self._idle.append(connection)

    def _replace(self, connection: Connection) -> None:
        self._broken += 1
        del self._busy[connection.socket.fileno()]
        connection.socket.close()
        if not self._load.closes:
            self._open()

    def _drop_idle(self, descriptor: int) -> None:
        # Closed between two requests, as `Connection: close` announces: no request is lost with it.
        for connection in self._idle:
            if connection.socket.fileno() == descriptor:
                self._idle.remove(connection)
                connection.socket.close()
                self._open()
                return

    def _summarise(self, due: int, core_share: float) -> FloodResult:
        missing = len(self._busy) + (len(self._opening) if self._load.closes else 0)
        for connection in (*self._opening.values(), *self._idle, *self._busy.values()):
            connection.socket.close()
        return FloodResult(
            due=due,
            sent=self._sent,
            unsent=self._unsent,
            ok=len(self._ok_s),
            shed=len(self._shed_s),
            shed_without_retry_after=self._shed_bare,
            other=self._other,
            broken=self._broken,
            missing=missing,
            goodput_per_s=self._good / (self._load.duration_s * (1 - _SETTLE_SHARE)),
            ok_us=_find_percentiles(self._ok_s),
            shed_us=_find_percentiles(self._shed_s),
            late_p99_us=_find_percentiles(self._late_s)[1],
            core_share=core_share,
        )


def is_complete(data: bytes) -> bool:
    """Whether this is a whole answer: a head, and as much body as it declares."""
    end = data.find(_HEAD_END)
    if end < 0:
        return False
    declared = _LENGTH.search(data, 0, end + 2)
    return declared is not None and len(data) >= end + len(_HEAD_END) + int(declared.group(1))


def _find_percentiles(taken_s: list[float]) -> tuple[float, ...]:
    ordered = sorted(taken_s)
    if not ordered:
        return (0.0, 0.0, 0.0)
    return tuple(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e6 for share in (0.5, 0.99, 1.0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("load", type=Path, help="a JSON file with the fields of FloodLoad")
    load = FloodLoad(**json.loads(parser.parse_args().load.read_text()))
    gc.disable()  # a collection would be counted as the gateway's time; seconds make no garbage to speak of
    try:
        result = Flood(load).run()
    except OSError as error:
        print(f"flood: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
