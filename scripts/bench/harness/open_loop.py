"""Open-loop load at a fixed rate, which does not slow down when answers are late. Run as a module of its own.

Rules
1. Request n is due at start + n / rate, also when earlier ones are not answered. All connections are open before the
   first one is due.
2. A request that finds no free connection waits for one (`waits`), and its latency counts from the time it was due, so
   that a stall shows in all that it delays. Without `waits` it is not sent and counts as unsent, the client's own
   limit; latencies count from sending, and how late we send is told beside them.
3. With `closes` each request opens a connection of its own, and its latency counts from opening it.
4. Cheap before complete: one thread over epoll, and only what is counted of an answer is understood. At three times a
   gateway's capacity this must cost a fraction of what the gateway does.
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
from pathlib import Path

from attrs import asdict, define, frozen

from scripts.bench.harness.processes import HOST, ask_module
from scripts.bench.harness.tables import quantile
from scripts.bench.harness.wrk import SLACK_S

# Answers that have not come so long after the last request was due are counted as missing.
_LAST_ANSWER_LIMIT_S = 3.0
# Answers in this first part of a run are not goodput: queues fill, clocks settle.
_SETTLE_SHARE = 0.25
_RECEIVE_BYTES = 65536
# Half of Hypercorn's listening queue (100). The kernel tries again no sooner than a second after the queue was full.
OPEN_AT_ONCE = 50
OPEN_PAUSE_S = 0.05
_OPEN_LIMIT_S = 20.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *\d+\r\n", re.IGNORECASE)
_HEAD_END, _LAST_CHUNK = b"\r\n\r\n", b"0\r\n\r\n"
# epoll's resolution: a request that becomes due meanwhile is sent late by that much at most.
_TICK_S = 0.001


@frozen(slots=True)
class OpenLoad:
    """What to send to a loopback port, how often, for how long, over how many connections."""

    port: int
    request: str
    rate_per_s: float
    duration_s: float
    connections: int
    closes: bool = False
    waits: bool = False


@frozen(slots=True)
class OpenResult:
    """`ok`: answers with 200, `shed`: with 503. `broken`: connections that ended instead. `missing`: nothing came.

    `goodput_per_s`: answers with 200 after the first quarter. `ok_us`, `shed_us`: p50, p99, most (0 without answers).
    `core_share`: the generator's own CPU time over the time of the run.
    """

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
    generator_cpu_us: float

    @property
    def failed(self) -> int:
        """Sent, and answered with neither 200 nor 503."""
        return self.other + self.broken + self.missing

    @property
    def errors(self) -> int:
        """Due, and not answered with 200."""
        return self.due - self.ok


@define(slots=True, eq=False)
class Connection:
    """A connection with at most one request on its way. `counts_from`: when its latency began."""

    socket: socket.socket
    counts_from: float = 0.0
    received: bytes = b""


class OpenLoop:
    """Sends on time and counts what comes back."""

    def __init__(self, load: OpenLoad) -> None:
        self._load = load
        self._request = load.request.encode()
        self._epoll = select.epoll()
        self._opening: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        self._busy: dict[int, Connection] = {}
        self._waiting: deque[float] = deque()
        self._counts = dict.fromkeys(("sent", "unsent", "shed_without_retry_after", "other", "broken"), 0)
        self._good, self._good_from, self._good_until = 0, 0.0, 0.0
        self._times: dict[str, list[float]] = {"ok": [], "shed": [], "late": []}
        if not load.closes:
            self._open_all()

    def run(self) -> OpenResult:
        """Send everything when it is due, wait for the last answers, close all connections."""
        load, cpu_before_s, start_at = self._load, time.process_time(), time.perf_counter()
        self._good_from = start_at + load.duration_s * _SETTLE_SHARE
        self._good_until = start_at + load.duration_s
        due, number = int(load.rate_per_s * load.duration_s), 0
        while number < due:
            now = time.perf_counter()
            while number < due and (due_at := start_at + number / load.rate_per_s) <= now:
                self._take(due_at)
                number += 1
            self._collect(max(0.0, due_at - time.perf_counter()) if load.waits else _TICK_S)
        core_share = (time.process_time() - cpu_before_s) / (time.perf_counter() - start_at)
        give_up_at = self._good_until + _LAST_ANSWER_LIMIT_S
        while (self._busy or self._opening or self._waiting) and time.perf_counter() < give_up_at:
            self._collect(0.05)
        return self._summarise(due, core_share, time.process_time() - cpu_before_s)

    def _open_all(self) -> None:
        # The kernel calls a connection open before the other side has accepted it: a few at a time, with pauses.
        give_up_at = time.perf_counter() + _OPEN_LIMIT_S
        for first in range(0, self._load.connections, OPEN_AT_ONCE):
            for _ in range(first, min(first + OPEN_AT_ONCE, self._load.connections)):
                self._open()
            if first + OPEN_AT_ONCE < self._load.connections:
                time.sleep(OPEN_PAUSE_S)
            while self._opening and time.perf_counter() < give_up_at:
                self._collect(_TICK_S)
        if self._opening or self._counts["broken"]:
            raise ConnectionError(f"{len(self._idle)} of {self._load.connections} connections opened")

    def _open(self, now: float = 0.0) -> None:
        connection = Connection(socket.socket(), now)
        connection.socket.setblocking(False)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.socket.connect_ex((HOST, self._load.port))
        self._opening[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLOUT)

    def _take(self, due_at: float) -> None:
        """One request is due now."""
        is_free = len(self._opening) + len(self._busy) < self._load.connections if self._load.closes else self._idle
        if not is_free:
            if self._load.waits:
                self._waiting.append(due_at)
            else:
                self._counts["unsent"] += 1
            return
        now = time.perf_counter()
        self._counts["sent"] += 1
        self._times["late"].append(now - due_at)
        if self._load.closes:
            self._open(now)
        else:
            self._send(self._idle.pop(), due_at if self._load.waits else now)

    def _send(self, connection: Connection, counts_from: float) -> None:
        connection.counts_from = counts_from
        self._busy[connection.socket.fileno()] = connection
        try:
            connection.socket.send(self._request)
        except OSError:
            self._replace(connection)

    def _free(self, connection: Connection) -> None:
        self._idle.append(connection)
        if self._waiting:
            self._take(self._waiting.popleft())

    def _collect(self, wait_s: float) -> None:
        if self._load.waits:
            # select(2) waits for microseconds, where epoll's time-out is rounded up to the next millisecond, which is
            # more than the latency to be measured.
            select.select((self._epoll,), (), (), wait_s)
            wait_s = 0.0
        for descriptor, _ in self._epoll.poll(wait_s):
            if descriptor in self._busy:
                self._receive(self._busy[descriptor])
            elif descriptor in self._opening:
                self._note_open(self._opening.pop(descriptor))
            else:
                self._drop_idle(descriptor)

    def _note_open(self, connection: Connection) -> None:
        self._epoll.modify(connection.socket, select.EPOLLIN)
        if self._load.closes:
            self._send(connection, connection.counts_from)
        else:
            self._free(connection)

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(_RECEIVE_BYTES)
        except OSError:
            data = b""
        if not data:
            self._replace(connection)
            return
        connection.received += data
        if is_complete(connection.received):
            self._count(connection)

    def _count(self, connection: Connection) -> None:
        now, data, connection.received = time.perf_counter(), connection.received, b""
        taken_s = now - connection.counts_from
        if data.startswith(b"HTTP/1.1 200"):
            self._times["ok"].append(taken_s)
            self._good += self._good_from <= now <= self._good_until
        elif data.startswith(b"HTTP/1.1 503"):
            self._times["shed"].append(taken_s)
            self._counts["shed_without_retry_after"] += _RETRY_AFTER.search(data) is None
        else:
            self._counts["other"] += 1
        del self._busy[connection.socket.fileno()]
        if self._load.closes:
            connection.socket.close()
        else:
            self._free(connection)

    def _replace(self, connection: Connection) -> None:
        self._counts["broken"] += 1
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

    def _summarise(self, due: int, core_share: float, cpu_s: float) -> OpenResult:
        missing = len(self._busy) + len(self._waiting) + (len(self._opening) if self._load.closes else 0)
        for connection in (*self._opening.values(), *self._idle, *self._busy.values()):
            connection.socket.close()
        times = self._times
        return OpenResult(
            **self._counts,
            due=due,
            ok=len(times["ok"]),
            shed=len(times["shed"]),
            missing=missing,
            goodput_per_s=self._good / (self._load.duration_s * (1 - _SETTLE_SHARE)),
            ok_us=_find_percentiles(times["ok"]),
            shed_us=_find_percentiles(times["shed"]),
            late_p99_us=_find_percentiles(times["late"])[1],
            core_share=core_share,
            generator_cpu_us=cpu_s / max(1, due) * 1e6,
        )


def is_complete(data: bytes) -> bool:
    """Whether this is a whole answer: a head, and as much body as it declares."""
    end = data.find(_HEAD_END)
    if end < 0:
        return False
    declared = _LENGTH.search(data, 0, end + 2)
    if declared is None:
        return _CHUNKED.search(data, 0, end + 2) is not None and data.endswith(_LAST_CHUNK)
    return len(data) >= end + len(_HEAD_END) + int(declared.group(1))


def _find_percentiles(taken_s: list[float]) -> tuple[float, ...]:
    return tuple(quantile(taken_s, share) * 1e6 if taken_s else 0.0 for share in (0.5, 0.99, 1.0))


def run_open_loop(load: OpenLoad, folder: Path, core: int) -> OpenResult:
    """What the generator counted, as a process on that core. Raises: PeerUnavailableError, TimeoutError."""
    limit_s = _OPEN_LIMIT_S + load.duration_s + SLACK_S
    return OpenResult(**ask_module(__name__, load, core=core, folder=folder, limit_s=limit_s))


def main(file: str) -> None:
    load = OpenLoad(**json.loads(Path(file).read_text()))
    gc.disable()  # A collection would count as latency; a few seconds make little garbage.
    print(json.dumps(asdict(OpenLoop(load).run())))


if __name__ == "__main__":
    main(sys.argv[1])
