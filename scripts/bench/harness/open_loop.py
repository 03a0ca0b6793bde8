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
from collections import Counter, deque
from pathlib import Path

from attrs import define, frozen

from scripts.bench.harness.processes import HOST, ask_module
from scripts.bench.harness.tables import find_spread
from scripts.bench.harness.wrk import SLACK_S

# Answers that have not come so long after the last request was due are counted as missing.
_LAST_ANSWER_LIMIT_S = 3.0
# Answers in this first part of a run are not goodput: queues fill, clocks settle.
_SETTLE_SHARE = 0.25
# Half of Hypercorn's listening queue (100). The kernel tries again no sooner than a second after the queue was full.
OPEN_AT_ONCE = 50
OPEN_PAUSE_S = 0.05
_OPEN_LIMIT_S = 20.0
# epoll's resolution: a request that becomes due meanwhile is sent late by that much at most.
_TICK_S = 0.001
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *\d+\r\n", re.IGNORECASE)
COUNTS = ("sent", "unsent", "ok", "shed", "bare", "other", "broken", "missing", "failed", "errors")
_HEAD_END, _LAST_CHUNK = b"\r\n\r\n", b"0\r\n\r\n"


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
        self._idle: dict[int, Connection] = {}
        self._busy: dict[int, Connection] = {}
        self._waiting: deque[float] = deque()
        self._counts: Counter[str] = Counter()
        self._good, self._good_from, self._good_until = 0, 0.0, 0.0
        self._times: dict[str, list[float]] = {"ok": [], "shed": [], "late": []}
        if not load.closes:
            self._open_all()

    def run(self) -> dict[str, float]:
        """Send everything when it is due, wait for the last answers, close all connections.

        `ok`: answers with 200, `shed`: with 503, `bare` without Retry-After; `broken`: connections that ended instead;
        `missing`: nothing came; `failed`: none of the first two; `errors`: not `ok`. `goodput_per_s`: answers with 200
        after the first quarter. `generator_share`: the generator's CPU time over the time of the run.
        """
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
        for number in range(self._load.connections):
            if number and number % OPEN_AT_ONCE == 0:
                time.sleep(OPEN_PAUSE_S)
            self._open()
            while (number + 1) % OPEN_AT_ONCE == 0 and self._opening and time.perf_counter() < give_up_at:
                self._collect(_TICK_S)
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
        load, now = self._load, time.perf_counter()
        is_free = len(self._opening) + len(self._busy) < load.connections if load.closes else self._idle
        if not is_free and load.waits:
            self._waiting.append(due_at)
        elif not is_free:
            self._counts["unsent"] += 1
        else:
            self._counts["sent"] += 1
            self._times["late"].append(now - due_at)
            if load.closes:
                self._open(now)
            else:
                self._send(self._idle.popitem()[1], due_at if load.waits else now)

    def _send(self, connection: Connection, counts_from: float) -> None:
        connection.counts_from = counts_from
        self._busy[connection.socket.fileno()] = connection
        try:
            connection.socket.send(self._request)
        except OSError:
            self._replace(connection)

    def _free(self, connection: Connection) -> None:
        self._idle[connection.socket.fileno()] = connection
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
            elif connection := self._opening.pop(descriptor, None):
                self._epoll.modify(connection.socket, select.EPOLLIN)
                if self._load.closes:
                    self._send(connection, connection.counts_from)
                else:
                    self._free(connection)
            else:
                # Closed between two requests, as `Connection: close` announces: no request is lost with it.
                self._idle.pop(descriptor).socket.close()
                self._open()

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(65536)
        except OSError:
            data = b""
        connection.received += data
        if not data:
            self._replace(connection)
        elif is_complete(connection.received):
            self._count(connection)

    def _count(self, connection: Connection) -> None:
        now, data, connection.received = time.perf_counter(), connection.received, b""
        taken_s = now - connection.counts_from
        if data.startswith(b"HTTP/1.1 200"):
            self._times["ok"].append(taken_s)
            self._good += self._good_from <= now <= self._good_until
        elif data.startswith(b"HTTP/1.1 503"):
            self._times["shed"].append(taken_s)
            self._counts["bare"] += _RETRY_AFTER.search(data) is None
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

    def _summarise(self, due: int, share: float, cpu_s: float) -> dict[str, float]:
        self._counts["missing"] = len(self._busy) + len(self._waiting) + len(self._opening) * self._load.closes
        for connection in (*self._opening.values(), *self._idle.values(), *self._busy.values()):
            connection.socket.close()
        self._counts |= {kind: len(self._times[kind]) for kind in ("ok", "shed")}
        self._counts["failed"] = sum(self._counts[kind] for kind in ("other", "broken", "missing"))
        self._counts["errors"] = due - self._counts["ok"]
        return {
            "due": due,
            **{f"{kind}_sum": self._counts[kind] for kind in COUNTS},
            **{
                name: ms
                for kind in self._times
                for name, ms in find_spread(self._times[kind], f"{kind}_", scale=1e3).items()
            },
            "goodput_per_s": self._good / (self._load.duration_s * (1 - _SETTLE_SHARE)),
            "generator_share": share,
            "generator_us": cpu_s / max(1, due) * 1e6,
        }


def is_complete(data: bytes) -> bool:
    end = data.find(_HEAD_END)
    if end < 0:
        return False
    declared = _LENGTH.search(data, 0, end + 2)
    if declared is None:
        return _CHUNKED.search(data, 0, end + 2) is not None and data.endswith(_LAST_CHUNK)
    return len(data) >= end + len(_HEAD_END) + int(declared.group(1))


def run_open_loop(load: OpenLoad, folder: Path, core: int) -> dict[str, float]:
    """What the generator counted, as a process on that core. Raises: PeerUnavailableError, TimeoutError."""
    limit_s = _OPEN_LIMIT_S + load.duration_s + SLACK_S
    return ask_module(__name__, load, core=core, folder=folder, limit_s=limit_s)


if __name__ == "__main__":
    gc.disable()  # A collection would count as latency; a few seconds make little garbage.
    print(json.dumps(OpenLoop(OpenLoad(**json.loads(Path(sys.argv[1]).read_text()))).run()))
