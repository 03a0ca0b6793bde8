"""What one provider call costs over each transport: direct, httpx, and a bare socket exchange as the floor.

One client process on one core calls nginx on the other, which answers 400 bytes of JSON. The transports take turns, a
round each, so that a noisy machine is noisy for all; the median round is shown. Read the CPU microseconds: calls a
second depend on what else the machine does. Needs nginx.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import trio

from pg_trio.config.settings import UpstreamSettings
from pg_trio.domain.upstream import Transport, WireRequest
from pg_trio.stages.provider_call.exchange import read_whole
from pg_trio.transport.direct import DirectTransport
from pg_trio.transport.httpx_transport import HttpxTransport
from scripts.bench.harness.cli import Options, Parser, Reports, positive, say
from scripts.bench.harness.client import run_crowd
from scripts.bench.harness.processes import HOST
from scripts.bench.harness.site import open_site
from scripts.bench.harness.tables import Found, Report, find_spread, tabulate

ROUNDS = (5, 2)
COLUMNS = {
    "": "",
    "calls/s": "{per_s:,.0f}",
    "CPU µs/call": "{cpu_us:.1f}",
    "p50 µs": "{p50:.0f}",
    "p99 µs": "{p99:.0f}",
}
ANSWER = '{"id":"chatcmpl-1","choices":[{"message":{"content":"' + "x" * 340 + '"}}]}'
QUESTION = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"' + b"y" * 400 + b'"}]}'
HEADERS = [("authorization", "Bearer sk-0000"), ("content-type", "application/json"), ("user-agent", "pg-trio")]
Call = Callable[[], Awaitable[None]]


def add_options(parser: Parser) -> None:
    calls = "calls of a round; httpx makes a tenth (default 10,000, quick 2,000)"
    parser.add_argument("--calls", type=positive, help=calls)
    parser.add_argument("--concurrency", type=positive, nargs="+", default=[1, 32], help="calls at once (default 1 32)")


def run(options: Options) -> Reports:
    options.calls = options.calls or (2_000 if options.quick else 10_000)
    with open_site("nginx") as site, site.run_upstream(ANSWER) as upstream:
        os.sched_setaffinity(0, {site.cores.gateway})
        found = trio.run(measure_all, upstream.port, options)
    yield Report([tabulate(found, COLUMNS)], {"transports": found})


async def measure_all(port: int, options: Options) -> Found:
    found: Found = {}
    async with (
        aclosing(DirectTransport(UpstreamSettings())) as direct,
        aclosing(HttpxTransport(UpstreamSettings())) as over_httpx,
    ):
        kinds: dict[str, tuple[Callable[[], Call], int]] = {
            "socket": (lambda: call_socket(port), options.calls),
            "direct": (lambda: call_transport(direct, port), options.calls),
            "httpx": (lambda: call_transport(over_httpx, port), options.calls // 10),
        }
        for concurrency in options.concurrency:
            for number in range(options.rounds):
                say(f"{concurrency} at once, round {number + 1} …")
                for name, (make_call, calls) in kinds.items():
                    rounds = found.setdefault(f"{name}, {concurrency} at once", [])
                    rounds.append(await measure(make_call, calls, concurrency))
    return found


async def measure(make_call: Callable[[], Call], calls: int, concurrency: int) -> dict[str, float]:
    latencies_s: list[float] = []
    begin, opened, wall, cpu = trio.Event(), 0, 0.0, 0.0

    async def keep_calling(_: int) -> None:
        nonlocal opened, wall, cpu
        call = make_call()
        await call()
        opened += 1
        if opened == concurrency:
            # All connections are open and every cache is warm before the clocks start.
            wall, cpu = time.perf_counter(), time.process_time()
            begin.set()
        await begin.wait()
        for _ in range(calls // concurrency):
            started = time.perf_counter()
            await call()
            latencies_s.append(time.perf_counter() - started)

    await run_crowd(concurrency, keep_calling)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    done = len(latencies_s)
    return {"per_s": done / wall, "cpu_us": cpu / done * 1e6, **find_spread(latencies_s, scale=1e6)}


def call_transport(transport: Transport, port: int) -> Call:
    request = WireRequest(f"http://{HOST}:{port}/v1/chat", HEADERS, QUESTION, allow_private_addresses=True)

    async def call() -> None:
        response = await transport.open_response(request)
        try:
            assert len(ANSWER) == len(await read_whole(response))
        finally:
            await response.aclose()

    return call


def call_socket(port: int) -> Call:
    """The same bytes over a bare socket: one send, one wait, one receive, nothing parsed."""
    sock = socket.create_connection((HOST, port))
    sock.setblocking(False)
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS)
    message = f"POST /v1/chat HTTP/1.1\r\nhost: x\r\n{head}content-length: {len(QUESTION)}\r\n\r\n".encode() + QUESTION

    async def call() -> None:
        sock.send(message)
        await trio.lowlevel.wait_readable(sock)
        assert sock.recv(65536).endswith(b"}")

    return call
