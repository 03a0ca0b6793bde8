"""Open-loop load at a fixed rate, for latencies that say what a client would see. Run as a command of its own.

Rules
1. Requests are due at fixed times, whatever was answered: request n at start + n / rate. A request that finds no free
   connection waits, and its latency counts from the time it was due, so that a stall shows in all it delayed
   ("coordinated omission" is what leaving that out is called).
2. One thread over `select`: its timeouts are microseconds. `epoll`'s, under Trio and asyncio alike, are rounded up to
   the next millisecond, which is more than the latency to be measured.
3. What it adds itself is in the row of the direct upstream, measured the same way; its CPU time is reported.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path

import httptools
from attrs import asdict, frozen

# Answers that are still out this long after the last request was due are counted as missing.
_LAST_ANSWER_LIMIT_S = 2.0
_RECEIVE_BYTES = 65536


@frozen(slots=True)
class PacedLoad:
    """What to send where, how often and for how long."""

    host: str
    port: int
    request: str
    rate_per_s: int
    duration_s: float
    connections: int


@frozen(slots=True)
class PacedResult:
    """Latencies count from the time a request was due. `missing`: due, and not answered in time."""

    rate_per_s: int
    requests: int
    p50_us: float
    p99_us: float
    not_ok: int
    missing: int
    generator_cpu_us: float

    @property
    def errors(self) -> int:
        return self.not_ok + self.missing


class Connection:
    """A keep-alive connection with at most one request on its way."""

    def __init__(self, load: PacedLoad) -> None:
        self.socket = socket.create_connection((load.host, load.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due_at = 0.0
        self.status = 0
        self.is_answered = False
        self._request = load.request.encode()
        self._parser = httptools.HttpResponseParser(self)

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, due_at: float) -> None:
        """One request is out; a kernel that does not take a kilobyte at once is not one we can measure."""
        self.due_at = due_at
        self.is_answered = False
        self.socket.sendall(self._request)

    def receive(self) -> bool:
        """Whether the answer is complete now. Raises: ConnectionError if the peer has closed."""
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError("closed by the peer")
        self._parser.feed_data(data)
        return self.is_answered

    def on_message_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.is_answered = True


class Pacer:
    """Sends on time and collects what comes back."""

    def __init__(self, load: PacedLoad) -> None:
        self._load = load
        self._idle = [Connection(load) for _ in range(load.connections)]
        self._busy: set[Connection] = set()
        self._latencies_s: list[float] = []
        self._not_ok = 0
        self._cpu_before_s = time.process_time()  # starting Python is no part of a request's cost

    def run(self) -> PacedResult:
        """Send everything when it is due, wait for the last answer, close all connections."""
        count = int(self._load.rate_per_s * self._load.duration_s)
        start_at = time.perf_counter()
        due_times = deque(start_at + n / self._load.rate_per_s for n in range(count))
        give_up_at = due_times[-1] + _LAST_ANSWER_LIMIT_S
        while (due_times or self._busy) and (now := time.perf_counter()) < give_up_at:
            self._send_due(due_times, now)
            self._collect(min(self._wait_s(due_times), give_up_at - now))
        for connection in (*self._idle, *self._busy):
            connection.socket.close()
        return self._summarise(count)

    def _send_due(self, due_times: deque[float], now: float) -> None:
        while due_times and due_times[0] <= now and self._idle:
            connection = self._idle.pop()
            connection.send(due_times.popleft())
            self._busy.add(connection)

    def _wait_s(self, due_times: deque[float]) -> float:
        if not due_times or not self._idle:
            return _LAST_ANSWER_LIMIT_S  # only an answer can change anything
        return max(0.0, due_times[0] - time.perf_counter())

    def _collect(self, wait_s: float) -> None:
        readable, _, _ = select.select(self._busy, (), (), max(0.0, wait_s))
        for connection in readable:
            try:
                is_complete = connection.receive()
            except (ConnectionError, httptools.HttpParserError):
                self._replace(connection)
                continue
            if is_complete:
                self._latencies_s.append(time.perf_counter() - connection.due_at)
                self._not_ok += connection.status != 200
                self._busy.remove(connection)
                self._idle.append(connection)

    def _replace(self, broken: Connection) -> None:
        # Its request stays unanswered and so counts as missing; the load goes on over a new connection.
        self._busy.remove(broken)
        broken.socket.close()
        self._idle.append(Connection(self._load))

    def _summarise(self, count: int) -> PacedResult:
        ordered = sorted(self._latencies_s)
        return PacedResult(
            rate_per_s=self._load.rate_per_s,
            requests=count,
            p50_us=find_percentile(ordered, 0.50) * 1e6,
            p99_us=find_percentile(ordered, 0.99) * 1e6,
            not_ok=self._not_ok,
            missing=count - len(ordered),
            generator_cpu_us=(time.process_time() - self._cpu_before_s) / count * 1e6,
        )


def find_percentile(ordered: list[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed; infinite where there is none."""
    if not ordered:
        return float("inf")
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("load", type=Path, help="a JSON file with the fields of PacedLoad")
    load = PacedLoad(**json.loads(parser.parse_args().load.read_text()))
    gc.disable()  # a collection would be counted as the peer's latency; a few seconds make no garbage to speak of
    try:
        result = Pacer(load).run()
    except OSError as error:
        print(f"paced load: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
