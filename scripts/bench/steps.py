"""`scripts/bench/steps`: how many bytecodes a request takes, function by function, every stage on.

Rules
1. A count of steps is the same whoever else uses the machine, so a change of one percent shows; a time would not. It
   says nothing of what C code and the kernel take: read it beside the CPU time of `scripts/bench/peers`.
2. What is counted is what runs below the connection that serves the request: lane, application, pipeline, transport,
   and Trio's functions that those call. Not the event loop itself, nor background tasks, nor the log's thread.
3. One request after the other over one connection, the first ones uncounted: caches are full, nothing waits in line.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, cast

import trio
from hypercorn.config import Config

from pg_trio.app import create_app
from pg_trio.config import load_settings
from pg_trio.server.http1.connection import LaneConnection
from pg_trio.server.http1.types import ASGIApplication
from pg_trio.server.serving import serve_app
from scripts.bench._limits.command import format_table
from scripts.bench._peers import ours
from scripts.bench._peers.machine import describe_machine
from scripts.bench._peers.nginx import make_upstream_command
from scripts.bench._peers.ports import HOST, find_free_ports
from scripts.bench._peers.processes import run_pinned
from scripts.bench._peers.target import Target, wait_ready

_ROOT = LaneConnection._serve_requests.__code__  # what serves one request after the other
_WARM_REQUESTS = 300
_RECEIVE_BYTES = 65536
_ANSWER_LIMIT_S = 60.0
_UPSTREAM_CORE = 0


class StepCounter:
    """Counts bytecodes below `root`, between `start` and `stop`, in the thread that calls them."""

    def __init__(self, root: CodeType) -> None:
        self._root = root
        self.calls: Counter[CodeType] = Counter()
        self.own: Counter[CodeType] = Counter()
        self.inclusive: Counter[CodeType] = Counter()

    def start(self) -> None:
        """Count every function that is called or resumed from here on."""
        sys.settrace(self._enter)

    def stop(self) -> None:
        """Count no more."""
        sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        below = self._find_callers(frame)
        if below is None:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        self.calls[frame.f_code] += 1
        return partial(self._step, below)

    def _step(self, below: frozenset[CodeType], frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
        if event == "opcode":
            self.own[frame.f_code] += 1
            self.inclusive.update(below)
        return partial(self._step, below)

    def _find_callers(self, frame: FrameType | None) -> frozenset[CodeType] | None:
        """The function and those that called it, down from the root; None where the root is not among them."""
        codes = []
        while frame is not None:
            codes.append(frame.f_code)
            if frame.f_code is self._root:
                return frozenset(codes)
            frame = frame.f_back
        return None


def main() -> None:
    """Start everything, ask, count, print."""
    arguments = _parse()
    with tempfile.TemporaryDirectory() as folder:
        counter = trio.run(_measure, Path(folder), arguments.requests)
    print(_format(counter, arguments.requests, arguments.top))
    facts = describe_machine()
    print(f"\npython {facts['python']}, commit {facts['commit']}; {arguments.requests} requests, {ours.SWITCHED_ON}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("scripts/bench/steps", description="Count the bytecodes that a request takes.")
    parser.add_argument("--requests", type=int, default=100, help="how many are counted (default: 100, ten seconds)")
    parser.add_argument("--top", type=int, default=50, help="how many functions are shown (default: 50)")
    return parser.parse_args()


async def _measure(folder: Path, requests: int) -> StepCounter:
    (port,) = find_free_ports(1)
    command = make_upstream_command(folder / "upstream", port)
    counter, shutdown = StepCounter(_ROOT), trio.Event()
    with run_pinned("upstream", command, core=_UPSTREAM_CORE, log=folder / "upstream.log") as upstream:
        await trio.to_thread.run_sync(wait_ready, upstream, Target(port))
        gateway = await trio.to_thread.run_sync(ours.set_up, folder, f"http://{HOST}:{port}/v1")
        settings = load_settings(gateway.configuration)
        app, config = cast(ASGIApplication, create_app(settings).asgi_app), Config()
        config.bind = [f"{HOST}:0"]
        async with trio.open_nursery() as nursery:
            serve = partial(serve_app, app, config, settings.server, shutdown=shutdown)
            (address,) = await nursery.start(serve)
            target = gateway.make_target(int(address.rpartition(":")[2]))
            await trio.to_thread.run_sync(_ask, target, requests, counter)
            shutdown.set()
    return counter


def _ask(target: Target, requests: int, counter: StepCounter) -> None:
    """In a thread of its own, whose steps do not count."""
    request = target.write_request()
    with socket.create_connection((HOST, target.port), timeout=_ANSWER_LIMIT_S) as client:
        for _ in range(_WARM_REQUESTS):
            _ask_once(client, request)
        trio.from_thread.run_sync(counter.start)
        for _ in range(requests):
            _ask_once(client, request)
        trio.from_thread.run_sync(counter.stop)


def _ask_once(client: socket.socket, request: bytes) -> None:
    client.sendall(request)
    answer = b""
    while not answer.endswith(b"}"):
        received = client.recv(_RECEIVE_BYTES)
        if not received:
            raise ConnectionError("the gateway closed the connection")
        answer += received
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(f"the gateway answered {answer[:300]!r}")


def _format(counter: StepCounter, requests: int, top: int) -> str:
    """The table: functions by what they and all that they call take."""
    rows = [
        (_name(code), f"{counter.own[code] / requests:,.0f}", f"{steps / requests:,.0f}", f"{calls / requests:.1f}")
        for code, steps in counter.inclusive.most_common(top)
        if (calls := counter.calls[code])
    ]
    header = ("bytecodes a request", "own", "with what it calls", "entered")
    return format_table(header, rows)


def _name(code: CodeType) -> str:
    """Its file, from the package on, and its name."""
    path = code.co_filename
    for folder in ("/site-packages/", "/src/", "/lib/"):
        path = path.rpartition(folder)[2]
    return f"{path} {code.co_qualname}"


if __name__ == "__main__":
    main()
